"""What the layers of bounded spectral norm share."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers import activations
from tf_iresnet.layers.bound_function import BoundFunction, compose
from tf_iresnet.layers.contractive import deserialize_layers
from tf_iresnet.layers.power_normalized import PowerNormalized
from tf_iresnet.numerics import gram, spectral_norm
from tf_iresnet.numerics.almost_orthogonal import almost_orthogonal
from tf_iresnet.numerics.linear_map import LinearMap
from tf_iresnet.numerics.operators import Operator

NORMALIZATIONS = ("power", "gram", "aol")


class SpectralLayer(PowerNormalized):
    """What the spectral layers share: a kernel whose linear map is normalised at every call.

    A subclass inherits from a Keras layer as well, which makes `kernel` and `bias`, and gives
    `units`, `linear` and, unless its map is a matrix, `operator` and what depends on it.
    `SpectralDense` says what the rules of `normalization` are; only "power" has a state.
    """

    def __init__(
        self,
        *args: Any,
        coefficient: float | None = 0.97,
        activation: Any = None,
        power_iterations: int | None = None,
        condition_size: int | None = None,
        tolerance: float = 1e-2,
        max_power_iterations: int = 100,
        normalization: str = "power",
        **kwargs: Any,
    ) -> None:
        for name in ("lora_rank", "quantization_config"):
            if kwargs.pop(name, None) is not None:
                raise ValueError(
                    f"{type(self).__name__} doesn't support {name}: it would change the norm."
                )
        kwargs.pop("lora_alpha", None)
        super().__init__(*args, **kwargs)
        if coefficient is not None and not coefficient > 0:
            raise ValueError(
                "Expected coefficient > 0, or None for a layer without a bound. "
                f"Received: coefficient={coefficient}"
            )
        self.coefficient = math.inf if coefficient is None else coefficient
        self._expect_normalization(normalization, power_iterations)
        self.normalization = normalization
        self.nonlinearity = activations.get(activation, self.dtype_policy.name)
        self.power_iterations = power_iterations
        self.condition_size = condition_size
        self.tolerance = tolerance
        self.max_power_iterations = max_power_iterations

    def linear(self, x: tf.Tensor, kernel: tf.Tensor, shift: tf.Tensor | None = None) -> tf.Tensor:
        """The map of `x` with that kernel; `shift` is one an output, or one an example as well."""
        raise TypeError(f"{type(self).__name__} must define linear()")

    def _expect_normalization(self, normalization: str, power_iterations: int | None) -> None:
        if normalization not in NORMALIZATIONS:
            raise ValueError(
                f"Expected normalization to be one of {', '.join(NORMALIZATIONS)}. "
                f"Received: normalization={normalization!r}"
            )
        if power_iterations is not None and normalization != "power":
            raise ValueError(
                "Expected power_iterations with normalization='power' only. "
                f"Received: power_iterations={power_iterations}, normalization={normalization!r}"
            )
        if math.isinf(self.coefficient) and normalization == "aol":
            raise ValueError(
                "Expected a coefficient, which normalization='aol' scales every kernel to. "
                "Received: coefficient=None. Use 'power', which leaves the kernel as it is then."
            )

    def build(self, input_shape):
        super().build(input_shape)
        if self.condition_size is not None:
            self.condition_kernel = self.add_weight(
                name="condition_kernel",
                shape=(self.condition_size, self.units),
                initializer="glorot_uniform",
            )
        if self.normalization == "power":
            self._build_power()
        if self.nonlinearity is not None and not self.nonlinearity.built:
            self.nonlinearity.build(self._linear_output_shape(input_shape))

    @property
    def state(self):
        own = [self.vector, self.rival] if self.normalization == "power" else []
        return own + ([] if self.nonlinearity is None else self.nonlinearity.state)

    def _linear_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def compute_output_shape(self, input_shape):
        output_shape = self._linear_output_shape(input_shape)
        if self.nonlinearity is None:
            return output_shape
        return self.nonlinearity.compute_output_shape(output_shape)

    def lipschitz_bound(self):
        slope = 1.0 if self.nonlinearity is None else self.nonlinearity.lipschitz_bound()
        return self.coefficient * slope

    def normalized_kernel(self, training: bool | None = None) -> tf.Tensor:
        """`W̃`, of the kernel's shape and norm at most `coefficient`; "power": up to `tolerance`."""
        kernel = self.kernel.value
        if self.normalization == "power":
            return self._power_normalized(kernel, training)
        return self._bound_normalized(kernel, self.operator, self.slack)

    def _bound_normalized(self, kernel: tf.Tensor, operator: Operator, slack: float) -> tf.Tensor:
        """By a bound from above, which needs no state."""
        limit = self.coefficient / slack
        if self.normalization == "aol":
            return limit * tf.reshape(almost_orthogonal(self._operand(kernel)), kernel.shape)
        bound = gram.upper_bound(self._operand(kernel), operator)
        return kernel / tf.maximum(tf.ones_like(bound), bound / limit)

    def store_norm(self) -> None:
        """Stores the vector of the kernel as it is, and that it is this kernel's (eager mode).

        `training=True` alone doesn't: the optimizer's step that follows makes another kernel of it.
        """
        if self.normalization == "power":
            self.normalized_kernel(training=True)
            self.leading.assign(self.vector.value)
            self.sketch.assign(self._sketch())

    def linear_map(self, kernel: tf.Tensor) -> LinearMap:
        """The map with that kernel, in float64."""
        return LinearMap(np.asarray(kernel, np.float64))

    def norm_bound(self, kernel: tf.Tensor) -> float:
        """A number that is certainly ≥ the norm of the map with that kernel, in float64 (eager)."""
        return self.linear_map(kernel).norm_bound()

    def norm_estimate(self, kernel: tf.Tensor) -> float:
        """The norm of the map with that kernel as a pass from a vector shows it: from below.

        The vector is the stored one, or what a search finds if the layer has none. Eager mode.
        """
        kernel = tf.cast(kernel, tf.float64)
        stored = self.normalization == "power"
        vector = tf.cast(self.vector.value if stored else self._found_vector(kernel), tf.float64)
        operand = self._operand(kernel)
        image = self.operator.apply(operand, self.operator.stack(vector))
        back = self.operator.adjoint(operand, image)
        return float(tf.math.divide_no_nan(tf.norm(back), tf.norm(image)))

    def dense_entries(self) -> int:
        """Entries of the dense matrix that `singular_values` decomposes."""
        inputs = self.operator.inputs(self._operand(self.kernel).shape)
        return inputs * math.prod(self._vector_shape())

    def singular_values(self, kernel: tf.Tensor) -> np.ndarray:
        """All singular values of the map with that kernel, from the largest: by a dense SVD."""
        shape = self._vector_shape()
        return spectral_norm.singular_values(self._operand(kernel), self.operator, shape)

    def bind(self, condition=None, training=None):
        return self._bound(self.normalized_kernel(training), condition, training)

    def _bound(self, kernel, condition, training, linear=None):
        """`bind` with a kernel and a map that may be others than the layer's."""
        parameters = [kernel]
        shift = self.bias.value if self.use_bias else None
        if self.condition_size is not None:
            shift = self._conditional_shift(shift, condition)
        if shift is not None:
            parameters.append(shift)
        linear = BoundFunction.of(linear or self.linear, tuple(parameters), self.kind)
        if self.nonlinearity is None:
            return linear
        return compose([linear, self.nonlinearity.bind(condition, training)])

    def _conditional_shift(self, bias, condition):
        if condition is None:
            raise ValueError(
                f"Expected a condition of shape [batch, {self.condition_size}], which "
                f"{self.name!r} was built for. Received: condition=None"
            )
        condition = tf.cast(condition, self.condition_kernel.value.dtype)
        shift = tf.matmul(condition, self.condition_kernel.value)
        return shift if bias is None else shift + bias

    # The Keras layers have their own, which know of a kernel and bias only.
    save_own_variables = keras.layers.Layer.save_own_variables
    load_own_variables = keras.layers.Layer.load_own_variables

    def get_config(self):
        config = super().get_config()
        for name in ("lora_rank", "lora_alpha", "quantization_config"):
            config.pop(name, None)
        nonlinearity = self.nonlinearity and keras.saving.serialize_keras_object(self.nonlinearity)
        return {
            **config,
            "coefficient": None if math.isinf(self.coefficient) else self.coefficient,
            "activation": nonlinearity,
            "power_iterations": self.power_iterations,
            "condition_size": self.condition_size,
            "tolerance": self.tolerance,
            "max_power_iterations": self.max_power_iterations,
            "normalization": self.normalization,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**deserialize_layers(config))

    def enable_lora(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError(f"{type(self).__name__} doesn't support LoRA: it would change the norm.")


def shifted(y: tf.Tensor, shift: tf.Tensor | None) -> tf.Tensor:
    """`y + shift`, the shift `[units]`, or `[batch, units]`: the same at every position.

    There may be several copies of the batch in `y`, one after another; each gets the shift.
    """
    if shift is None or shift.shape.rank < 2:
        return y if shift is None else y + shift
    middle = tf.shape(y)[1:-1]
    batch = tf.concat([tf.shape(shift)[:1], tf.ones_like(middle), [shift.shape[1]]], 0)
    copies = tf.reshape(y, tf.concat([[-1], tf.shape(shift)[:1], tf.shape(y)[1:]], 0))
    return tf.ensure_shape(tf.reshape(copies + tf.reshape(shift, batch), tf.shape(y)), y.shape)
