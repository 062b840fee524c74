"""Non-expansive activations: Lipschitz constant at most 1 in the Euclidean norm."""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tf_iresnet.layers.contractive import ContractiveLayer
from tf_iresnet.layers.folding import Folding
from tf_iresnet.layers.serialization import register
from tf_iresnet.numerics.bound_function import BoundFunction
from tf_iresnet.numerics.structures import at_least_float32

# Smallest and largest slope of the Keras activations that are non-expansive (ELU at its α = 1; not
# CELU, whose gradient at 0 comes out as 2).
UNIT_SLOPES = (
    "relu", "relu6", "elu", "tanh", "hard_tanh", "softplus", "softsign", "log_sigmoid",
    "soft_shrink", "tanh_shrink",
)  # fmt: skip
SLOPES = dict.fromkeys(UNIT_SLOPES, (0.0, 1.0)) | {
    "linear": (1.0, 1.0),
    "leaky_relu": (0.2, 1.0),
    "sigmoid": (0.0, 0.25),
    "hard_sigmoid": (0.0, 1.0 / 6.0),
}
EXPANSIVE = {"gelu": 1.13, "silu": 1.10, "swish": 1.10, "mish": 1.09, "selu": 1.76}


class Activation(ContractiveLayer):
    """An activation; a subclass defines `bind`.

    Attributes:
        slope_range: smallest and largest slope of a function of each feature by itself; None for
            other functions.
    """

    slope_range: tuple[float, float] | None = None

    def lipschitz_bound(self):
        return 1.0 if self.slope_range is None else max(map(abs, self.slope_range))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def plain(self, x: Any, folding: Folding) -> Any:
        """The outputs for the symbolic tensor `x`, by `keras.ops`."""
        return super().fold(x, folding)

    def fold(self, x, folding):
        return folding.operations(self, functools.partial(self.plain, folding=folding), x)


@register
class NonExpansive(Activation):
    """A Keras activation by name, if its largest slope is at most 1.

    Args:
        function: "relu", "elu", "tanh", "softplus", "sigmoid", …

    Raises:
        ValueError: for one that is expansive or unknown.
    """

    def __init__(self, function: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if function not in SLOPES:
            known = function in EXPANSIVE
            slope = f"has slope up to {EXPANSIVE[function]}" if known else "is unknown"
            raise ValueError(
                f"Expected a non-expansive activation: one of {sorted(SLOPES)} or {sorted(LAYERS)}."
                f" Received: activation={function!r}, which {slope}. Use 'lipswish' for a smooth "
                "one."
            )
        self.function = function
        self.slope_range = SLOPES[function]

    def bind(self, condition=None, training=None):
        known = WITH_SLOPE.get(self.function)
        function = keras.activations.get(self.function) if known is None else _value_of(known)
        return BoundFunction.pointwise(function, value_and_slope=known)

    def fold(self, x, folding):
        return folding.apply(keras.layers.Activation(self.function, **folding.options(self)), x)


@register
class LipSwish(Activation):
    """`x·σ(softplus(β) x) / 1.1` with a learned β (Residual Flows, arXiv 1906.02735, section 3.3).

    Swish with any positive slope has derivatives between −0.0999 and 1.0999. β starts at 0.5.
    """

    slope_range: tuple[float, float] | None = (-0.0999 / 1.1, 1.0999 / 1.1)

    def build(self, input_shape):
        self.beta = self.add_weight((), keras.initializers.Constant(0.5), name="beta")

    def bind(self, condition=None, training=None):
        rate = tf.math.softplus(at_least_float32(self.beta.value))
        return BoundFunction.pointwise(_value_of(lipswish), rate, value_and_slope=lipswish)

    def plain(self, x, folding):
        rate = folding.value(tf.math.softplus(self.beta.value))
        return x * ops.sigmoid(float(rate) * x) * (1 / 1.1)


@register
class CLipSwish(LipSwish):
    """`LipSwish([x, −x]) / 1.004`: twice the features (i-DenseNet, arXiv 2010.02125)."""

    slope_range = None

    def bind(self, condition=None, training=None):
        rate = tf.math.softplus(at_least_float32(self.beta.value))
        return BoundFunction.pointwise(_value_of(clipswish), rate, value_and_slope=clipswish)

    def plain(self, x, folding):
        return super().plain(ops.concatenate([x, -x], axis=-1), folding) * (1 / 1.004)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])


@register
class CPila(Activation):
    """`Pila([x − 0.2, −x − 0.2]) / 1.06`: twice the features (Monotone Flows, arXiv 2210.08176).

    `Pila(x) = x` for `x > 0`, else `(k²x³/2 − kx² + x)·exp(kx)`, at `k = 5`: two derivatives are
    continuous. The largest slope of the pair of shifted halves is 1.0589.
    """

    def bind(self, condition=None, training=None):
        return BoundFunction.pointwise(_value_of(cpila), value_and_slope=cpila)

    def plain(self, x, folding):
        x = ops.concatenate([x - 0.2, -x - 0.2], axis=-1)
        t = 5.0 * ops.minimum(x, 0.0)
        return ops.where(x > 0, x, (t * t / 2 - t + 1) * ops.exp(t) * x) * (1 / 1.06)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])


@register
class MaxMin(Activation):
    """Sorts features in pairs: gradient-norm preserving (Anil et al. 2019, arXiv 1811.05381)."""

    def build(self, input_shape):
        if input_shape[-1] % 2:
            expected = "an even number of features to sort in pairs"
            raise ValueError(f"Expected {expected}. Received: {input_shape[-1]}")

    def bind(self, condition=None, training=None):
        return BoundFunction.of(_maxmin)

    def plain(self, x, folding):
        first, second = ops.split(x, 2, axis=-1)
        pairs = [ops.maximum(first, second), ops.minimum(first, second)]
        return ops.concatenate(pairs, axis=-1)


@register
class FullSort(Activation):
    """Sorts all features: gradient-norm preserving (Anil et al. 2019, arXiv 1811.05381)."""

    def bind(self, condition=None, training=None):
        # The gradient of tf.sort goes through top_k, whose second derivative exists as a gather.
        return BoundFunction.of(tf.sort)

    def plain(self, x, folding):
        return ops.sort(x, axis=-1)


@register
class Sine(Activation):
    """`sin(2πx) / 2π`: smooth, slope 1 at 0, second derivative that doesn't vanish at infinity."""

    slope_range = (-1.0, 1.0)

    def bind(self, condition=None, training=None):
        return BoundFunction.pointwise(_sine, value_and_slope=sine)

    def plain(self, x, folding):
        return ops.sin(2 * math.pi * x) * (1 / (2 * math.pi))


@functools.cache
def _value_of(value_and_slope: Callable[..., tuple[tf.Tensor, tf.Tensor]]) -> Callable:
    """The function that returns the value alone."""
    return lambda *arguments: value_and_slope(*arguments)[0]


def lipswish(x: tf.Tensor, rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`x·σ(rate·x) / 1.1` and its slope."""
    scaled = rate * x
    gate = tf.sigmoid(scaled)
    bump = tf.raw_ops.SigmoidGrad(y=gate, dy=scaled)  # scaled·gate·(1 − gate) in one operation
    return x * gate * (1 / 1.1), (gate + bump) * (1 / 1.1)


def clipswish(x: tf.Tensor, rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`LipSwish([x, −x]) / 1.004` and the slope of each entry in x."""
    value, slope = lipswish(tf.concat([x, -x], -1), rate)
    return value * (1 / 1.004), _of_opposites(slope) * (1 / 1.004)


def cpila(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`Pila([x − 0.2, −x − 0.2]) / 1.06` and the slope of each entry in x."""
    x = tf.concat([x - 0.2, -x - 0.2], -1)
    t = 5.0 * tf.minimum(x, 0.0)  # the minimum keeps exp, and its gradient, finite
    decay = tf.exp(t) * (1 / 1.06)
    value = tf.where(x > 0, x * (1 / 1.06), (t * t / 2 - t + 1) * decay * x)
    return value, _of_opposites((1 - t + t * t * (1 + t) / 2) * decay)


def _of_opposites(slope: tf.Tensor) -> tf.Tensor:
    """The slopes in x of a function of `[x, −x]`, given those in its own argument."""
    first, second = tf.split(slope, 2, axis=-1)
    return tf.concat([first, -second], -1)


def _maxmin(x: tf.Tensor) -> tf.Tensor:
    first, second = tf.split(x, 2, axis=-1)
    return tf.concat([tf.maximum(first, second), tf.minimum(first, second)], -1)


@tf.custom_gradient
def sine(x: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
    """`sin(2πx) / 2π` and its slope, which give their own derivatives."""
    value, slope = tf.sin(2 * math.pi * x) / (2 * math.pi), tf.cos(2 * math.pi * x)

    def gradient(of_value: tf.Tensor, of_slope: tf.Tensor) -> tf.Tensor:
        return of_value * slope - of_slope * value * (4 * math.pi**2)

    return (value, slope), gradient


def _sine(x: tf.Tensor) -> tf.Tensor:
    return tf.sin(2 * math.pi * x) / (2 * math.pi)


def _elu(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    value = tf.nn.elu(x)
    return value, tf.minimum(value, 0.0) + 1


def _tanh(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    value = tf.tanh(x)
    return value, 1 - tf.square(value)


def _softsign(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    scale = 1 / (1 + tf.abs(x))
    return x * scale, tf.square(scale)


# Of the Keras activations that are used most, and of softsign, which TensorFlow differentiates only
# once; others are differentiated automatically.
WITH_SLOPE = {
    "elu": _elu,
    "softplus": lambda x: (tf.math.softplus(x), tf.sigmoid(x)),
    "softsign": _softsign,
    "tanh": _tanh,
}

LAYERS: dict[str, type[Activation]] = {
    "lipswish": LipSwish,
    "clipswish": CLipSwish,
    "cpila": CPila,
    "maxmin": MaxMin,
    "fullsort": FullSort,
    "sine": Sine,
}


def get(identifier: Any, dtype: Any = None) -> ContractiveLayer | None:
    """The activation for a layer, a name, a function or None; `dtype` is of one made here.

    A function must be one of `keras.activations`, `keras.ops`, `tf.nn` or `tf.math` itself, a Keras
    layer no subclass: the name of another one says nothing about its slopes.

    Raises:
        ValueError: for one that isn't known to be non-expansive.
    """
    if identifier is None or isinstance(identifier, ContractiveLayer):
        return identifier
    name = identifier if isinstance(identifier, str) else _keras_name(identifier)
    if name is None:
        raise ValueError(
            "Expected the name of an activation, a function of keras.activations or tf.nn, or a "
            f"layer of tf_iresnet. Received: activation={identifier!r}, whose slopes aren't known. "
            "Make it a tf_iresnet.layers.ContractiveLayer that states its lipschitz_bound."
        )
    dtype = getattr(identifier, "dtype_policy", dtype)
    return LAYERS[name](dtype=dtype) if name in LAYERS else NonExpansive(name, dtype=dtype)


def _keras_name(identifier: Any) -> str | None:
    """The name of the function that a function or an activation layer is: identity decides."""
    if type(identifier) is keras.layers.Activation:
        identifier = identifier.activation
    if type(identifier) is keras.layers.ReLU:
        plain = not identifier.threshold and not identifier.negative_slope
        return {None: "relu", 6: "relu6"}.get(identifier.max_value) if plain else None
    if type(identifier) is keras.layers.ELU:
        return "elu" if identifier.alpha == 1 else None
    for name in (*SLOPES, *EXPANSIVE):
        homes = (keras.activations, keras.ops, tf.nn, tf.math)
        if any(getattr(home, name, None) is identifier for home in homes):
            return name
    return None
