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


SIZES = (1, 2, 3, 4, 5, 8, 13, 16, 40, 64)


def test_it_is_that_of_lapack(dtype, mode, run_in_mode):
    matrices = [contraction(2, 3, size, size) for size in SIZES]
    run = run_in_mode(lambda *matrices: [log_det_positive(m) for m in matrices], mode)
    found = run(*(tf.constant(m, dtype) for m in matrices))
    tolerance = {"float32": 1e-4, "float64": 1e-11}[dtype]
    for value, matrix in zip(found, matrices, strict=True):
        np.testing.assert_allclose(value, np.linalg.slogdet(matrix)[1], atol=tolerance)


@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_its_gradient_is_the_transposed_inverse(mode, run_in_mode):
    matrices = [tf.constant(contraction(5, size, size)) for size in (1, 2, 3, 4, 5, 11, 64)]

    def gradients(*matrices):
        with tf.GradientTape() as tape:
            tape.watch(matrices)
            total = tf.add_n([tf.reduce_sum(log_det_positive(m)) for m in matrices])
        return tape.gradient(total, matrices)

    for found, matrix in zip(run_in_mode(gradients, mode)(*matrices), matrices, strict=True):
        expected = np.linalg.inv(matrix).swapaxes(-1, -2)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("size", [3, 7, 8, 21])
def test_its_second_derivatives_are_those_of_tensorflow(size):
    matrix, found = tf.constant(contraction(2, 3, size, size)), []
    for function in (log_det_positive, lambda matrix: tf.linalg.slogdet(matrix)[1]):
        with tf.GradientTape() as outer:
            outer.watch(matrix)
            with tf.GradientTape() as tape:
                tape.watch(matrix)
                total = tf.reduce_sum(tf.sin(function(matrix)))
            along = tf.reduce_sum(tape.gradient(total, matrix) ** 2)
        found.append(outer.gradient(along, matrix))
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-9 * np.max(np.abs(found[1])))


@pytest.mark.parametrize("size", [2, 3, 6, 11])
def test_anchor_13_a_determinant_that_is_not_positive_is_no_number(size):
    matrix = contraction(3, size, size)
    matrix[1, -1] *= -1  # another sign of the determinant
    matrix[2] = np.diag([-2.0] + [1.0] * (size - 1))
    found = log_det_positive(tf.constant(matrix))
    assert np.isfinite(found[0]) and np.all(np.isnan(found[1:]))
