"""Every invertible layer as a bijector: both ways, finite, and the derivative of a map of numbers.

The facts are those that TFP's own tests ask of a bijector; its wheel doesn't bring them along.
"""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from layers.test_contract import LAYERS, VARIANTS, build

from tf_iresnet import layers
from tf_iresnet.bijectors import InvertibleBijector

tfb = tfp.bijectors


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in VARIANTS])
def test_both_ways_are_finite_and_undo_each_other(name):
    layer, x, condition = build(name, "float64")
    bijector = InvertibleBijector(layer, condition=condition)
    # Arrays don't know how they came about, so that nothing is answered from memory.
    x, y = x.numpy(), bijector.forward(x).numpy()
    back = bijector.inverse(y).numpy()
    forward = bijector.forward_log_det_jacobian(x, x.ndim - 1).numpy()
    inverse = bijector.inverse_log_det_jacobian(y, y.ndim - 1).numpy()
    assert np.isfinite(y).all() and np.isfinite(forward).all()
    np.testing.assert_allclose(back, x, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(bijector.forward(back), y, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(inverse, -forward, rtol=1e-8, atol=1e-9)
    # Tensors that know it give the same.
    latent = bijector.forward(tf.constant(x))
    np.testing.assert_allclose(bijector.inverse(latent), x, rtol=1e-8, atol=1e-9)
    remembered = bijector.inverse_log_det_jacobian(latent, y.ndim - 1)
    np.testing.assert_allclose(remembered, inverse, rtol=1e-8, atol=1e-9)


def scalar_block(kind):
    common = {"dtype": "float64", "coefficient": 0.8}
    branch = [
        layers.SpectralDense(4, activation="sine", **common),
        layers.SpectralDense(1, **common),
    ]
    return kind(branch, "exact", tolerance=1e-10, dtype="float64")


# Maps of one number.
SCALARS = {
    "act_norm": lambda: layers.ActNorm(dtype="float64"),
    "rescale": lambda: layers.Rescale(-2.0, 1.0, dtype="float64"),
    "logit": lambda: layers.Logit(dtype="float64"),
    "residual": lambda: scalar_block(layers.ResidualBlock),
    "monotone": lambda: scalar_block(layers.MonotoneBlock),
    "inverse": lambda: layers.Inverse(scalar_block(layers.ResidualBlock)),
    "triangular": lambda: layers.TriangularBlock((3,), dtype="float64", tolerance=1e-10),
    "repeated": lambda: layers.Repeated(scalar_block(layers.ResidualBlock), 2),
}


def integral(slope, x):
    return np.sum((slope[1:] + slope[:-1]) / 2 * np.diff(x))


@pytest.mark.parametrize("name", SCALARS)
def test_the_log_dets_of_a_map_of_numbers_integrate_to_it(name):
    layer = SCALARS[name]()
    layer.build((None, 1))
    to_vector = tfb.Reshape(event_shape_out=[1], event_shape_in=[])
    bijector = tfb.Chain([tfb.Invert(to_vector), InvertibleBijector(layer), to_vector])
    x = np.linspace(0.2, 0.8, 201)
    y = bijector.forward(x).numpy()
    steps = np.diff(y)
    assert np.all(steps > 0) or np.all(steps < 0)
    slope = np.exp(bijector.forward_log_det_jacobian(x, 0))
    np.testing.assert_allclose(integral(slope, x), np.abs(y[-1] - y[0]), rtol=1e-4)
    # The same from the other side, at equal distances of the outputs.
    y = np.linspace(y.min(), y.max(), 201)
    slope = np.exp(bijector.inverse_log_det_jacobian(y, 0))
    np.testing.assert_allclose(integral(slope, y), 0.6, rtol=1e-4)
