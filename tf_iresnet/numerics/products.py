"""Products with the Jacobian of one evaluation of a function, and folding probes into the batch."""

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

Function = Callable[[tf.Tensor], tf.Tensor]


class Linearization(NamedTuple):
    """A function at a point `x`.

    Attributes:
      outputs: `g(x)`.
      product: `w ↦ Jᵀw`; all products share that one evaluation.
      trace: of `J` of each example, `[batch]`; None where it would take products.
    """

    outputs: tf.Tensor
    product: Function
    trace: tf.Tensor | None


def linearize(
    g: Callable[..., tf.Tensor], x: tf.Tensor, *parameters: tf.Tensor, trace: bool = False
) -> Linearization:
    """`x ↦ g(x, *parameters)` at a point, by a method of `g` of that name if it has one.

    `trace` says whether that is wanted.
    """
    own = getattr(g, "linearize", None)
    return own(x, *parameters, trace=trace) if own else by_tape(g, x, *parameters)


def by_tape(g: Callable[..., tf.Tensor], x: tf.Tensor, *parameters: tf.Tensor) -> Linearization:
    """`x ↦ g(x, *parameters)` at a point, whatever it is."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        outputs = g(x, *parameters)

    def product(w: tf.Tensor) -> tf.Tensor:
        return tape.gradient(
            outputs, x, output_gradients=w, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    return Linearization(outputs, product, None)


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
