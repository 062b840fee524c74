"""The Jacobian of a function at given points, and its norm."""

import math

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics.bound_function import BoundFunction, Function

TOGETHER = 16  # rows of a Jacobian that one product takes
EXACT_UP_TO = 128  # dimensions of a point up to which the Jacobian is written out


def rows_together(x: tf.Tensor) -> int:
    """How many rows of a Jacobian at `x` `jacobian` takes by one product."""
    size = math.prod(x.shape[1:])
    return next(n for n in range(min(size, TOGETHER), 0, -1) if size % n == 0)


def jacobian(product: Function, x: tf.Tensor) -> tf.Tensor:
    """The Jacobian of each example, `[batch, d, d]`, of which row `i` is `Jᵀeᵢ`.

    Args:
        product: of a linearization at `x`, for `rows_together(x)` vectors of each example.
        x: `[batch, *event]`.
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
    """`‖∂g/∂x‖₂` of each example: of small ones by an SVD, of others by power iteration from below.

    The latter stops when a pass makes no example's value grow by more than `tolerance` squared,
    and falls short by about `tolerance` where the leading singular values are close. For eager use.

    Args:
      g: a function of each example by itself, to its shape.
      x: `[batch, *event]`.
      tolerance: relative.
      max_passes: cap on the passes, each a product with the Jacobian and one with its transpose.

    Returns:
      `[batch]`, float64.
    """
    if math.prod(x.shape[1:]) <= EXACT_UP_TO:
        matrices = jacobian(g.linearize(x, rows_together(x)).product, x)
        return np.linalg.svd(np.asarray(matrices, np.float64), compute_uv=False)[:, 0]
    vector = _normalized(tf.random.stateless_normal(x.shape, [0, 0], dtype=x.dtype))[0]
    product = g.linearize(x).product
    largest = np.zeros(len(x))
    for _ in range(max_passes):
        image, length = _normalized(_forward(g, x, vector))
        growth, largest = length - largest, np.maximum(length, largest)
        if np.all(growth <= tolerance**2 * largest):
            break
        vector = _normalized(product(image))[0]
    return largest


def _forward(g: BoundFunction, x: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """`J v`."""
    with tf.autodiff.ForwardAccumulator(x, vector) as accumulator:
        outputs = g(x)
    return accumulator.jvp(outputs, tf.UnconnectedGradients.ZERO)


def _normalized(vector: tf.Tensor) -> tuple[tf.Tensor, np.ndarray]:
    """Each example divided by its norm, and the norms `[batch]`."""
    axes = range(1, vector.shape.rank)
    length = tf.sqrt(tf.reduce_sum(vector**2, axes, keepdims=True))
    norm = np.asarray(length, np.float64).reshape(-1)
    return tf.math.divide_no_nan(vector, length), norm
