"""Dataclasses that `tf.nest` takes apart into their tensors; precision and stacks of those."""

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar

import tensorflow as tf


class TensorDataclass:
    """A dataclass as a `tf.nest` structure of the fields that `tensors` names, unless None.

    Loops can slice it: `map_structure(lambda t: t[i], structure)`. Other fields are its metadata.
    """

    tensors: ClassVar[tuple[str, ...]]

    def __tf_flatten__(self: Any) -> tuple[tuple, tuple]:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        names = tuple(name for name in self.tensors if fields[name] is not None)
        components = tuple(fields.pop(name) for name in names)
        return (names, tuple(fields.items())), components

    @classmethod
    def __tf_unflatten__(cls, metadata: tuple, components: tuple) -> Any:
        names, others = metadata
        return cls(**dict(zip(names, components, strict=True)), **dict(others))


def lifted(dtype: Any) -> str:
    """The dtype's name, that of float32 for half precision."""
    dtype = tf.as_dtype(dtype)
    return "float32" if dtype.is_floating and dtype.size < 4 else dtype.name


def at_least_float32(value: Any) -> tf.Tensor:
    """The value as a tensor, float32 if it has half precision."""
    value = tf.convert_to_tensor(value)
    return tf.cast(value, lifted(value.dtype))


def cast_floats(structure: Any, dtype: Any) -> Any:
    """The structure with its floating-point tensors in that dtype."""

    def cast(value: Any) -> tf.Tensor:
        value = tf.convert_to_tensor(value)
        return tf.cast(value, dtype) if value.dtype.is_floating else value

    return tf.nest.map_structure(cast, structure)


def unstacked(structure: Any, count: int) -> list[tf.TensorArray]:
    """The `count` slices of all tensors, along their first axes, for a loop to `read`."""
    return [
        tf.TensorArray(t.dtype, count, clear_after_read=False).unstack(t)
        for t in tf.nest.flatten(structure)
    ]


def read(structure: Any, slices: Iterable[tf.TensorArray], index: tf.Tensor) -> Any:
    """A structure of the slices at that index."""
    return tf.nest.pack_sequence_as(structure, [array.read(index) for array in slices])


def written(
    arrays: Iterable[tf.TensorArray], index: tf.Tensor, values: Any
) -> list[tf.TensorArray]:
    """The arrays with the tensors of a structure at that index."""
    pairs = zip(arrays, tf.nest.flatten(values), strict=True)
    return [array.write(index, value) for array, value in pairs]
