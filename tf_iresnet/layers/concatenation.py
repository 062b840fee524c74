"""Weighted concatenation of a contractive layer with its input (i-DenseNet)."""

import dataclasses
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers.branch import as_contractive
from tf_iresnet.layers.contractive import Branch, CertifiedPart, ContractiveLayer, proven_bound
from tf_iresnet.layers.serialization import build_once, inherit_dtype, register
from tf_iresnet.numerics.bound_function import BoundFunction
from tf_iresnet.numerics.structures import at_least_float32


@dataclasses.dataclass(frozen=True, eq=False)
class Concatenation(BoundFunction):
    """`x ↦ [η₁x, η₂h(x)]` along the last axis, `eta = (η₁, η₂)`."""

    tensors = ("eta", "inner")
    eta: tf.Tensor
    inner: BoundFunction

    def __call__(self, x):
        eta = tf.cast(self.eta, x.dtype)
        return tf.concat([eta[0] * x, eta[1] * self.inner(x)], axis=-1)

    def differentiate(self, x, copies):
        eta = tf.cast(self.eta, x.dtype)
        outputs, product, _ = self.inner.linearize(x, copies)

        def pullback(w: tf.Tensor) -> tf.Tensor:
            of_input, of_inner = tf.split(w, [x.shape[-1], outputs.shape[-1]], axis=-1)
            return eta[0] * of_input + product(eta[1] * of_inner)

        return tf.concat([eta[0] * x, eta[1] * outputs], axis=-1), pullback


@register
class LipschitzConcat(ContractiveLayer):
    """`x ↦ [η₁x, η₂h(x)]` along the last axis: a dense block that keeps its Lipschitz bound.

    For every `x`, `x'` (Perugachi-Diaz et al., Invertible DenseNets with Concatenated LipSwish,
    arXiv 2102.02694)

        ‖f(x) − f(x')‖² = η₁²‖x − x'‖² + η₂²‖h(x) − h(x')‖² ≤ (η₁² + η₂² Lip(h)²)‖x − x'‖²,

    and `η = coefficient·η̂/‖η̂‖` with `η̂ = softplus(logits) + 0.1`, at first equal. So
    `Lip(f) ≤ coefficient·max(1, Lip(h))` wherever training takes the weights.

    Two or three of these, the features growing each time, and a layer that brings them back to the
    size of the input make a branch. To learn the weights from some epoch on only, as the paper
    does, set `layer.logits.trainable` to False before `compile`, then to True and compile again.

    Args:
        layer: `h`: a `ContractiveLayer`, a list or a `keras.Sequential` of such. It may change the
            last axis only.
        coefficient: norm of the weights, above 0.
        learned: False keeps the weights equal: the bound is `coefficient·√((1 + Lip(h)²)/2)`.

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
        self, layer: Branch, coefficient: float = 0.98, learned: bool = True, **kwargs: Any
    ) -> None:
        layer = as_contractive(layer)
        super().__init__(**inherit_dtype(kwargs, [layer]))
        if not coefficient > 0:
            raise ValueError(f"Expected coefficient > 0. Received: coefficient={coefficient}")
        self.layer = layer
        self.coefficient = coefficient
        self.learned = learned

    def build(self, input_shape):
        before, after = tuple(input_shape)[1:], build_once(self.layer, input_shape)[1:]
        if after[:-1] != before[:-1]:
            raise ValueError(
                "Expected a layer that changes the last axis only, or its output doesn't fit "
                f"beside the input. Received: {before} → {after}"
            )
        if self.learned:
            # The published initial value; only the ratio of the two acts.
            self.logits = self.add_weight(name="logits", shape=(2,), initializer="ones")

    def compute_output_shape(self, input_shape):
        features = self.layer.compute_output_shape(input_shape)[-1]
        return (*input_shape[:-1], input_shape[-1] + features)

    def eta(self) -> tf.Tensor:
        """The weights `η` of the input and of `h`, `[*stack, 2]`, of norm `coefficient`."""
        if not self.learned:
            equal = self.coefficient / math.sqrt(2)
            return tf.constant(equal, self.working_dtype, [*self.stack, 2])
        positive = tf.math.softplus(at_least_float32(self.logits.value)) + 0.1
        return self.coefficient * positive / tf.norm(positive, axis=-1, keepdims=True)

    def lipschitz_bound(self):
        bound = self.layer.lipschitz_bound()
        if self.learned:
            return self.coefficient * max(1.0, bound)
        return self.coefficient * math.sqrt((1 + bound**2) / 2)

    def bind(self, condition=None, training=None):
        return Concatenation(self.eta(), self.layer.bind(condition, training))

    def fold(self, x, folding):
        of_input, of_inner = map(float, folding.value(self.eta()))
        parts = [
            folding.affine(self, x, of_input),
            folding.affine(self, self.layer.fold(x, folding), of_inner),
        ]
        return folding.apply(keras.layers.Concatenate(**folding.options(self)), parts)

    def certified_parts(self, bound, path):
        inner = list(self.layer.certified_parts(bound.inner, path))
        of_input, of_inner = np.asarray(bound.eta, np.float64)
        lipschitz = math.hypot(of_input, of_inner * proven_bound(inner))
        yield CertifiedPart(path, lipschitz, inner=tuple(inner))
