"""Invertible layers one after another, and one turned around."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.invertible import InvertibleLayer, Mapped, expect_invertible
from tf_iresnet.layers.serialization import build_once, expect_same_shape, inherit_dtype, register


def total_solvers(layers: Iterable[InvertibleLayer]) -> tuple[int, int]:
    forward, backward = zip(*(layer.num_solvers for layer in layers), strict=True)
    return sum(forward), sum(backward)


def weights_to_initialize(layers: Iterable[InvertibleLayer]) -> list[keras.Variable]:
    """The `initialized_weights` of the layers, each once, also of a layer that is used twice."""
    weights = (weight for layer in layers for weight in layer.initialized_weights)
    return [*{id(weight): weight for weight in weights}.values()]


class Initialization:
    """A pass through layers in which each initialises its weights: the first use of it decides.

    Args:
        weights: `weights_to_initialize(layers)`.
        values: of these weights, so far.
    """

    def __init__(self, weights: Iterable[keras.Variable], values: Iterable[tf.Tensor]) -> None:
        self._values = dict(zip(map(id, weights), values, strict=True))

    def step(self, layer: InvertibleLayer, bound: Any, x: tf.Tensor, reverse: bool) -> tf.Tensor:
        """What the layer makes of `x`; see `InvertibleLayer.initialize`."""
        keys = [id(weight) for weight in layer.initialized_weights]
        values, x = layer.initialize(bound, [self._values[key] for key in keys], x, reverse)
        self._values.update(zip(keys, values, strict=True))
        return x

    @property
    def values(self) -> list[tf.Tensor]:
        """Those of the weights after the pass."""
        return [*self._values.values()]


@register
class InvertibleSequential(InvertibleLayer):
    """Composition `F = f_K ∘ … ∘ f_1`; log-determinants add up (i-ResNet, arXiv 1811.00995, eq. 2).

    For many equal layers use `Repeated`, which is traced and compiled once.

    Args:
        layers: `InvertibleLayer`s.

    Raises:
        ValueError: for a layer that isn't invertible.
    """

    def __init__(self, layers: Sequence[InvertibleLayer], **kwargs: Any) -> None:
        super().__init__(**inherit_dtype(kwargs, layers))
        self.layers = expect_invertible(layers)

    @property
    def num_solvers(self) -> tuple[int, int]:
        return total_solvers(self.layers)

    def build(self, input_shape):
        super().build(input_shape)
        for layer in self.layers:
            input_shape = build_once(layer, input_shape)

    def compute_output_shape(self, input_shape):
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return tuple(input_shape)

    def bind(self, condition=None, training=None):
        return tuple(layer.bind(condition, training) for layer in self.layers)

    def push(self, bound, x, how=None):
        steps = []
        for index, layer in enumerate(self.layers):
            steps.append(layer.push(bound[index], x, how and how.at(index)))
            x = steps[-1].value
        return Mapped.composed(steps)

    def pull(self, bound, y, how=None):
        steps = []
        for index, layer in reversed(list(enumerate(self.layers))):
            steps.append(layer.pull(bound[index], y, how and how.at(index)))
            y = steps[-1].value
        return Mapped.composed(steps, reverse=True)

    def fold(self, x, folding):
        for layer in self.layers:
            x = layer.fold(x, folding)
        return x

    @property
    def initialized_weights(self):
        return weights_to_initialize(self.layers)

    def initialize(self, bound, values, x, reverse):
        found = Initialization(self.initialized_weights, values)
        order = range(len(self.layers))
        for index in reversed(order) if reverse else order:
            x = found.step(self.layers[index], bound[index], x, reverse)
        return found.values, x

    def copies(self, bound, index=()):
        for layer, own in zip(self.layers, bound, strict=True):
            yield from layer.copies(own, index)

    def visit(self, bound, x, callback, index=()):
        for layer, own in zip(self.layers, bound, strict=True):
            x = layer.visit(own, x, callback, index)
        return x


class Wrapper(InvertibleLayer):
    """The base of layers around another one, whose output shape is its input shape."""

    def __init__(self, layer: InvertibleLayer, **kwargs: Any) -> None:
        super().__init__(**inherit_dtype(kwargs, [layer]))
        (self.layer,) = expect_invertible([layer])

    def build(self, input_shape):
        super().build(input_shape)
        expect_same_shape(self.layer, input_shape)

    def bind(self, condition=None, training=None):
        return self.layer.bind(condition, training)

    @property
    def initialized_weights(self):
        return self.layer.initialized_weights


@register
class Inverse(Wrapper):
    """A layer with its directions swapped: forward is the other's inverse.

    `InvertibleSequential([block, Inverse(other_block)])` is an implicit flow (Lu et al.,
    arXiv 2103.09527).

    Args:
        layer: the `InvertibleLayer` to swap; its output shape must equal its input shape.
    """

    unfoldable = "which inverts another layer"

    @property
    def num_solvers(self) -> tuple[int, int]:
        forward, backward = self.layer.num_solvers
        return backward, forward

    def push(self, bound, x, how=None):
        return self.layer.pull(bound, x, how)

    def pull(self, bound, y, how=None):
        return self.layer.push(bound, y, how)

    def initialize(self, bound, values, x, reverse):
        return self.layer.initialize(bound, values, x, not reverse)

    def copies(self, bound, index=()):
        return self.layer.copies(bound, index)

    def visit(self, bound, x, callback, index=()):
        y = self.push(bound, x).value
        self.layer.visit(bound, y, callback, index)
        return y
