"""Any preprocessing keeps the bits per dimension of the levels; optimizers step as in papers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.data.images.image_dataset import image_dataset
from tf_iresnet.data.splits import Split
from tf_iresnet.models.bases import DiagonalNormal
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.training import build, evaluation
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import RunError

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def images():
    """Images of 256 levels and an odd shape."""
    levels = (RNG.integers(0, 256, (40, 4, 5, 3), np.uint8) for _ in Split._fields)
    return image_dataset("noise", Split(*levels))


class Uniform(DiagonalNormal):
    """Latents uniform in a cube of volume 1."""

    def log_prob(self, z):
        return tf.zeros(tf.shape(z)[0], z.dtype)


class Logistic(DiagonalNormal):
    """Latents whose sigmoid is uniform in [alpha, 1 - alpha]."""

    alpha = 0.05

    def log_prob(self, z):
        entries = tf.math.log_sigmoid(z) + tf.math.log_sigmoid(-z) - np.log1p(-2 * self.alpha)
        return tf.reduce_sum(entries, axis=range(1, z.shape.rank))


class LogisticOfMnist(Logistic):
    """The same with the alpha that Residual Flows use for MNIST."""

    alpha = 1e-6


@pytest.mark.parametrize(
    ("choice", "base"),
    [
        ("centered", Uniform()),
        ("logit", Logistic()),
        ({"name": "logit", "alpha": 0.05}, Logistic()),
        ({"name": "logit", "alpha": 1e-6}, LogisticOfMnist()),
    ],
    ids=str,
)
def test_the_uniform_density_of_bytes_has_8_bits_a_dimension(choice, base, images):
    flow = ResidualFlow(build.make_preprocessing(choice, images), base=base)
    flow.build((None, *images.event_shape))
    log_prob = evaluation.log_prob(flow, images.test, batch_size=25)
    figures = evaluation.likelihood(log_prob, flow.event_size)
    assert flow.event_size == 60
    assert figures["bits_per_dim"] == pytest.approx(8, rel=2e-5)
    np.testing.assert_allclose(log_prob, -60 * np.log(256), rtol=2e-5)


def test_bits_per_dim_are_exact_where_the_density_is():
    assert data.bits_per_dim(-3072 * np.log(256), 3072) == pytest.approx(8, abs=1e-12)


def test_centered_is_what_it_says(images):
    flow = keras.Sequential(build.make_preprocessing("centered", images))
    z = flow(images.test)
    np.testing.assert_allclose(z, images.test / 256 - 0.5, atol=1e-6)
    assert np.min(z) >= -0.5 and np.max(z) < 0.5


def test_standardize_takes_images(images):
    (layer,) = build.make_preprocessing("standardize", images)
    np.testing.assert_allclose(
        layer(images.test), (images.test - images.shift) / images.scale, atol=1e-4
    )


@pytest.mark.parametrize(
    ("choice", "name", "message"),
    [
        ("whiten", "digits", r"'standardize', .* or 'logit'\. Received: 'whiten'"),
        (
            "centered",
            "toy",
            r"known number of levels .*'centered'.*8gaussians, which is continuous",
        ),
        ("logit", "toy", r"known number of levels .*'logit'.*use 'standardize'"),
    ],
)
def test_what_does_not_suit_the_data_is_refused(choice, name, message):
    with pytest.raises(ValueError, match=message):
        build.make_preprocessing(choice, data.load(name))


def test_fully_connected_blocks_take_no_images(images):
    with pytest.raises(RunError, match=r"are vectors.*noise of shape \(4, 5, 3\)"):
        build.make_model({"model": {"num_blocks": 1}, "training": {}}, images)


GRADIENT = 0.5


def stepped(steps=1, **fields):
    """Kernel and bias, both 2 to begin with, after steps along the same gradient."""
    layer = keras.layers.Dense(1, kernel_initializer=two, bias_initializer=two)
    model = keras.Sequential([keras.Input([1]), layer])
    made = build.make_optimizer(TrainingOptions(learning_rate=0.1, clip_norm=None, **fields), model)
    for _ in range(steps):
        weights = model.trainable_variables
        made.apply([np.full(v.shape, GRADIENT, "float32") for v in weights], weights)
    return [float(np.squeeze(v)) for v in (layer.kernel, layer.bias)]


def two(shape, dtype=None):
    return keras.ops.full(shape, 2.0, dtype)


@pytest.mark.parametrize("name", ["adamw", "adamax"])
def test_a_first_adaptive_step_has_the_length_of_the_rate(name):
    kernel, bias = stepped(optimizer=name)
    assert kernel == bias == pytest.approx(2 - 0.1, rel=1e-5)


def test_momentum_adds_up():
    kernel, bias = stepped(steps=2, optimizer="sgd", momentum=0.8)
    assert kernel == bias == pytest.approx(2 - 0.1 * GRADIENT * (1 + 1.8), rel=1e-6)


@pytest.mark.parametrize("name", ["adamw", "adamax", "sgd"])
def test_weights_decay_by_the_rate_beside_the_step_and_only_kernels_do(name):
    kernel, bias = stepped(optimizer=name, weight_decay=0.25)
    plain, _ = stepped(optimizer=name)
    assert bias == plain
    assert kernel - plain == pytest.approx(-0.1 * 0.25 * 2, rel=1e-5)


def test_a_penalty_under_momentum_is_a_decay_of_ten_times_its_size():
    """Why the classifiers' published 5e-4 is a decay of 5e-3 in their config."""
    penalty, rate, momentum, steps = 5e-4, 1e-3, 0.9, 2000
    decay = penalty / (1 - momentum)

    def logarithm(penalty, weight_decay):
        """Of a kernel of 1 after many steps on the penalty's gradient alone."""
        model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1, use_bias=False)])
        (kernel,) = model.trainable_variables
        kernel.assign([[1.0]])
        optimizer = build.make_optimizer(
            TrainingOptions(
                optimizer="sgd", momentum=momentum, learning_rate=rate, clip_norm=None,
                weight_decay=weight_decay, ema_momentum=0.0,
            ),
            model,
        )  # fmt: skip
        optimizer.build([kernel])
        step = tf.function(lambda: optimizer.apply([penalty * kernel.value], [kernel]))
        for _ in range(steps):
            step()
        return np.log(kernel.numpy().item())

    expected = steps * np.log1p(-rate * decay)
    assert logarithm(penalty, 0.0) == pytest.approx(expected, rel=0.01)
    assert logarithm(0.0, decay) == pytest.approx(expected, rel=1e-3)
