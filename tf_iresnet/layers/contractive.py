"""Layers with a known Lipschitz bound, and their composition."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.bound_function import BoundFunction, Kind, compose

register = keras.saving.register_keras_serializable(package="tf_iresnet")


class ContractiveLayer(keras.layers.Layer):
    """A layer that knows a bound on its Lipschitz constant (Euclidean norms, in the input).

    A subclass gives `lipschitz_bound` and `bind`. Nothing else is needed: a branch normalises its
    kernels once by `bind`, then evaluates the function it gets as often as a solver asks.
    """

    condition_size: int | None = None
    kind: Kind | None = None  # of the function `apply` or `linear`, in layers that have one

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # What is known of a function isn't known of one that overrides it.
        if {"apply", "linear"} & vars(cls).keys() and "kind" not in vars(cls):
            cls.kind = None

    @property
    def state(self) -> list[keras.Variable]:
        """Variables that are assigned to under `training=True`."""
        return self.non_trainable_variables

    def lipschitz_bound(self) -> float:
        """Upper bound on the Lipschitz constant in the input, for every condition."""
        raise TypeError(f"{type(self).__name__} must define lipschitz_bound()")

    def bind(
        self, condition: tf.Tensor | None = None, training: bool | None = None
    ) -> BoundFunction:
        """The layer as a pure function of `x`; what `call` computes.

        Args:
            condition: `[batch, condition_size]`, or None.
            training: whether state that follows the weights is stored. The function doesn't
                depend on it.
        """
        raise TypeError(f"{type(self).__name__} must define bind()")

    def call(self, inputs, condition=None, training=None):
        return self.bind(condition, training)(inputs)


@register
class ContractiveSequential(ContractiveLayer):
    """Composition of contractive layers, each of which receives the condition.

    Args:
        layers: `ContractiveLayer`s, or Keras layers known to be non-expansive (`Activation` with a
            name that `tf_iresnet.layers.activations.get` knows, `ReLU`, `ELU`, `Flatten`, …).

    Raises:
        ValueError: for a layer whose Lipschitz constant isn't known, with the layer to use instead.

    Example:

        tf_iresnet.layers.ContractiveSequential([
            tf_iresnet.layers.SpectralDense(64, activation="lipswish"),
            tf_iresnet.layers.SpectralDense(2),
        ])
    """

    def __init__(self, layers: Sequence[keras.layers.Layer], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        from tf_iresnet.layers import activations

        self.layers = [activations.as_contractive(layer) for layer in layers]

    @property
    def condition_size(self) -> int | None:  # type: ignore[override]
        sizes = {s for layer in self.layers if (s := layer.condition_size) is not None}
        if len(sizes) > 1:
            raise ValueError(f"Expected one condition_size in a branch. Received: {sorted(sizes)}")
        return sizes.pop() if sizes else None

    @property
    def state(self):
        return [variable for layer in self.layers for variable in layer.state]

    def build(self, input_shape):
        for layer in self.layers:
            if not layer.built:
                layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def lipschitz_bound(self):
        return math.prod(layer.lipschitz_bound() for layer in self.layers)

    def bind(self, condition=None, training=None):
        bound = [layer.bind(condition, training) for layer in self.layers]
        return compose(bound)

    def get_config(self):
        return {
            **super().get_config(),
            "layers": [keras.saving.serialize_keras_object(layer) for layer in self.layers],
        }

    @classmethod
    def from_config(cls, config):
        return cls(**deserialize_layers(config))


def deserialize_layers(config: dict[str, Any]) -> dict[str, Any]:
    """The config with its list "layers" (or single "layer", "branch") turned into objects."""
    config = dict(config)
    for key in {"layers", "layer", "branch", "activation"} & set(config):
        value = config[key]
        if isinstance(value, list):
            config[key] = [keras.saving.deserialize_keras_object(item) for item in value]
        elif isinstance(value, dict):
            config[key] = keras.saving.deserialize_keras_object(value)
    return config
