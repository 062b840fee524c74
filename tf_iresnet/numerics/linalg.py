"""Linear algebra that XLA compiles, or compiles to faster code than TensorFlow's own."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

BLOCK = 8  # rows that are eliminated at a time, with one product of matrices


def log_det_positive(matrix: tf.Tensor) -> tf.Tensor:
    """`ln det(M)` of matrices `[..., d, d]` whose symmetric part is positive definite.

    Such is `I + J` with `‖J‖₂ < 1`. All leading principal minors are then positive, so Gaussian
    elimination needs no pivoting (Golub and Van Loan, Matrix Computations, section 4.2) and the
    result, `[...]`, sums the pivots' logarithms. Elsewhere a pivot that isn't positive gives NaN or
    −inf, never the logarithm of its size. Differentiable to any order: the gradient is `M⁻ᵀ`.
    """
    return _eliminate(matrix) if matrix.shape[-1] > 4 else _eliminate_unrolled(matrix)


def _eliminate_unrolled(matrix: tf.Tensor) -> tf.Tensor:
    size = matrix.shape[-1]
    rows = [tf.unstack(row, axis=-1) for row in tf.unstack(matrix, axis=-2)]
    total = tf.math.log(rows[0][0])
    for k in range(size - 1):
        for i in range(k + 1, size):
            factor = rows[i][k] / rows[k][k]
            for j in range(k + 1, size):
                rows[i][j] -= factor * rows[k][j]
        total += tf.math.log(rows[k + 1][k + 1])
    return total


def _eliminate(matrix: tf.Tensor) -> tf.Tensor:
    total, inverse = _gauss_jordan(tf.stop_gradient(matrix))

    @tf.custom_gradient
    def log_det(matrix: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def grad(upstream: tf.Tensor) -> tf.Tensor:
            transposed = tf.linalg.matrix_transpose(_known_inverse(matrix, inverse))
            return upstream[..., None, None] * transposed

        return tf.identity(total), grad

    return log_det(matrix)


def _known_inverse(matrix: tf.Tensor, inverse: tf.Tensor) -> tf.Tensor:
    """The inverse as a function of the matrix."""

    @tf.custom_gradient
    def function(matrix: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def grad(upstream: tf.Tensor) -> tf.Tensor:
            known = _known_inverse(matrix, inverse)
            left = tf.matmul(known, upstream, transpose_a=True)
            return -tf.matmul(left, known, transpose_b=True)

        return tf.identity(inverse), grad

    return function(matrix)


def _gauss_jordan(matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`ln det(M)` and `M⁻¹`, for which XLA would take a QR decomposition."""
    own = matrix.shape[-1]
    extra = -own % BLOCK
    size = own + extra
    # To whole blocks, with ones on the diagonal beyond the matrices' own size.
    padded = tf.pad(tf.reshape(matrix, [-1, own, own]), [[0, 0], [0, extra], [0, extra]])
    padded += tf.linalg.diag(tf.constant([0.0] * own + [1.0] * extra, matrix.dtype))

    def step(k, rest, total):
        """Rows and columns before `k` are the inverse's; solves for the next ones."""
        ones = tf.cast(tf.range(size)[:, None] == k + tf.range(BLOCK), rest.dtype)
        columns = tf.slice(rest, [0, 0, k], [-1, size, BLOCK])
        pivots = tf.slice(columns, [0, k, 0], [-1, BLOCK, BLOCK])
        # In place of the block's columns come those of the identity.
        rest *= 1 - tf.reduce_sum(ones, 1)
        rest += tf.matmul(ones, ones, transpose_b=True)
        log_det, solved = _solve(pivots, tf.slice(rest, [0, k, 0], [-1, BLOCK, size]))
        return k + BLOCK, rest - tf.matmul(columns - ones, solved), total + log_det

    state = (tf.constant(0), padded, tf.zeros_like(padded[:, 0, 0]))
    blocks = size // BLOCK
    loop = tf.while_loop(lambda k, *_: k < size, step, state, maximum_iterations=blocks)
    _, inverse, total = loop
    inverse = tf.reshape(inverse[:, :own, :own], tf.shape(matrix))
    return tf.reshape(total, tf.shape(matrix)[:-2]), tf.ensure_shape(inverse, matrix.shape)


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


def event_axes(y: tf.Tensor) -> list[int]:
    return list(range(1, y.shape.rank))


def inner(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Inner products over the event, `[batch, 1, …, 1]`."""
    return inners(a, [b])[0]


def inners(a: tf.Tensor, others: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Inner products over the event with each of several, `[batch, 1, …, 1]`, by one sum."""
    # Not by tf.reduce_sum, of which XLA makes three passes on a CPU.
    size = a.shape[1:].num_elements() or tf.reduce_prod(tf.shape(a)[1:])
    products = tf.reshape(tf.concat([a * other for other in others], 0), [-1, size])
    sums = tf.matmul(products, tf.ones([size, 1], a.dtype))
    return tf.split(tf.reshape(sums, [-1] + [1] * (a.shape.rank - 1)), len(others))


def norm(a: tf.Tensor) -> tf.Tensor:
    """Euclidean norms over the event, `[batch, 1, …, 1]`."""
    return tf.sqrt(inner(a, a))


def one_per_example(value: Any, y: tf.Tensor) -> tf.Tensor:
    """Lays a scalar or `[batch]` out as `[1 or batch, 1, …, 1]`."""
    # Not by tf.cast, which takes a Python number to float32 first.
    value = tf.cast(value, y.dtype) if tf.is_tensor(value) else tf.constant(value, y.dtype)
    return tf.reshape(value, [-1] + [1] * (y.shape.rank - 1))
