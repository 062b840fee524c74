"""Refusals of what doesn't fit, before any arithmetic."""

from collections.abc import Iterable
from typing import Any

import tensorflow as tf


def expect_events(layer: Any, value: tf.Tensor, inverse: bool = False) -> None:
    """Raises unless `value` has the shape of inputs, or with `inverse` of outputs, of the layer."""
    if layer.event_shape is None:
        raise ValueError(f"{layer.name!r} has no shape yet: call it, or build(input_shape).")
    shape = (None, *layer.event_shape)
    shape = layer.compute_output_shape(shape) if inverse else shape
    if not value.shape.is_compatible_with(shape):
        raise ValueError(
            f"Expected {'outputs' if inverse else 'inputs'} of {layer.name!r} of shape "
            f"{_batch_of(shape[1:])}. Received: shape={tuple(value.shape)}"
        )


def as_condition(owner: Any, condition: Any, rows: int | None) -> tf.Tensor | None:
    """The condition as a tensor `[1 or rows, size]`, None where the owner takes none.

    `owner` is a layer or a model.

    Raises:
        ValueError: for one that is missing or too much, of another size, or for another number
            of examples than `rows` or 1.
    """
    size = owner.condition_size
    if condition is None and size is None:
        return None
    received = "None"
    if condition is not None:
        tensor = tf.cast(tf.convert_to_tensor(condition), owner.working_dtype)
        received = f"shape={tuple(tensor.shape) if tensor.shape.rank is not None else '?'}"
        if size is not None:
            if tensor.shape == (size,):
                tensor = tensor[tf.newaxis]
            fits = tensor.shape.rank == 2 and tensor.shape[1:].is_compatible_with([size])
            if fits and (rows is None or tensor.shape[0] in (None, 1, rows)):
                return tensor
            if size == 1 and tensor.shape.rank == 1:
                received += ". Give it an axis of its own: condition[:, None]"
    batch = "batch" if rows is None else rows
    expected = f"of shape [{batch}, {size}], or [{size}] for all examples" if size else "None"
    raise ValueError(
        f"Expected the condition of {owner.name!r} to be {expected}. Received: {received}"
    )


def _batch_of(event_shape: Iterable[Any]) -> str:
    return f"[batch, {', '.join(map(str, event_shape))}]"
