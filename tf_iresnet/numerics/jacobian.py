"""The Jacobian of a function at given points, and its norm."""

import math

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics.bound_function import BoundFunction, Function

TOGETHER = 16  # rows of a Jacobian that one product takes
EXACT_UP_TO = 128  # dimensions of a point up to which the Jacobian is written out


def rows_together(x: tf.Tensor) -> int:
    """How many rows of the Jacobian at `x` one product takes in `jacobian`."""
    size = math.prod(x.shape[1:])
    return next(n for n in range(min(size, TOGETHER), 0, -1) if size % n == 0)


def jacobian(product: Function, x: tf.Tensor) -> tf.Tensor:
    """The Jacobian of each example of `x` `[batch, *event]`: `[batch, d, d]`, row `i` is `Jᵀeᵢ`.

    `product` is that of a linearization at `x` for `rows_together(x)` vectors per example.
    """
    size, together = math.prod(x.shape[1:]), rows_together(x)
    basis = np.eye(size).reshape(-1, together, 1, *x.shape[1:])

    def rows(vectors: tf.Tensor) -> tf.Tensor:
        shape = tf.concat([[together], tf.shape(x)], 0)
        cotangents = tf.reshape(tf.broadcast_to(vectors, shape), [-1, *x.shape[1:]])
        return tf.reshape(product(cotangents), [together, -1, size])

    if size == together:
        matrix = rows(tf.constant(basis[0], x.dtype))
    else:
        matrix = tf.reshape(tf.map_fn(rows, tf.constant(basis, x.dtype)), [size, -1, size])
    return tf.transpose(matrix, [1, 0, 2])


def norms(
    g: BoundFunction, x: tf.Tensor, tolerance: float = 1e-3, max_passes: int = 100
) -> np.ndarray:
    """`‖∂g/∂x‖₂`, `[batch]` in float64, of a function of each example by itself, to its shape.

    By an SVD for examples of up to `EXACT_UP_TO` dimensions, otherwise by power iteration from
    below. That stops when a pass (a product with J and one with Jᵀ) makes no example's value grow
    by more than `tolerance` squared, relatively, and falls short by about `tolerance` where the
    leading singular values are close. For eager use.
    """
    if math.prod(x.shape[1:]) <= EXACT_UP_TO:
        matrices = jacobian(g.linearize(x, rows_together(x)).product, x)
        return np.linalg.svd(np.asarray(matrices, np.float64), compute_uv=False)[:, 0]
    vector = _normalized(tf.random.stateless_normal(x.shape, [0, 0], dtype=x.dtype))[0]
    product = g.linearize(x).product
    largest = np.zeros(len(x))
    for _ in range(max_passes):
        with tf.autodiff.ForwardAccumulator(x, vector) as accumulator:
            outputs = g(x)
        image, length = _normalized(accumulator.jvp(outputs, tf.UnconnectedGradients.ZERO))
        growth, largest = length - largest, np.maximum(length, largest)
        if np.all(growth <= tolerance**2 * largest):
            break
        vector = _normalized(product(image))[0]
    return largest


def _normalized(vector: tf.Tensor) -> tuple[tf.Tensor, np.ndarray]:
    """Each example divided by its norm, and the norms `[batch]`."""
    length = tf.sqrt(tf.reduce_sum(tf.square(vector), range(1, vector.shape.rank), keepdims=True))
    return tf.math.divide_no_nan(vector, length), np.asarray(length, np.float64).reshape(-1)
