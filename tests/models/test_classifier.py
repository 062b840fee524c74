"""IResNetClassifier: it classifies, and its features lead back to the inputs where they can."""

import warnings

import keras
import numpy as np
import pytest

import tf_iresnet as tfi
from tf_iresnet import layers

RNG = np.random.default_rng(0)
LABELS = RNG.integers(3, size=240)
IMAGES = (0.5 * RNG.normal(size=(240, 4, 4, 1)) + LABELS[:, None, None, None]).astype("float32")


def network(coefficient=0.9):
    def block(channels):
        def conv(filters, size):
            return layers.SpectralConv2D(filters, size, padding="same", coefficient=coefficient)

        return layers.ResidualBlock(
            [conv(6, 3), layers.LipSwish(), conv(channels, 3)], constrained=coefficient is not None
        )

    pad = layers.ChannelPad(2)
    return [pad, layers.ActNorm(), block(3), layers.Squeeze(), layers.ActNorm(), block(12)]


def fitted(coefficient, epochs=8):
    classifier = tfi.IResNetClassifier(network(coefficient), 3, seed=1)
    classifier.compile(optimizer=keras.optimizers.Adam(2e-2))
    history = classifier.fit(IMAGES, LABELS, batch_size=60, epochs=epochs, verbose=0).history
    return classifier, history


@pytest.fixture(scope="module")
def trained():
    return fitted(0.9)


def test_it_learns(trained):
    classifier, history = trained
    assert history["accuracy"][-1] > 0.97 and history["loss"][-1] < history["loss"][0]
    loss, accuracy = classifier.evaluate(IMAGES, LABELS, verbose=0)
    logits = classifier.predict(IMAGES, verbose=0)
    assert logits.shape == (240, 3)
    assert accuracy == pytest.approx((logits.argmax(axis=1) == LABELS).mean())
    log_class = classifier.class_log_prob(IMAGES).numpy()
    np.testing.assert_allclose(np.exp(log_class).sum(axis=1), 1, rtol=1e-5)
    assert loss == pytest.approx(-log_class[np.arange(240), LABELS].mean(), rel=1e-4)


def test_the_features_lead_back_to_the_inputs(trained):
    classifier = trained[0]
    features = classifier.encode(IMAGES)
    assert features.shape == (240, 2, 2, 12)
    np.testing.assert_allclose(classifier.decode(features), IMAGES, atol=1e-4)
    assert tfi.certify(classifier).invertible


def test_the_logits_are_a_function_of_the_features(trained):
    """Normalised by the moving statistics, cut off at 0, averaged, mapped: nothing else."""
    classifier = trained[0]
    norm, head = classifier.normalization, classifier.head
    features = classifier.encode(IMAGES).numpy()
    scale = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    normal = (features - norm.moving_mean.numpy()) * scale + norm.beta.numpy()
    pooled = np.maximum(normal, 0).mean(axis=(1, 2))
    expected = pooled @ head.kernel.numpy() + head.bias.numpy()
    np.testing.assert_allclose(classifier.predict(IMAGES, verbose=0), expected, atol=1e-4)


def test_saved_and_loaded_it_is_the_same(trained, tmp_path):
    classifier = trained[0]
    classifier.save(tmp_path / "classifier.keras")
    loaded = keras.models.load_model(tmp_path / "classifier.keras")
    np.testing.assert_array_equal(loaded.class_log_prob(IMAGES), classifier.class_log_prob(IMAGES))
    for model in (classifier, loaded):
        model.compile(optimizer=keras.optimizers.Adam())
    figures = [model.evaluate(IMAGES, LABELS, verbose=0) for model in (classifier, loaded)]
    np.testing.assert_array_equal(*figures)


@pytest.mark.slow
def test_without_a_constraint_nothing_is_certified_and_the_inverse_fails():
    """The same network as an ordinary one; training has taken its norms beyond 1."""
    classifier, history = fitted(None)
    assert history["accuracy"][-1] > 0.97
    certificate = tfi.certify(classifier)
    assert not certificate.invertible and "inf" in str(certificate)
    assert max(block.lipschitz for block in certificate.blocks) > 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        back = classifier.decode(classifier.encode(IMAGES)).numpy()
    error = np.abs(back - IMAGES).reshape(240, -1).max(axis=1)
    assert not np.all(error < 1e-4)
    with pytest.raises(ValueError, match=r"layers with a coefficient.*coefficient=None"):
        tfi.enforce(classifier)
    with pytest.raises(ValueError, match="Expected a constrained block, to have a log-determinant"):
        classifier.layer.layers[2].forward_with_log_det(np.zeros((1, 4, 4, 3), "float32"))


def test_vectors_can_be_classified_too():
    block = layers.ResidualBlock(
        [layers.SpectralDense(8, activation="elu"), layers.SpectralDense(4)]
    )
    classifier = tfi.IResNetClassifier([layers.ActNorm(), block], 2)
    labels = RNG.integers(2, size=100)
    x = (RNG.normal(size=(100, 4)) + 3 * labels[:, None]).astype("float32")
    classifier.compile(optimizer=keras.optimizers.Adam(5e-2))
    assert classifier.fit(x, labels, epochs=8, verbose=0).history["accuracy"][-1] > 0.95
    np.testing.assert_allclose(classifier.decode(classifier.encode(x)), x, atol=1e-4)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match=r"num_classes ≥ 2\. Received: num_classes=1"):
        tfi.IResNetClassifier(network(), 1)
