"""Layers as plain Keras ones: the normalised kernels as weights, and nothing of this package.

`layer.folded()` makes a symbolic pass through `StackedLayer.fold`, which is to Keras layers what
`bind` and `push` are to tensors.
"""

import collections
import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf


@dataclasses.dataclass
class Folding:
    """One pass that puts plain Keras layers together.

    Attributes:
        dtype: name of the type that everything is computed in.
        condition: a symbolic tensor `[batch, size]`, or None.
        index: of the copy in the stack of weights, see `Repeated`.
        layers: the plain layers so far, as long as each took the outputs of the one before alone.
        ends: the input and the outputs of these layers; one more, None, where that ended.
        names: how often each was used.
    """

    dtype: str
    condition: Any = None
    index: tuple[int, ...] = ()
    layers: list[keras.layers.Layer] = dataclasses.field(default_factory=list)
    ends: list[Any] = dataclasses.field(default_factory=list)
    names: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    def at(self, copy: int) -> "Folding":
        """The same pass inside a copy of a layer."""
        return dataclasses.replace(self, index=(*self.index, copy))

    def value(self, tensor: Any) -> np.ndarray:
        """What this copy has of a stacked tensor or weight."""
        return np.asarray(tf.convert_to_tensor(tensor))[self.index]

    def options(self, layer: keras.layers.Layer) -> dict[str, Any]:
        """Arguments of a plain layer that stands for one: a name of its own, and the dtype."""
        # TensorFlow refuses to save variables whose names begin with an underscore.
        name = "_".join([layer.name.lstrip("_") or "layer", *map(str, self.index)])
        self.names[name] += 1
        name += f"_{self.names[name]}" * (self.names[name] > 1)
        return {"name": name, "dtype": self.dtype}

    def apply(self, plain: keras.layers.Layer, inputs: Any, *weights: np.ndarray) -> Any:
        """Outputs of a plain layer, which gets these weights, for a symbolic tensor or several."""
        outputs = plain(inputs)
        if weights:
            plain.set_weights(weights)
        if inputs is self.ends[-1]:
            self.layers.append(plain)
            self.ends.append(outputs)
        else:
            self.ends.append(None)
        return outputs

    def copied(self, layer: keras.layers.Layer, x: Any) -> Any:
        """Outputs of a layer of Keras, by a copy of it."""
        copy = type(layer).from_config(layer.get_config() | self.options(layer))
        return self.apply(copy, x, *layer.get_weights())

    def operations(self, layer: keras.layers.Layer, function: Callable, x: Any) -> Any:
        """`function(x)`, made of `keras.ops`, as a model with the name of the layer."""
        own = keras.Input(x.shape[1:], dtype=self.dtype)
        name = self.options(layer)["name"]
        return self.apply(keras.Model(own, function(own), name=name), x)

    def linear(
        self,
        layer: keras.layers.Layer,
        plain: Callable[..., keras.layers.Layer],
        x: Any,
        kernel: np.ndarray,
        bias: Any = None,
        condition_kernel: Any = None,
        activation: str | None = None,
    ) -> Any:
        """`activation(x W + b + condition K)`.

        Args:
            layer: what it stands for.
            plain: makes a layer that holds the kernel, given `use_bias`, `name`, `dtype`, ….
            x: symbolic tensor.
            kernel: of this copy; `bias` and `condition_kernel` are weights, stacked, or None.
            activation: name of a Keras activation.
        """
        weights = [kernel] if bias is None else [kernel, self.value(bias)]
        options = {"use_bias": bias is not None, **self.options(layer)}
        if condition_kernel is None:
            return self.apply(plain(activation=activation, **options), x, *weights)
        x = self.apply(plain(**options), x, *weights)
        units, dtype = condition_kernel.shape[-1], self.dtype
        dense = keras.layers.Dense(units, use_bias=False, dtype=dtype)
        shift = self.apply(dense, self.condition, self.value(condition_kernel))
        if len(x.shape) > 2:
            each = (1,) * (len(x.shape) - 2)
            shift = self.apply(keras.layers.Reshape((*each, units), dtype=dtype), shift)
        x = self.apply(keras.layers.Add(dtype=dtype), [x, shift])
        if activation is None:
            return x
        return self.apply(keras.layers.Activation(activation, dtype=dtype), x)

    def affine(self, layer: keras.layers.Layer, x: Any, scale: Any, offset: Any = 0.0) -> Any:
        """`scale·x + offset`, of numbers or arrays that broadcast to an example."""
        # Arrays with an axis: Keras would take the numbers of a list, or one number, for float32.
        scale, offset = (np.atleast_1d(np.asarray(v, self.dtype)) for v in (scale, offset))
        return self.apply(keras.layers.Rescaling(scale, offset, **self.options(layer)), x)


@contextlib.contextmanager
def frozen(layers: Iterable[Any]) -> Iterator[list[tf.Variable]]:
    """Within it these layers use the constants that they have now, and compute them no more.

    Yields them as variables, which functions that are traced within it read.
    """
    variables: list[tf.Variable] = []
    stacked = [layer for layer in layers if hasattr(layer, "constants")]
    try:
        for layer in stacked:
            own = [tf.Variable(t, trainable=False) for t in layer.constants()]
            if own:
                layer.read_constants = _reader(own)
                variables += own
        yield variables
    finally:
        for layer in stacked:
            layer.read_constants = None


def _reader(variables: list[tf.Variable]) -> Callable[[], tuple[tf.Tensor, ...]]:
    return lambda: tuple(map(tf.convert_to_tensor, variables))


def folded_layer(layer: Any) -> keras.layers.Layer:
    """A plain layer that computes what the built `layer` does.

    One Keras layer if there is one; a `keras.Sequential` of several; or a functional model, of
    `[inputs, condition]` where there is a condition.
    """
    shape = layer.get_build_config() if layer.built else None
    if not shape or not shape.get("input_shape"):
        raise ValueError(f"{layer.name!r} has no weights yet: call it, or build(input_shape).")
    if layer.stack:
        raise ValueError(
            f"Expected a layer with weights of one copy. Received: {layer.name!r} with those of "
            f"{math.prod(layer.stack)}. Fold the Repeated layer that it is in."
        )
    event = shape["input_shape"][1:]
    model, layers = _through(layer, layer.fold, event, layer.condition_size, layer.working_dtype)
    if len(layers) == 1:
        return layers[0]
    if layers:
        own = keras.Input(event, dtype=layer.working_dtype)
        return keras.Sequential([own, *layers], name=layer.name)
    return model


def folded_model(model: Any) -> keras.Model:
    """A plain functional model, of `fold` of an `InvertibleModel`."""
    layer = model.layer
    return _through(
        model, model.fold, model.event_shape, layer.condition_size, layer.working_dtype
    )[0]


def _through(
    layer: Any, fold: Callable, event_shape: Any, condition_size: int | None, dtype: str
) -> tuple[keras.Model, list[keras.layers.Layer]]:
    """The functional model, and the layers that it chains if it does no more than that."""
    x = keras.Input(event_shape, dtype=dtype, name="x")
    condition = None
    if condition_size is not None:
        condition = keras.Input((condition_size,), dtype=dtype, name="condition")
    folding = Folding(dtype, condition, ends=[x])
    folding.names.update(["x", "condition"])
    with frozen(layer._flatten_layers()):
        y = fold(x, folding)
    model = keras.Model(x if condition is None else [x, condition], y, name=layer.name)
    chained = condition is None and y is folding.ends[-1]
    return model, folding.layers if chained else []
