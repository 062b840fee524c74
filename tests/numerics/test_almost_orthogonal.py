"""Almost-orthogonal kernels: norm at most 1 by the certificate, and the paper's closed form."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet.numerics import convolution, spectral_norm
from tf_iresnet.numerics.almost_orthogonal import almost_orthogonal

SHAPES = [
    (6, 9),
    (9, 6),
    (1, 1),
    (128, 128),
    (5, 3, 4),
    (3, 3, 2, 5),
    (2, 3, 5, 2),
    (3, 2, 2, 3, 2),
]


def kernel_of(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def certified(kernel, *arguments):
    if kernel.ndim == 2:
        return spectral_norm.upper_bound(kernel)
    return convolution.upper_bound(kernel, *arguments)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_norm_is_certainly_at_most_one(shape, scale, dtype):
    kernel = almost_orthogonal(scale * kernel_of(shape, dtype)).numpy()
    assert kernel.dtype == dtype and kernel.shape == shape
    axes = len(shape) - 2
    for padding, stride, rate in itertools.product(("same", "valid", "circular"), (1, 2), (1, 2)):
        arguments = (9, 8, 7)[:axes], (stride,) * axes, padding, (rate,) * axes
        assert 0.2 < certified(kernel, *arguments) <= 1 if stride == 1 else True
        assert certified(kernel, *arguments) <= 1


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_a_matrix_is_scaled_by_the_formula_on_its_smaller_side(shape):
    kernel = kernel_of(shape)
    wide = kernel.T if shape[0] > shape[1] else kernel
    expected = wide / np.sqrt(np.abs(wide @ wide.T).sum(1, keepdims=True))
    expected = expected.T if shape[0] > shape[1] else expected
    np.testing.assert_allclose(almost_orthogonal(kernel), expected, rtol=1e-6)


def test_a_convolution_is_scaled_by_its_operator_on_a_long_ring():
    """The same formula for the written-out circulant, whose rows know nothing of an edge."""
    kernel = kernel_of((3, 2, 4))
    images = np.pad(np.eye(16).reshape(16, 8, 2), [(0, 0), (1, 1), (0, 0)], mode="wrap")
    operator = tf.nn.conv1d(images, kernel, 1, "VALID").numpy().reshape(16, -1)
    scale = 1 / np.sqrt(np.abs(operator @ operator.T).sum(1)).reshape(8, 2)
    np.testing.assert_allclose(scale, scale[:1].repeat(8, 0), rtol=1e-12)
    np.testing.assert_allclose(almost_orthogonal(kernel), kernel * scale[0][:, None], rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 6), (6, 6), (6, 3)])
def test_orthogonal_kernels_stay_and_the_scale_cancels(shape, dtype):
    orthogonal = np.linalg.svd(kernel_of(shape), full_matrices=False)
    orthogonal = (orthogonal[0] @ orthogonal[2]).astype(dtype)
    np.testing.assert_allclose(almost_orthogonal(3 * orthogonal), orthogonal, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (3, 3, 2), (3, 2, 2, 3)])
def test_gradient_is_that_of_finite_differences(shape, mode, run_in_mode):
    kernel = tf.constant(kernel_of(shape))
    cotangent, direction = kernel_of((2, *shape), seed=1)

    def value_and_gradient(kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            value = tf.reduce_sum(cotangent * almost_orthogonal(kernel))
        return value, tape.gradient(value, kernel)

    function = run_in_mode(value_and_gradient, mode)
    above, below = (function(kernel + step * direction)[0] for step in (1e-6, -1e-6))
    slope = np.sum(function(kernel)[1] * direction)
    assert slope == pytest.approx(float(above - below) / 2e-6, rel=1e-5)


def test_channels_of_zeros_stay_with_gradient_zero():
    kernel = tf.constant(kernel_of((3, 2, 5), "float32") * [[1.0], [0.0]])
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        scaled = almost_orthogonal(kernel)
        value = tf.reduce_sum(scaled**2)
    np.testing.assert_array_equal(scaled[:, 1], tf.zeros([3, 5]))
    gradient = tape.gradient(value, kernel).numpy()
    assert np.all(np.isfinite(gradient)) and np.all(gradient[:, 1] == 0)
    np.testing.assert_array_equal(almost_orthogonal(tf.zeros([4, 3])), tf.zeros([4, 3]))
