"""Runs of equally built layers as one loop over their stacked weights.

Unrolled, each residual block costs about a second of tracing and optimisation before the first
training step. As a loop a hundred blocks cost as much as one.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

Carry = tuple[tf.Tensor, ...]
Step = Callable[[Any, int | tf.Tensor, Carry], Carry]


class Run(NamedTuple):
    """The places `start ≤ index < stop` of neighbouring layers of equal structure."""

    start: int
    stop: int


def runs(layers: Sequence[keras.layers.Layer]) -> tuple[Run, ...]:
    """The longest runs of equal structure among built layers, in order."""
    structures = [_structure(layer) for layer in layers]
    starts = [i for i in range(len(layers)) if i == 0 or structures[i] != structures[i - 1]]
    return tuple(map(Run, starts, [*starts[1:], len(layers)]))


def _structure(layer: keras.layers.Layer) -> str:
    """What two layers must share for one to stand in for the other, given its weights."""
    variables = [(tuple(v.shape), str(v.dtype), v.trainable) for v in layer.variables]
    config = _without_names(keras.saving.serialize_keras_object(layer))
    return json.dumps([config, variables], sort_keys=True, default=str)


def _without_names(config: Any) -> Any:
    if isinstance(config, dict):
        return {
            key: _without_names(value)
            for key, value in config.items()
            if key not in ("name", "build_config", "compile_config")
            and not key.endswith("_initializer")
        }
    if isinstance(config, (list, tuple)):
        return [_without_names(item) for item in config]
    return config


def fold(
    layers: Sequence[keras.layers.Layer],
    step: Step,
    carry: Carry,
    update: bool = False,
    reverse: bool = False,
) -> Carry:
    """`carry ← step(layer, index, carry)` over all layers, from last to first if `reverse`.

    Args:
        layers: built layers.
        step: uses only the layer's variables and the tensors it closes over.
        carry: tensors whose shapes stay the same along a run of equal layers.
        update: whether `step` assigns to the layers' `state`.
        reverse: the order.
    """
    eager = tf.executing_eagerly()
    groups = [Run(i, i + 1) for i in range(len(layers))] if eager else runs(layers)
    for run in reversed(groups) if reverse else groups:
        if run.stop - run.start == 1:
            carry = step(layers[run.start], run.start, carry)
        else:
            carry = _loop(layers[run.start : run.stop], run, step, carry, update, reverse)
    return carry


def _loop(
    layers: Sequence[Any], run: Run, step: Step, carry: Carry, update: bool, reverse: bool
) -> Carry:
    template = layers[0]
    stacked = [
        tf.stack([variable.value for variable in variables])
        for variables in zip(*(layer.variables for layer in layers), strict=True)
    ]
    state = template.state if update else []

    def body(carried, element):
        index, values = element
        mapping = list(zip(template.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            new = step(template, index, carried[0])
            return new, [scope.get_current_value(variable) for variable in state]

    initial = [tf.zeros(variable.shape, variable.dtype) for variable in state]
    outputs, updated = tf.scan(body, (tf.range(*run), stacked), (carry, initial), reverse=reverse)
    for position, values in enumerate(updated):
        for layer, value in zip(layers, tf.unstack(values, len(layers)), strict=True):
            layer.state[position].assign(value)
    last = 0 if reverse else -1
    return tuple(
        tf.ensure_shape(output[last], value.shape)
        for output, value in zip(outputs, carry, strict=True)
    )
