"""Products with the Jacobian of one evaluation of a function, and folding probes into the batch."""

import math
from collections.abc import Callable

import tensorflow as tf

Function = Callable[[tf.Tensor], tf.Tensor]


def evaluate(g: Function, x: tf.Tensor) -> tuple[tf.Tensor, Function]:
    """`g(x)` and `w ↦ Jᵀw`, all products sharing that one evaluation."""
    outputs, _, product = evaluate_with_trace(g, x, wanted=False)
    return outputs, product


def evaluate_with_trace(
    g: Function, x: tf.Tensor, wanted: bool = True
) -> tuple[tf.Tensor, tf.Tensor | None, Function]:
    """As `evaluate`, with `tr J` `[batch]` if it is wanted and `g` has a method that gives it."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        with_trace = getattr(g, "with_trace", None) if wanted else None
        outputs, trace = with_trace(x) if with_trace else (g(x), None)

    def product(w: tf.Tensor) -> tf.Tensor:
        return tape.gradient(
            outputs, x, output_gradients=w, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    return outputs, trace, product


def inner(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The inner product of each example `[batch]`."""
    return tf.reduce_sum(a * b, axis=range(1, a.shape.rank))


def jacobian(product: Function, x: tf.Tensor) -> tf.Tensor:
    """`J` of each example, `[batch, d, d]`; row `i` is `Jᵀeᵢ`."""
    size = math.prod(x.shape[1:])
    eye = tf.eye(size, dtype=x.dtype)

    def row(basis: tf.Tensor) -> tf.Tensor:
        cotangent = tf.broadcast_to(tf.reshape(basis, [1, *x.shape[1:]]), tf.shape(x))
        return tf.reshape(product(cotangent), [-1, size])

    if size <= 4:  # unrolled, the products run side by side
        return tf.stack([row(eye[i]) for i in range(size)], axis=1)
    return tf.transpose(tf.map_fn(row, eye), [1, 0, 2])


def tile(x: tf.Tensor, count: int) -> tf.Tensor:
    """`count` copies of the batch, one after another, along axis 0."""
    return x if count == 1 else tf.tile(x, [count, *[1] * (x.shape.rank - 1)])


def untile(x: tf.Tensor, count: int) -> tf.Tensor:
    """The copies along an axis of their own: `[count, batch, …]`."""
    return tf.reshape(x, tf.concat([[count, -1], tf.shape(x)[1:]], 0))
