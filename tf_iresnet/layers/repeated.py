"""Many copies of one layer as a single loop over stacked weights."""

import contextlib
import types
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.contractive import deserialize_layers, register
from tf_iresnet.layers.inversion import Neighbour, SolverReport
from tf_iresnet.layers.invertible import InvertibleLayer, inherit_dtype
from tf_iresnet.numerics import truncation
from tf_iresnet.numerics.probes import fold_in


@register
class Repeated(InvertibleLayer):
    """`times` copies of a layer one after another, each with weights of its own.

    It computes what an `InvertibleSequential` of `times` such layers does, but is traced, compiled
    and optimised once, whatever `times` is: unrolled, every residual block costs about a second
    before the first training step. Each weight of the layer becomes one variable with a leading
    axis of length `times`.

    Args:
        layer: the `InvertibleLayer` to repeat, not yet built; its output shape is its input shape.
            Use an `InvertibleSequential` for a pattern. Seeds of its initialisers are varied from
            copy to copy.
        times: how many copies.

    Example:

        block = tf_iresnet.layers.ResidualBlock([
            tf_iresnet.layers.SpectralDense(64, activation="lipswish"),
            tf_iresnet.layers.SpectralDense(2),
        ])
        flow = tf_iresnet.ResidualFlow(tf_iresnet.layers.Repeated(block, 100))
    """

    def __init__(self, layer: InvertibleLayer, times: int, **kwargs: Any) -> None:
        super().__init__(**inherit_dtype(kwargs, [layer]))
        if not isinstance(layer, InvertibleLayer):
            raise ValueError(
                f"Expected layer to be an InvertibleLayer. Received: {type(layer).__name__}"
            )
        if times < 1:
            raise ValueError(f"Expected times ≥ 1. Received: times={times}")
        # In a namespace, where Keras doesn't track it: the weights that count are the stacked ones.
        self._hidden = types.SimpleNamespace(layer=layer)
        self._stacked: list[keras.Variable] = []
        self.times = times

    @property
    def layer(self) -> InvertibleLayer:
        """The layer whose computation is repeated. Its own weights aren't used: see `copy`."""
        return self._hidden.layer

    @property
    def condition_size(self) -> int | None:  # type: ignore[override]
        return self.layer.condition_size

    @property
    def num_solvers(self) -> int:  # type: ignore[override]
        return self.times * self.layer.num_solvers

    @property
    def state(self):
        return [self._stacked[position] for position in self._state_positions()]

    def build(self, input_shape):
        super().build(input_shape)
        template = self.layer
        config = keras.saving.serialize_keras_object(template)
        copies = [template] + [
            keras.saving.deserialize_keras_object(_reseeded(config, index))
            for index in range(1, self.times)
        ]
        for copy in copies:
            if not copy.built:
                copy.build(input_shape)
        if tuple(template.compute_output_shape(input_shape)) != tuple(input_shape):
            raise ValueError("Expected a layer whose output shape is its input shape.")
        for variables in zip(*(copy.variables for copy in copies), strict=True):
            self._stacked.append(self._stack(variables))

    def _stack(self, variables: tuple[keras.Variable, ...]) -> keras.Variable:
        first = variables[0]
        if first.regularizer is not None:
            raise ValueError(
                "Expected a layer without regularizers, which would see only one of the copies. "
                f"Received: a regularizer on {first.path}. Use the optimizer's weight_decay."
            )
        return self.add_weight(
            name=first.path.replace("/", "."),
            shape=(self.times, *first.shape),
            initializer=lambda shape, dtype: tf.stack([v.value for v in variables]),
            trainable=first.trainable,
            aggregation=first.aggregation,
            dtype=first.dtype,
        )

    @contextlib.contextmanager
    def copy(self, index: int) -> Iterator[InvertibleLayer]:
        """The layer with the weights of copy `index`, inside a `with` block (eager mode).

        What is assigned to the layer's variables there is stored in that copy.
        """
        values = [variable.value[index] for variable in self._stacked]
        mapping = list(zip(self.layer.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            yield self.layer
        for stacked, (variable, before) in zip(self._stacked, mapping, strict=True):
            after = scope.get_current_value(variable)
            if after is not before:
                stacked.assign(tf.tensor_scatter_nd_update(stacked.value, [[index]], after[None]))

    def _state_positions(self) -> list[int]:
        names = {id(variable) for variable in self.layer.state}
        return [i for i, variable in enumerate(self.layer.variables) if id(variable) in names]

    def _loop(self, step, carry, update=False, reverse=False):
        """`carry ← step(layer, index, carry)` over the copies, from last to first if `reverse`."""
        outputs = self._steps(step, carry, update, reverse)
        last = 0 if reverse else -1
        return tuple(
            tf.ensure_shape(output[last], value.shape)
            for output, value in zip(outputs, carry, strict=True)
        )

    def _steps(self, step, carry, update=False, reverse=False, each=()):
        """Every carry of the loop, at its copy's index; `step` also gets `each[index]`, if any."""
        layer, variables = self.layer, self.layer.variables
        positions = self._state_positions() if update else []

        def body(carried, element):
            index, values, *known = element
            mapping = list(zip(variables, values, strict=True))
            with keras.StatelessScope(state_mapping=mapping) as scope:
                new = step(layer, index, carried[0], *known)
                return new, [scope.get_current_value(variables[p]) for p in positions]

        values = [variable.value for variable in self._stacked]
        initial = carry, [tf.zeros(variables[p].shape, values[p].dtype) for p in positions]
        elements = (tf.range(self.times), values, *each)
        outputs, states = tf.scan(body, elements, initial, reverse=reverse)
        for position, value in zip(positions, states, strict=True):
            self._stacked[position].assign(value)
        return outputs

    def call(self, inputs, condition=None, training=None):
        x, condition = self._prepare(inputs, condition)

        def step(layer, index, carry):
            return (layer.call(carry[0], condition, training),)

        return self._loop(step, (x,), update=bool(training))[0]

    def transform(self, x, condition, training, seed):
        # What a copy reports can't leave the loop but in what it carries.
        gathering = truncation.gathering()

        def step(layer, index, carry):
            x, total, *missing = carry
            with truncation.gather() if gathering else contextlib.nullcontext() as bounds:
                x, log_det = layer.transform(x, condition, training, fold_in(seed, index))
            return x, total + log_det, *(before + bounds.total(total) for before in missing)

        zeros = _zeros(x)
        carry = (x, zeros, zeros) if gathering else (x, zeros)
        y, log_det, *missing = self._loop(step, carry, update=training)
        if gathering:
            truncation.report(lambda _: missing[0])
        return y, log_det

    def invert(self, y, condition):
        def step(layer, index, carry):
            return (layer.invert(carry[0], condition),)

        return self._loop(step, (y,), reverse=True)[0]

    def invert_with_report(self, y, condition, neighbour=None):
        def step(layer, index, carry, known=None):
            return layer.invert_with_report(carry[0], condition, known)

        each = () if neighbour is None else (self._neighbours(neighbour, condition),)
        blank = SolverReport.blank(y, self.layer.num_solvers)
        values, reports = self._steps(step, (y, blank), reverse=True, each=each)
        shape = [self.num_solvers, tf.shape(y)[0]]
        flat = (tf.reshape(field, shape) for field in reports)
        return tf.ensure_shape(values[0], y.shape), SolverReport(*flat)

    def _neighbours(self, neighbour, condition):
        """Those of the copies, stacked."""
        (outputs,) = self._steps(
            lambda layer, index, carry: (layer.call(carry[0], condition),), (neighbour.inputs,)
        )
        return Neighbour(tf.concat([neighbour.inputs[tf.newaxis], outputs[:-1]], 0), outputs)

    def invert_with_log_det(self, y, condition, seed):
        def step(layer, index, carry):
            y, total = carry
            x, log_det = layer.invert_with_log_det(y, condition, fold_in(seed, index))
            return x, total + log_det

        return self._loop(step, (y, _zeros(y)), reverse=True)

    def get_config(self):
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer, "times": self.times}

    @classmethod
    def from_config(cls, config):
        return cls(**deserialize_layers(config))


def _zeros(x: tf.Tensor) -> tf.Tensor:
    return tf.zeros_like(x[(slice(None), *[0] * (x.shape.rank - 1))])


def _reseeded(config: Any, index: int) -> Any:
    """The config with each fixed seed replaced by another one, a function of it and `index`."""
    if isinstance(config, dict):
        return {
            key: (value + 7919 * index) % 2**31
            if key == "seed" and isinstance(value, int)
            else _reseeded(value, index)
            for key, value in config.items()
            if key != "build_config"
        }
    if isinstance(config, (list, tuple)):
        return [_reseeded(item, index) for item in config]
    return config
