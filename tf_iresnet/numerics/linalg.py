"""Dense linear algebra that compiles under XLA, where TensorFlow's own kernel doesn't."""

from collections.abc import Callable

import tensorflow as tf

BLOCK = 8  # rows that are eliminated at a time, with one product of matrices


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
    size = -(-matrix.shape[-1] // BLOCK) * BLOCK
    padded = _pad(matrix, size)
    below = tf.range(size)[:, None]

    def step(k, rest, total):
        rows = tf.slice(rest, [0, k, 0], [-1, BLOCK, size])
        columns = tf.slice(rest, [0, 0, k], [-1, size, BLOCK])
        pivots = tf.slice(rows, [0, 0, k], [-1, BLOCK, BLOCK])
        log_det, solved = _solve(pivots, rows)
        columns *= tf.cast(below >= k + BLOCK, rest.dtype)
        return k + BLOCK, rest - tf.matmul(columns, solved), total + log_det

    state = (tf.constant(0), padded, tf.zeros_like(padded[:, 0, 0]))
    _, _, total = tf.while_loop(
        lambda k, *_: k < size, step, state, maximum_iterations=size // BLOCK
    )
    total = tf.reshape(total, tf.shape(matrix)[:-2])

    def grad(upstream: tf.Tensor) -> tf.Tensor:
        return upstream[..., None, None] * tf.linalg.matrix_transpose(tf.linalg.inv(matrix))

    return total, grad


def _pad(matrix: tf.Tensor, size: int) -> tf.Tensor:
    """`[batch, size, size]`: the matrices with ones on the diagonal beyond their own size."""
    extra = size - matrix.shape[-1]
    flat = tf.reshape(matrix, [-1, *matrix.shape[-2:]])
    ones = tf.linalg.diag([0.0] * matrix.shape[-1] + [1.0] * extra)
    return tf.pad(flat, [[0, 0], [0, extra], [0, extra]]) + tf.cast(ones, matrix.dtype)


def _solve(pivots: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`ln det P` and `P⁻¹R` of `[batch, BLOCK, BLOCK]` and `[batch, BLOCK, n]`, by Gauss–Jordan."""
    both, log_det = tf.concat([pivots, rows], -1), 0.0
    for i in range(BLOCK):
        pivot = both[:, i, i]
        log_det += tf.math.log(pivot)
        row = both[:, i] / pivot[:, None]
        factors = both[:, :, i] - tf.one_hot(i, BLOCK, dtype=both.dtype)  # leaves row i as `row`
        both -= factors[:, :, None] * row[:, None]
    return log_det, both[:, :, BLOCK:]
