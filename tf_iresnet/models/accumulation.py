"""A function of a batch, evaluated in parts one after the other."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def over_parts(
    function: Callable[[Any, tf.Tensor], tuple[Any, Any]], parts: int, batch: Any
) -> tuple[Any, Any]:
    """Returns what a function of the parts of a batch adds up to, and its values in one batch.

    No part is begun before the one before is done. In a graph the function is traced once.

    Args:
        function: takes a part and its index; returns a structure of tensors to add up, and one of
            tensors `[rows, …]` to put one after the other.
        parts: their number, at least 2.
        batch: structure of tensors `[parts·rows, …]`; None stays None.
    """
    divided = tf.nest.map_structure(lambda tensor: _divided(tensor, parts), batch)
    if not tf.executing_eagerly():
        function = tf.function(function, autograph=False)

    def evaluated(index: tf.Tensor) -> tuple[Any, Any]:
        part = tf.nest.map_structure(lambda t: t if t is None else t[index], divided)
        return function(part, index)

    first, second = tf.constant(0), tf.constant(1)
    sums, values = evaluated(first)
    arrays = [
        tf.TensorArray(value.dtype, parts, element_shape=value.shape).write(0, value)
        for value in tf.nest.flatten(values)
    ]

    def body(index: tf.Tensor, sums: Any, arrays: Any) -> tuple[Any, Any, Any]:
        more, values = evaluated(index)
        pairs = zip(arrays, tf.nest.flatten(values), strict=True)
        arrays = [array.write(index, value) for array, value in pairs]
        return index + 1, tf.nest.map_structure(tf.add, sums, more), arrays

    _, sums, arrays = tf.while_loop(
        lambda index, *_: index < parts,
        body,
        (second, sums, arrays),
        parallel_iterations=1,
        maximum_iterations=parts - 1,
    )
    stacks = [array.stack() for array in arrays]
    joined = [tf.reshape(stack, tf.concat([[-1], tf.shape(stack)[2:]], 0)) for stack in stacks]
    return sums, tf.nest.pack_sequence_as(values, joined)


def _divided(tensor: tf.Tensor | None, parts: int) -> tf.Tensor | None:
    """`[parts·rows, …]` as `[parts, rows, …]`."""
    if tensor is None:
        return None
    rows = tensor.shape[0]
    if rows is None:
        rows = tf.shape(tensor)[0]
        whole = tf.debugging.Assert(rows % parts == 0, [_REFUSED.format(parts=parts)])
        with tf.control_dependencies([whole]):
            tensor = tf.identity(tensor)
    elif rows % parts:
        raise ValueError(_REFUSED.format(parts=parts))
    return tf.reshape(tensor, [parts, rows // parts, *tensor.shape[1:]])


_REFUSED = (
    "Expected batches whose examples accumulate_steps={parts} divides. Received: another number in "
    "a batch. Change the batch size, or leave out what remains."
)
