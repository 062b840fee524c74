"""The contract of an invertible layer, its composition and its reversal."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers import repetition
from tf_iresnet.layers.contractive import deserialize_layers, register
from tf_iresnet.numerics.probes import Seed, as_seed, fold_in

Pair = tuple[tf.Tensor, tf.Tensor]


class InvertibleLayer(keras.layers.Layer):
    """A bijection of each example, `F: inputs → outputs`, with its log-determinant.

    A subclass defines two methods on tensors of the layer's dtype:

        transform(x, condition, training, seed) → y, log_det      `[batch, *event]`, `[batch]`
        invert(y, condition) → x

    and everything below follows. `call` may be overridden where the value alone is cheaper, and
    `state` must name every variable that `training=True` assigns to.

    `log_det` is `ln|det ∂outputs/∂inputs|` of each example in nats. Apart from those assignments all
    methods are pure functions of weights, inputs and seed. A seed is an int or an int32 pair; None
    is a fixed one.
    """

    condition_size: int | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.event_shape: tuple[int, ...] | None = None

    def build(self, input_shape):
        event_shape = tuple(input_shape[1:])
        if not event_shape or None in event_shape:
            raise ValueError(
                f"Expected inputs of shape [batch, *event] with a known event shape. "
                f"Received: shape={tuple(input_shape)}"
            )
        self.event_shape = event_shape

    @property
    def state(self) -> list[keras.Variable]:
        """Variables that are assigned to under `training=True`."""
        return self.non_trainable_variables

    def transform(self, x, condition, training, seed):
        raise TypeError(f"{type(self).__name__} must define transform()")

    def invert(self, y, condition):
        raise TypeError(f"{type(self).__name__} must define invert()")

    def invert_with_log_det(self, y, condition, seed):
        x = self.invert(y, condition)
        return x, -self.transform(x, condition, False, seed)[1]

    def call(self, inputs, condition=None, training=None):
        return self.forward_with_log_det(inputs, condition, training)[0]

    def forward_with_log_det(
        self,
        inputs: Any,
        condition: Any = None,
        training: bool | None = None,
        seed: Seed = None,
    ) -> Pair:
        """`F(inputs)` and `ln|det ∂F/∂inputs|` of each example, `[batch]` nats."""
        x, condition = self._prepare(inputs, condition)
        return self.transform(x, condition, bool(training), as_seed(seed))

    def inverse(self, outputs: Any, condition: Any = None) -> tf.Tensor:
        """`F⁻¹(outputs)`. Rows that a solver couldn't certify are NaN."""
        return self.invert(*self._prepare(outputs, condition, inverse=True))

    def inverse_with_log_det(self, outputs: Any, condition: Any = None, seed: Seed = None) -> Pair:
        """`F⁻¹(outputs)` and the log-determinant of `F⁻¹` there, `[batch]` nats."""
        y, condition = self._prepare(outputs, condition, inverse=True)
        return self.invert_with_log_det(y, condition, as_seed(seed))

    def compute_output_shape(self, input_shape, condition_shape=None):
        return tuple(input_shape)

    def _prepare(self, value: Any, condition: Any, inverse: bool = False):
        dtype = self.variable_dtype
        value = tf.cast(tf.convert_to_tensor(value), dtype)
        if not self.built:
            if inverse:
                raise ValueError(
                    f"{self.name!r} has no weights yet: call it, or build(input_shape)."
                )
            self.build(value.shape)
        if not inverse and self.event_shape is not None and value.shape[1:] != self.event_shape:
            raise ValueError(
                f"Expected {self.name!r} inputs of shape [batch, "
                f"{', '.join(map(str, self.event_shape))}]. Received: shape={tuple(value.shape)}"
            )
        if condition is not None:
            condition = tf.cast(tf.convert_to_tensor(condition), dtype)
        return value, condition


@register
class InvertibleSequential(InvertibleLayer):
    """Composition `F = f_K ∘ … ∘ f_1`; log-determinants add up (i-ResNet, arXiv 1811.00995, eq. 2).

    Neighbours of equal structure (same class, config and weight shapes) run as one loop over their
    stacked weights, so a hundred blocks are traced and compiled once. To have that for a repeated
    *pattern*, nest it: `InvertibleSequential([InvertibleSequential([ActNorm(), block()]), …])`.

    Args:
        layers: `InvertibleLayer`s.

    Raises:
        ValueError: for a layer that isn't invertible.
    """

    def __init__(self, layers: Sequence[InvertibleLayer], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for layer in layers:
            if not isinstance(layer, InvertibleLayer):
                raise ValueError(
                    "Expected every layer to be an InvertibleLayer. Received: "
                    f"{type(layer).__name__} {getattr(layer, 'name', '')!r}. Wrap contractive "
                    "layers in tf_iresnet.layers.ResidualBlock([...])."
                )
        self.layers = list(layers)

    @property
    def condition_size(self) -> int | None:  # type: ignore[override]
        sizes = {layer.condition_size for layer in self.layers} - {None}
        if len(sizes) > 1:
            raise ValueError(f"Expected one condition_size in a flow. Received: {sorted(sizes)}")
        return sizes.pop() if sizes else None

    @property
    def state(self):
        return [variable for layer in self.layers for variable in layer.state]

    def build(self, input_shape):
        super().build(input_shape)
        for layer in self.layers:
            if not layer.built:
                layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape, condition_shape=None):
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return tuple(input_shape)

    def call(self, inputs, condition=None, training=None):
        x, condition = self._prepare(inputs, condition)

        def step(layer, index, carry):
            return (layer.call(carry[0], condition, training),)

        return repetition.fold(self.layers, step, (x,), update=bool(training))[0]

    def transform(self, x, condition, training, seed):
        def step(layer, index, carry):
            x, total = carry
            x, log_det = layer.transform(x, condition, training, fold_in(seed, index))
            return x, total + log_det

        zero = tf.zeros_like(x[(slice(None), *[0] * (x.shape.rank - 1))])
        return repetition.fold(self.layers, step, (x, zero), update=training)

    def invert(self, y, condition):
        def step(layer, index, carry):
            return (layer.invert(carry[0], condition),)

        return repetition.fold(self.layers, step, (y,), reverse=True)[0]

    def invert_with_log_det(self, y, condition, seed):
        def step(layer, index, carry):
            y, total = carry
            x, log_det = layer.invert_with_log_det(y, condition, fold_in(seed, index))
            return x, total + log_det

        zero = tf.zeros_like(y[(slice(None), *[0] * (y.shape.rank - 1))])
        return repetition.fold(self.layers, step, (y, zero), reverse=True)

    def get_config(self):
        return {
            **super().get_config(),
            "layers": [keras.saving.serialize_keras_object(layer) for layer in self.layers],
        }

    @classmethod
    def from_config(cls, config):
        return cls(**deserialize_layers(config))


@register
class Inverse(InvertibleLayer):
    """A layer with its directions swapped: forward is the other's inverse.

    `InvertibleSequential([block, Inverse(other_block)])` is an implicit flow (Lu et al.,
    arXiv 2103.09527).

    Args:
        layer: the `InvertibleLayer` to swap; its output shape must equal its input shape.
    """

    def __init__(self, layer: InvertibleLayer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    @property
    def condition_size(self) -> int | None:  # type: ignore[override]
        return self.layer.condition_size

    @property
    def state(self):
        return self.layer.state

    def build(self, input_shape):
        super().build(input_shape)
        if not self.layer.built:
            self.layer.build(input_shape)
        if self.layer.compute_output_shape(input_shape) != tuple(input_shape):
            raise ValueError("Expected a layer whose output shape is its input shape.")

    def call(self, inputs, condition=None, training=None):
        return self.layer.invert(*self._prepare(inputs, condition))

    def transform(self, x, condition, training, seed):
        y = self.layer.invert(x, condition)
        # The forward pass at the solution also keeps the wrapped layer's state up with its weights.
        return y, -self.layer.transform(y, condition, training, seed)[1]

    def invert(self, y, condition):
        return self.layer.call(y, condition)

    def invert_with_log_det(self, y, condition, seed):
        return self.layer.transform(y, condition, False, seed)

    def get_config(self):
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer}

    @classmethod
    def from_config(cls, config):
        return cls(**deserialize_layers(config))
