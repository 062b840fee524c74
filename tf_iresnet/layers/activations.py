"""Non-expansive activations: Lipschitz constant at most 1 in Euclidean norm."""

import math
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.bound_function import BoundFunction, Kind
from tf_iresnet.layers.contractive import (
    ContractiveLayer,
    ContractiveSequential,
    register,
)

# Largest slope of the Keras activations that are non-expansive (ELU at its α = 1; not CELU, whose
# gradient at 0 comes out as 2).
NON_EXPANSIVE = {
    "linear": 1.0,
    "relu": 1.0,
    "relu6": 1.0,
    "leaky_relu": 1.0,
    "elu": 1.0,
    "tanh": 1.0,
    "hard_tanh": 1.0,
    "softplus": 1.0,
    "softsign": 1.0,
    "log_sigmoid": 1.0,
    "soft_shrink": 1.0,
    "tanh_shrink": 1.0,
    "sigmoid": 0.25,
    "hard_sigmoid": 1.0 / 6.0,
}
EXPANSIVE = {"gelu": 1.13, "silu": 1.10, "swish": 1.10, "mish": 1.09, "selu": 1.76}


class Activation(ContractiveLayer):
    """An activation without a state: subclasses give `apply(x, *weights)` and its bound."""

    def lipschitz_bound(self):
        return 1.0

    def bind(self, condition=None, training=None):
        return BoundFunction.of(self.apply, tuple(w.value for w in self.weights), self.kind)

    def apply(self, x: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
        raise TypeError(f"{type(self).__name__} must define apply()")

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)


@register
class NonExpansive(Activation):
    """A Keras activation by name, if its largest slope is at most 1.

    Args:
        function: "relu", "elu", "tanh", "softplus", "sigmoid", …

    Raises:
        ValueError: for one that is expansive or unknown.
    """

    kind = Kind.POINTWISE

    def __init__(self, function: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if function not in NON_EXPANSIVE:
            slope = f" has slope up to {EXPANSIVE[function]}" if function in EXPANSIVE else ""
            raise ValueError(
                f"Expected a non-expansive activation: one of {sorted(NON_EXPANSIVE)} or "
                f"{sorted(LAYERS)}. Received: activation={function!r}, "
                f"which{slope or ' is unknown'}. Use 'lipswish' for a smooth one."
            )
        self.function = function

    def lipschitz_bound(self):
        return NON_EXPANSIVE[self.function]

    def apply(self, x):
        return keras.activations.get(self.function)(x)

    def get_config(self):
        return {**super().get_config(), "function": self.function}


@register
class LipSwish(Activation):
    """`x·σ(softplus(β) x) / 1.1` with a learned β (Residual Flows, arXiv 1906.02735, section 3.3).

    Swish with any positive slope has derivative at most 1.0998. β starts at 0.5.
    """

    kind = Kind.POINTWISE

    def build(self, input_shape):
        self.beta = self.add_weight(
            name="beta", shape=(), initializer=keras.initializers.Constant(0.5)
        )

    def apply(self, x, beta):
        return x * tf.sigmoid(tf.math.softplus(beta) * x) / 1.1


@register
class CLipSwish(LipSwish):
    """`LipSwish([x, −x]) / 1.004`: twice the features (i-DenseNet, arXiv 2010.02125)."""

    kind = Kind.POINTWISE

    def apply(self, x, beta):
        return super().apply(tf.concat([x, -x], -1), beta) / 1.004

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])


@register
class CPila(Activation):
    """`Pila([x − 0.2, −x − 0.2]) / 1.06`: twice the features (Monotone Flows, arXiv 2210.08176).

    `Pila(x) = x` for `x > 0`, else `(k²x³/2 − kx² + x)·exp(kx)`, at `k = 5`: two derivatives are
    continuous. The largest slope of the pair of shifted halves is 1.0589.
    """

    kind = Kind.POINTWISE

    def apply(self, x):
        x = tf.concat([x - 0.2, -x - 0.2], -1)
        t = 5.0 * tf.minimum(x, 0.0)  # the minimum keeps exp, and its gradient, finite
        return tf.where(x > 0, x, (t * t / 2 - t + 1) * tf.exp(t) * x) / 1.06

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])


@register
class MaxMin(Activation):
    """Sorts features in pairs: gradient-norm preserving (Anil et al. 2019, arXiv 1811.05381)."""

    def build(self, input_shape):
        if input_shape[-1] % 2:
            raise ValueError(
                f"Expected an even number of features to sort in pairs. Received: {input_shape[-1]}"
            )

    def apply(self, x):
        first, second = tf.split(x, 2, axis=-1)
        return tf.concat([tf.maximum(first, second), tf.minimum(first, second)], -1)


@register
class FullSort(Activation):
    """Sorts all features: gradient-norm preserving (Anil et al. 2019, arXiv 1811.05381)."""

    def apply(self, x):
        # The gradient of tf.sort goes through top_k, whose second derivative exists as a gather.
        return tf.sort(x, axis=-1)


@register
class Sine(Activation):
    """`sin(2πx) / 2π`: smooth, slope 1 at 0, second derivative that doesn't vanish at infinity."""

    kind = Kind.POINTWISE

    def apply(self, x):
        return tf.sin(2 * math.pi * x) / (2 * math.pi)


LAYERS: dict[str, type[Activation]] = {
    "lipswish": LipSwish,
    "clipswish": CLipSwish,
    "cpila": CPila,
    "maxmin": MaxMin,
    "fullsort": FullSort,
    "sine": Sine,
}


def get(identifier: Any, dtype: Any = None) -> ContractiveLayer | None:
    """The activation for a layer, a name, a Keras function or None; `dtype` is of one made here."""
    if identifier is None or isinstance(identifier, ContractiveLayer):
        return identifier
    if isinstance(identifier, keras.layers.Layer):
        return as_contractive(identifier)
    if callable(identifier):
        identifier = getattr(identifier, "__name__", str(identifier))
    if identifier in LAYERS:
        return LAYERS[identifier](dtype=dtype)
    return NonExpansive(identifier, dtype=dtype)


def as_contractive(layer: keras.layers.Layer) -> ContractiveLayer:
    """The layer itself if contractive, its equivalent for a known Keras layer, or an error."""
    if isinstance(layer, ContractiveLayer):
        return layer
    if isinstance(layer, keras.Sequential):
        return ContractiveSequential(layer.layers)
    if isinstance(layer, keras.layers.Activation):
        return NonExpansive(getattr(layer.activation, "__name__", str(layer.activation)))
    if isinstance(layer, keras.layers.ReLU) and not layer.threshold and layer.negative_slope <= 1:
        return NonExpansive("relu") if not layer.negative_slope else _refuse(layer)
    if isinstance(layer, keras.layers.ELU) and layer.alpha == 1:
        return NonExpansive("elu")
    return _refuse(layer)


INSTEAD = {
    "Dense": "its norm isn't bounded; use tf_iresnet.layers.SpectralDense",
    "BatchNormalization": "it divides by a variance that may be small; use "
    "tf_iresnet.layers.ActNorm outside the branch",
}
RANDOM = "it is a new function at every call, and no single map to invert; use weight decay"


def _refuse(layer: keras.layers.Layer) -> ContractiveLayer:
    name = type(layer).__name__
    unknown = "its Lipschitz constant isn't known; use a layer of tf_iresnet.layers"
    random = name.endswith(("Dropout", "Noise")) or name.startswith("SpatialDropout")
    reason = RANDOM if random else INSTEAD.get(name, unknown)
    raise ValueError(
        "Expected every layer of a branch to be a ContractiveLayer or a known non-expansive "
        f"activation. Received: {name} {layer.name!r}: {reason}."
    )
