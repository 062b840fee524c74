"""Dataclasses that `tf.nest` takes apart into their tensors, and the precision of those."""

import dataclasses
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
