"""Whatever is between data and network, bits per dimension are those of the data's levels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.data.images.image_dataset import image_dataset
from tf_iresnet.data.splits import Split
from tf_iresnet.models.base import DiagonalNormal
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.training import build, evaluation
from tf_iresnet.training.workdir import RunError

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def images():
    """Images of 256 levels and an odd shape."""
    parts = ("train", "validation", "test")
    levels = {name: RNG.integers(0, 256, (40, 4, 5, 3), np.uint8) for name in parts}
    return image_dataset("noise", Split(**levels))


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
    flow = ResidualFlow(build.preprocessing(choice, images), base=base)
    flow.build((None, *images.event_shape))
    log_prob = evaluation.log_prob(flow, images.test, batch_size=25)
    figures = evaluation.likelihood(log_prob, flow.event_size)
    assert flow.event_size == 60
    assert figures["bits_per_dim"] == pytest.approx(8, rel=2e-5)
    np.testing.assert_allclose(log_prob, -60 * np.log(256), rtol=2e-5)


def test_bits_per_dim_are_exact_where_the_density_is():
    assert data.bits_per_dim(-3072 * np.log(256), 3072) == pytest.approx(8, abs=1e-12)


def test_centered_is_what_it_says(images):
    flow = keras.Sequential(build.preprocessing("centered", images))
    z = flow(images.test)
    np.testing.assert_allclose(z, images.test / 256 - 0.5, atol=1e-6)
    assert np.min(z) >= -0.5 and np.max(z) < 0.5


def test_standardize_takes_images(images):
    (layer,) = build.preprocessing("standardize", images)
    np.testing.assert_allclose(
        layer(images.test), (images.test - images.shift) / images.scale, atol=1e-4
    )


@pytest.mark.parametrize(
    ("choice", "name", "message"),
    [
        ("whiten", "digits", r"'standardize', 'centered' or 'logit'\. Received: 'whiten'"),
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
        build.preprocessing(choice, data.load(name))


def test_fully_connected_blocks_take_no_images(images):
    with pytest.raises(RunError, match=r"are vectors.*noise of shape \(4, 5, 3\)"):
        build.model({"model": {"num_blocks": 1}, "training": {}}, images)
