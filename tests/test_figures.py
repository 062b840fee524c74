"""The figures that the README promises, by the configs as they are, without their clocks."""

import importlib.util
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import certify, data
from tf_iresnet.training.train import train_and_evaluate

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"

pytestmark = pytest.mark.slow


def config(name, *arguments):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = module.get_config(*arguments)
    result.training.max_minutes = None  # another machine may be slower
    return result


@pytest.mark.parametrize(("density", "nats"), [("8gaussians", 0.03), ("checkerboard", 0.08)])
def test_toy_densities(density, nats, tmp_path):
    figures = train_and_evaluate(config("toy", density), tmp_path / density)
    assert figures["kl_divergence"] + 3 * figures["kl_divergence_standard_error"] <= nats
    assert figures["kl_divergence"] >= -3 * figures["kl_divergence_standard_error"]


def test_digits_and_their_inverse(tmp_path):
    figures = train_and_evaluate(config("digits"), tmp_path / "digits")
    assert figures["truncation_bound"] == 0 and figures["bits_per_dim"] <= 2.05
    flow = keras.models.load_model(tmp_path / "digits" / "model.keras")
    assert all(block.certified for block in certify(flow).blocks)
    test = data.load("digits").test
    images = np.concatenate([np.floor(test)] * 3)[:1000]
    x = images + np.random.default_rng(0).uniform(0.001, 0.999, images.shape)
    x = x.astype("float32")
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, atol=1e-4)
    z = flow.base.sample(1000, tf.constant([0, 1]))
    samples = flow.decode(z)
    again = flow.encode(samples)
    np.testing.assert_allclose(flow.decode(again), samples, atol=1e-4)
    # Close to 17 float32 leaves a sample few neighbours, whose latents are far apart.
    error = np.abs(again - z).max(axis=1)
    assert np.quantile(error, 0.99) <= 1e-4 and error.max() <= 5e-3
