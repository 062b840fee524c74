"""HybridFlow: one joint density behind its density, its classes and its samples."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi
from tf_iresnet import layers

RNG = np.random.default_rng(0)
CENTRES = np.array([[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]])


def network(dtype=None):
    branch = [
        layers.SpectralDense(16, activation="sine", dtype=dtype),
        layers.SpectralDense(2, dtype=dtype),
    ]
    return layers.Repeated(layers.ResidualBlock(branch, "exact", dtype=dtype), 3)


@pytest.fixture(scope="module")
def trained():
    """A hybrid of three clouds of points, λ = 1, and its data."""
    labels = RNG.integers(3, size=600)
    x = (CENTRES[labels] + 0.3 * RNG.normal(size=(600, 2))).astype("float32")
    hybrid = tfi.HybridFlow(network(), 3, density_weight=1.0, seed=1)
    hybrid.compile(optimizer=keras.optimizers.Adam(2e-2))
    history = hybrid.fit(x, labels, batch_size=100, epochs=25, verbose=0).history
    return hybrid, x, labels, history


def test_it_learns_density_and_classes(trained):
    hybrid, x, labels, history = trained
    assert history["loss"][-1] < history["loss"][0] - 0.5
    assert history["accuracy"][-1] > 0.97
    figures = dict(zip(hybrid.metric_names, hybrid.evaluate(x, labels, verbose=0), strict=True))
    log_prob, log_class = hybrid.log_prob(x).numpy(), hybrid.class_log_prob(x).numpy()
    entropy = -log_class[np.arange(len(x)), labels].mean()
    assert figures["cross_entropy"] == pytest.approx(entropy, rel=1e-4)
    assert figures["bits_per_dim"] == pytest.approx(-log_prob.mean() / 2 / np.log(2), rel=1e-4)
    assert figures["accuracy"] == pytest.approx((log_class.argmax(axis=1) == labels).mean())
    assert figures["loss"] == pytest.approx(entropy - log_prob.mean(), rel=1e-4)
    np.testing.assert_allclose(hybrid.predict(x, verbose=0), log_class, atol=1e-5)


def test_bayes_rule_holds_for_the_classes(trained):
    """p(class | x) p(x) = p(x, class): the density of each class, by its own normal."""
    hybrid, x, _, _ = trained
    z, log_det = hybrid.layer.forward_with_log_det(x)
    joint = hybrid.base.joint_log_prob(z) + log_det[:, None]
    np.testing.assert_allclose(
        hybrid.class_log_prob(x) + hybrid.log_prob(x)[:, None], joint, rtol=1e-4, atol=1e-4
    )
    axis = np.linspace(-5, 5, 201)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2).astype("float32")
    density = np.exp(hybrid.log_prob(grid).numpy().astype("float64"))
    assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=2e-3)


def test_samples_of_a_class_are_of_that_class(trained):
    hybrid = trained[0]
    for label in range(3):
        found = hybrid.class_log_prob(hybrid.sample(200, label=label, seed=3)).numpy()
        assert (found.argmax(axis=1) == label).mean() > 0.95
    mixed = hybrid.sample(6, label=[0, 1, 2, 0, 1, 2], seed=3)
    np.testing.assert_allclose(mixed[3], hybrid.sample(6, label=0, seed=3)[3], rtol=1e-4, atol=1e-5)
    share = np.exp(hybrid.class_log_prob(hybrid.sample(2000, seed=4))).mean(axis=0)
    np.testing.assert_allclose(share, 1 / 3, atol=0.06)
    with pytest.raises(ValueError, match=r"label to be an integer from 0 to 2.* Received: label=3"):
        hybrid.sample(2, label=3)


def test_it_is_saved_and_is_a_distribution(trained, tmp_path):
    hybrid, x, _, _ = trained
    hybrid.save(tmp_path / "hybrid.keras")
    loaded = keras.models.load_model(tmp_path / "hybrid.keras")
    np.testing.assert_array_equal(loaded.log_prob(x), hybrid.log_prob(x))
    np.testing.assert_array_equal(loaded.class_log_prob(x), hybrid.class_log_prob(x))
    log_prob = tf.function(hybrid.distribution().log_prob, jit_compile=True)
    np.testing.assert_allclose(log_prob(x), hybrid.log_prob(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("weight", "factor", "eagerly"), [("1/D", 0.5, False), (3.0, 3.0, True), (0, 0.0, True)]
)
def test_the_loss_weighs_the_density(weight, factor, eagerly):
    """One SGD step from the same weights against the gradient of the formula."""
    x, labels = RNG.normal(size=(8, 2)).astype("float32"), RNG.integers(3, size=8)
    hybrid = tfi.HybridFlow(network(), 3, density_weight=weight, seed=1)
    hybrid.build((None, 2))
    hybrid.base.loc.assign(CENTRES)
    variables = hybrid.trainable_variables
    with tf.GradientTape() as tape:
        z, log_det = hybrid.layer.forward_with_log_det(x)
        normals = -0.5 * tf.reduce_sum((z[:, None] - hybrid.base.loc.value) ** 2, -1)
        joint = normals - np.log(2 * np.pi) - np.log(3)
        log_prob = tf.reduce_logsumexp(joint, 1) + log_det
        log_class = tf.gather(joint - tf.reduce_logsumexp(joint, 1, True), labels, batch_dims=1)
        loss = -tf.reduce_mean(log_class + factor * log_prob)
    expected = tape.gradient(loss, variables)
    before = [v.numpy() for v in variables]
    hybrid.compile(optimizer=keras.optimizers.SGD(1.0), run_eagerly=eagerly)
    hybrid.train_on_batch(x, labels)
    # `log_scale` isn't in the formula.
    for variable, old, gradient in zip(variables, before, expected, strict=True):
        if gradient is not None:
            np.testing.assert_allclose(old - variable.numpy(), gradient, rtol=2e-3, atol=1e-5)
    assert sum(gradient is None for gradient in expected) == 2  # and the classes' frequencies


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a number ≥ 0, or '1/D'"):
        tfi.HybridFlow(network(), 3, density_weight="1/d")
    conditional = layers.ResidualBlock([layers.SpectralDense(2, condition_size=1)])
    with pytest.raises(ValueError, match=r"without a condition.*condition_size=1"):
        tfi.HybridFlow(conditional, 3)
    hybrid = tfi.HybridFlow(network(), 3)
    hybrid.compile(optimizer=keras.optimizers.SGD(1.0))
    x = np.zeros((4, 2), "float32")
    with pytest.raises(ValueError, match=r"Expected y to be integer labels.*y=None"):
        hybrid.fit(x, verbose=0)
    hybrid = tfi.HybridFlow(network(), 3)
    hybrid.compile(optimizer=keras.optimizers.SGD(1.0))
    with pytest.raises(ValueError, match=r"integer labels.*shape=\(4, 3\).*argmax"):
        hybrid.train_on_batch(x, np.eye(3)[[0, 1, 2, 0]])
