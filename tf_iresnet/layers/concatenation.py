"""Weighted concatenation of a contractive layer with its input (i-DenseNet)."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers import activations
from tf_iresnet.layers.bound_function import BoundFunction
from tf_iresnet.layers.contractive import (
    ContractiveLayer,
    ContractiveSequential,
    deserialize_layers,
    register,
)
from tf_iresnet.layers.invertible import inherit_dtype


@register
class LipschitzConcat(ContractiveLayer):
    """`x ↦ [η₁x, η₂h(x)]` along the last axis: a dense block that keeps its Lipschitz bound.

    Source: Perugachi-Diaz et al., Invertible DenseNets with Concatenated LipSwish,
    arXiv 2102.02694. For every `x`, `x'`

        ‖f(x) − f(x')‖² = η₁²‖x − x'‖² + η₂²‖h(x) − h(x')‖² ≤ (η₁² + η₂² Lip(h)²)‖x − x'‖²,

    and the weights are kept on the circle `‖η‖ = coefficient` by `η = coefficient·η̂/‖η̂‖` with
    `η̂ = softplus(logits) + 0.1`, so `Lip(f) ≤ coefficient·max(1, Lip(h))` wherever training
    takes them. They start out equal.

    Two or three of these, the features growing each time, and a layer that brings them back to the
    size of the input make a branch. To learn the weights from some epoch on only, as the paper
    does, set `layer.logits.trainable` to False before `compile`, then to True and compile again.

    Args:
        layer: `h`: a `ContractiveLayer`, a list or a `keras.Sequential` of such. It may change the
            last axis only.
        coefficient: norm of the weights, above 0.
        learned: whether the weights are; otherwise they are equal constants, and the bound is
            `coefficient·√((1 + Lip(h)²)/2)`.

    Input shape: `[batch, …, features]`. Output shape: `[batch, …, features + features of h]`.

    Raises:
        ValueError: for a coefficient ≤ 0, a layer that isn't contractive, one that changes another
            axis than the last.

    Example:

        def grow():
            return tf_iresnet.layers.LipschitzConcat(
                tf_iresnet.layers.SpectralDense(32, 0.98, activation="clipswish")
            )

        block = tf_iresnet.layers.ResidualBlock([
            grow(), grow(), tf_iresnet.layers.SpectralDense(2, 0.98),
        ])
    """

    def __init__(
        self,
        layer: ContractiveLayer | keras.Sequential | Sequence[keras.layers.Layer],
        coefficient: float = 0.98,
        learned: bool = True,
        **kwargs: Any,
    ) -> None:
        layers = layer if isinstance(layer, (list, tuple)) else [layer]
        super().__init__(**inherit_dtype(kwargs, layers))
        if not coefficient > 0:
            raise ValueError(f"Expected coefficient > 0. Received: coefficient={coefficient}")
        several = isinstance(layer, (list, tuple))
        self.layer = ContractiveSequential(layer) if several else activations.as_contractive(layer)
        self.coefficient = coefficient
        self.learned = learned

    @property
    def condition_size(self) -> int | None:  # type: ignore[override]
        return self.layer.condition_size

    @property
    def state(self):
        return self.layer.state

    def build(self, input_shape):
        if not self.layer.built:
            self.layer.build(input_shape)
        output_shape = tuple(self.layer.compute_output_shape(input_shape))
        if output_shape[1:-1] != tuple(input_shape)[1:-1]:
            raise ValueError(
                "Expected a layer that changes the last axis only, or its output doesn't fit "
                f"beside the input. Received: {tuple(input_shape)[1:]} → {output_shape[1:]}"
            )
        if self.learned:
            # The published initial value; only the ratio of the two acts.
            self.logits = self.add_weight(name="logits", shape=(2,), initializer="ones")

    def compute_output_shape(self, input_shape):
        features = self.layer.compute_output_shape(input_shape)[-1]
        return (*input_shape[:-1], input_shape[-1] + features)

    def eta(self) -> tf.Tensor:
        """The weights `η` of the input and of `h`, `[2]`, of norm `coefficient`."""
        if not self.learned:
            return tf.fill([2], tf.constant(self.coefficient / math.sqrt(2), self.variable_dtype))
        positive = tf.math.softplus(self.logits.value) + 0.1
        return self.coefficient * positive / tf.norm(positive)

    def lipschitz_bound(self):
        bound = self.layer.lipschitz_bound()
        if self.learned:
            return self.coefficient * max(1.0, bound)
        return self.coefficient * math.sqrt((1 + bound**2) / 2)

    def bound_given(self, lipschitz: float) -> float:
        """`√(η₁² + η₂²·lipschitz²)`: the bound at the weights as they are (eager mode).

        Args:
            lipschitz: a bound on the Lipschitz constant of `layer`.
        """
        of_input, of_layer = np.asarray(self.eta(), np.float64)
        return math.hypot(of_input, of_layer * lipschitz)

    def bind(self, condition=None, training=None):
        inner = self.layer.bind(condition, training)

        def concatenated(x: tf.Tensor, eta: tf.Tensor, *parameters: tf.Tensor) -> tf.Tensor:
            eta = tf.cast(eta, x.dtype)
            return tf.concat([eta[0] * x, eta[1] * inner.function(x, *parameters)], axis=-1)

        return BoundFunction(concatenated, (self.eta(), *inner.parameters))

    def get_config(self):
        return {
            **super().get_config(),
            "layer": keras.saving.serialize_keras_object(self.layer),
            "coefficient": self.coefficient,
            "learned": self.learned,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**deserialize_layers(config))
