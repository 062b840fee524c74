"""Invertible layers one after another, and one turned around."""

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from tf_iresnet.layers.invertible import InvertibleLayer, Mapped, expect_invertible
from tf_iresnet.layers.serialization import build_once, expect_same_shape, inherit_dtype, register


def total_solvers(layers: Iterable[InvertibleLayer]) -> tuple[int, int]:
    forward, backward = zip(*(layer.num_solvers for layer in layers), strict=True)
    return sum(forward), sum(backward)


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
        return [weight for layer in self.layers for weight in layer.initialized_weights]

    def initialize(self, bound, x, reverse):
        values: list[list[tf.Tensor]] = [[] for _ in self.layers]
        order = range(len(self.layers))
        for index in reversed(order) if reverse else order:
            values[index], x = self.layers[index].initialize(bound[index], x, reverse)
        return [value for own in values for value in own], x

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

    def initialize(self, bound, x, reverse):
        return self.layer.initialize(bound, x, not reverse)

    def copies(self, bound, index=()):
        return self.layer.copies(bound, index)

    def visit(self, bound, x, callback, index=()):
        y = self.push(bound, x).value
        self.layer.visit(bound, y, callback, index)
        return y
