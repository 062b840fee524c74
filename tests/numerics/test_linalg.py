"""Log-determinants by elimination beside LAPACK's."""

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet.numerics.linalg import log_det_positive


def contraction(*shape, norm=0.98):
    """`I + J` with `‖J‖₂ = norm`."""
    matrix = np.random.default_rng(0).normal(size=shape)
    matrix *= norm / np.linalg.norm(matrix, 2, axis=(-2, -1), keepdims=True)
    return matrix + np.eye(shape[-1])


@pytest.mark.parametrize("size", [1, 3, 4, 5, 8, 13, 16, 40])
def test_it_is_that_of_lapack(size, dtype, mode, run_in_mode):
    matrix = contraction(2, 3, size, size)
    found = run_in_mode(log_det_positive, mode)(tf.constant(matrix, dtype))
    tolerance = {"float32": 1e-4, "float64": 1e-11}[dtype]
    np.testing.assert_allclose(found, np.linalg.slogdet(matrix)[1], atol=tolerance)


@pytest.mark.parametrize("size", [3, 11])
def test_its_gradient_is_the_transposed_inverse(size, run_in_mode):
    matrix = tf.constant(contraction(5, size, size))

    def gradient(matrix):
        with tf.GradientTape() as tape:
            tape.watch(matrix)
            value = log_det_positive(matrix)
        return tape.gradient(value, matrix)

    expected = np.linalg.inv(matrix).swapaxes(-1, -2)
    for mode in ("eager", "xla"):
        np.testing.assert_allclose(run_in_mode(gradient, mode)(matrix), expected, atol=1e-11)


@pytest.mark.parametrize("size", [3, 11])
def test_a_determinant_that_is_not_positive_is_no_number(size):
    matrix = contraction(2, size, size)
    matrix[1, -1] *= -1  # another sign of the determinant
    found = log_det_positive(tf.constant(matrix))
    assert np.isfinite(found[0]) and np.isnan(found[1])
