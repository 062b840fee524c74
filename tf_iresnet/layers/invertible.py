"""The contract of an invertible layer, its composition and its reversal."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.contractive import deserialize_layers, register
from tf_iresnet.layers.inversion import Neighbour, SolverReport
from tf_iresnet.numerics.probes import Seed, as_seed, fold_in

Pair = tuple[tf.Tensor, tf.Tensor]


class InvertibleLayer(keras.layers.Layer):
    """A bijection of each example, `F: inputs → outputs`, with its log-determinant.

    A subclass defines two methods on tensors of the layer's dtype:

        transform(x, condition, training, seed) → y, log_det      `[batch, *event]`, `[batch]`
        invert(y, condition) → x

    and everything below follows. `call` may be overridden where the value alone is cheaper, and
    `state` must name every variable that `training=True` assigns to. A layer whose inverse is
    solved for, or made of layers, also has

        num_solvers, and invert_with_report(y, condition, neighbour) → x, `SolverReport`

    `log_det` is `ln|det ∂outputs/∂inputs|` of each example in nats. Apart from those assignments
    all methods are pure functions of weights, inputs and seed. A seed is an int or an int32 pair;
    None is a fixed one.
    """

    condition_size: int | None = None
    num_solvers: int = 0  # that the inverse runs, one after another

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

    def invert_with_report(self, y, condition, neighbour=None):
        del neighbour  # of use to solvers only
        return self.invert(y, condition), SolverReport.blank(y)

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

    def inverse(self, outputs: Any, condition: Any = None, near: Any = None) -> tf.Tensor:
        """`F⁻¹(outputs)`. Rows that a solver couldn't certify are NaN.

        Args:
            outputs: `[batch, *outputs' event]`.
            condition: `[batch, condition_size]`, or None.
            near: `[batch, *event]`, inputs thought to be near, where solvers then start: those of
                the last step of a Markov chain or an interpolation. One forward pass says what
                comes of them in every layer. The result is as certain as without.
        """
        if near is not None:
            return self.inverse_with_report(outputs, condition, near)[0]
        return self.invert(*self._prepare(outputs, condition, inverse=True))

    def inverse_with_report(
        self, outputs: Any, condition: Any = None, near: Any = None
    ) -> tuple[tf.Tensor, SolverReport]:
        """`inverse`, and how each solver in it fared. The forward pass of `near` isn't counted."""
        y, condition = self._prepare(outputs, condition, inverse=True)
        neighbour = None
        if near is not None:
            near = tf.stop_gradient(self._prepare(near, None)[0])
            neighbour = Neighbour(near, tf.stop_gradient(self.call(near, condition)))
        return self.invert_with_report(y, condition, neighbour)

    def inverse_with_log_det(self, outputs: Any, condition: Any = None, seed: Seed = None) -> Pair:
        """`F⁻¹(outputs)` and the log-determinant of `F⁻¹` there, `[batch]` nats."""
        y, condition = self._prepare(outputs, condition, inverse=True)
        return self.invert_with_log_det(y, condition, as_seed(seed))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def _prepare(self, value: Any, condition: Any, inverse: bool = False) -> tuple[Any, Any]:
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


def inherit_dtype(kwargs: dict[str, Any], layers: Sequence[Any]) -> dict[str, Any]:
    """The arguments with the dtype of the wrapped layers, unless they name one."""
    if kwargs.get("dtype") is None and layers and hasattr(layers[0], "dtype_policy"):
        return {**kwargs, "dtype": layers[0].dtype_policy.name}
    return kwargs


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
        if not layers:
            raise ValueError("Expected at least one layer. Received: none")
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
        sizes = {s for layer in self.layers if (s := layer.condition_size) is not None}
        if len(sizes) > 1:
            raise ValueError(f"Expected one condition_size in a flow. Received: {sorted(sizes)}")
        return sizes.pop() if sizes else None

    @property
    def num_solvers(self) -> int:  # type: ignore[override]
        return sum(layer.num_solvers for layer in self.layers)

    @property
    def state(self):
        return [variable for layer in self.layers for variable in layer.state]

    def build(self, input_shape):
        super().build(input_shape)
        for layer in self.layers:
            if not layer.built:
                layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return tuple(input_shape)

    def call(self, inputs, condition=None, training=None):
        x, condition = self._prepare(inputs, condition)

        for layer in self.layers:
            x = layer.call(x, condition, training)
        return x

    def transform(self, x, condition, training, seed):
        total = tf.zeros([], x.dtype)
        for index, layer in enumerate(self.layers):
            x, log_det = layer.transform(x, condition, training, fold_in(seed, index))
            total += log_det
        return x, total

    def invert(self, y, condition):
        for layer in reversed(self.layers):
            y = layer.invert(y, condition)
        return y

    def invert_with_report(self, y, condition, neighbour=None):
        neighbours: Sequence[Neighbour | None] = [None] * len(self.layers)
        if neighbour is not None:
            inputs = itertools.accumulate(
                self.layers[:-1], lambda x, layer: layer.call(x, condition), initial=neighbour[0]
            )
            neighbours = [*map(Neighbour._make, itertools.pairwise([*inputs, neighbour.outputs]))]
        reports = []
        for layer, known in reversed([*zip(self.layers, neighbours, strict=True)]):
            y, report = layer.invert_with_report(y, condition, known)
            reports.append(report)
        return y, SolverReport.joined(reversed(reports))

    def invert_with_log_det(self, y, condition, seed):
        total = tf.zeros([], y.dtype)
        for index, layer in reversed(list(enumerate(self.layers))):
            y, log_det = layer.invert_with_log_det(y, condition, fold_in(seed, index))
            total += log_det
        return y, total

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
        super().__init__(**inherit_dtype(kwargs, [layer]))
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
