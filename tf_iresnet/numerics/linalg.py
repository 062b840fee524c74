"""Dense linear algebra that compiles under XLA, where TensorFlow's own kernel doesn't."""

from collections.abc import Callable

import tensorflow as tf


def log_det_positive(matrix: tf.Tensor) -> tf.Tensor:
    """`ln det(M)` of matrices `[..., d, d]` whose symmetric part is positive definite.

    Such is `I + J` with `‖J‖₂ < 1`. All leading principal minors are then positive, so Gaussian
    elimination needs no pivoting (Golub and Van Loan, Matrix Computations, section 4.2) and the
    logarithm of the determinant is the sum of the logarithms of positive pivots. Elsewhere a pivot
    that isn't positive gives NaN or −inf, never the logarithm of an absolute value.

    Returns:
        `[...]`, differentiable to any order: the gradient is `M⁻ᵀ`.
    """
    size = matrix.shape[-1]
    if size <= 4:
        return _eliminate_unrolled(matrix, size)
    return _eliminate(matrix)


def _eliminate_unrolled(matrix: tf.Tensor, size: int) -> tf.Tensor:
    rows = [tf.unstack(row, axis=-1) for row in tf.unstack(matrix, axis=-2)]
    total = tf.math.log(rows[0][0])
    for k in range(size - 1):
        for i in range(k + 1, size):
            factor = rows[i][k] / rows[k][k]
            for j in range(k + 1, size):
                rows[i][j] -= factor * rows[k][j]
        total += tf.math.log(rows[k + 1][k + 1])
    return total


@tf.custom_gradient
def _eliminate(matrix: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    size = matrix.shape[-1]
    below = tf.range(size)

    def step(k, rest, total):
        pivot = rest[..., k, k]
        column = rest[..., :, k] * tf.cast(below > k, matrix.dtype)
        row = rest[..., k, :] / pivot[..., None]
        return k + 1, rest - column[..., :, None] * row[..., None, :], total + tf.math.log(pivot)

    state = (tf.constant(0), matrix, tf.zeros_like(matrix[..., 0, 0]))
    _, _, total = tf.while_loop(lambda k, *_: k < size, step, state, maximum_iterations=size)

    def grad(upstream: tf.Tensor) -> tf.Tensor:
        return upstream[..., None, None] * tf.linalg.matrix_transpose(tf.linalg.inv(matrix))

    return total, grad
