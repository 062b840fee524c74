"""What the layers of bounded spectral norm share."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers import activations
from tf_iresnet.layers.contractive import (
    BoundFunction,
    ContractiveLayer,
    compose,
    deserialize_layers,
)
from tf_iresnet.numerics import spectral_norm
from tf_iresnet.numerics.operators import MATRIX, Operator


class SpectralLayer(ContractiveLayer):
    """What the spectral layers share: a kernel whose linear map is normalised at every call.

    A subclass inherits from a Keras layer as well, which makes `kernel` and `bias`, and gives
    `units`, `linear` and, unless its map is a matrix, `operator` and what depends on it. It keeps
    `vector`, where training's power iteration got to, and what `store_norm` found: `leading`, the
    vector of a kernel, and `sketch`, which tells that kernel from others.
    """

    operator: Operator = MATRIX
    slack = 1.0  # what the norm may exceed that of `operator` by
    units: int

    def __init__(
        self,
        *args: Any,
        coefficient: float | None = 0.97,
        activation: Any = None,
        power_iterations: int | None = None,
        condition_size: int | None = None,
        tolerance: float = 1e-2,
        max_power_iterations: int = 100,
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
        self.nonlinearity = activations.get(activation, self.dtype_policy.name)
        self.power_iterations = power_iterations
        self.condition_size = condition_size
        self.tolerance = tolerance
        self.max_power_iterations = max_power_iterations

    def linear(self, x: tf.Tensor, kernel: tf.Tensor, shift: tf.Tensor | None = None) -> tf.Tensor:
        """The map of `x` with that kernel; `shift` is one an output, or one an example as well."""
        raise TypeError(f"{type(self).__name__} must define linear()")

    def _operand(self, kernel: tf.Tensor) -> tf.Tensor:
        """The kernel as `operator` takes it."""
        return kernel

    def _vector_shape(self) -> tuple[int, ...]:
        return (self.units,)

    def build(self, input_shape):
        super().build(input_shape)
        if self.condition_size is not None:
            self.condition_kernel = self.add_weight(
                name="condition_kernel",
                shape=(self.condition_size, self.units),
                initializer="glorot_uniform",
            )
        self.vector = self._add_state("vector", self._vector_shape(), self._first_vector)
        self.leading = self._add_state("leading", self.vector.shape, lambda: self.vector.value)
        sketch_shape = (int(np.prod(self.kernel.shape[:-1])), 4)
        self.sketch = self._add_state("sketch", sketch_shape, self._sketch)
        if self.nonlinearity is not None and not self.nonlinearity.built:
            self.nonlinearity.build(self._linear_output_shape(input_shape))

    def _add_state(self, name, shape, value):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=lambda shape, dtype: tf.cast(value(), dtype),
            trainable=False,
            aggregation="none",  # made from weights only, so replicas agree
        )

    @property
    def state(self):
        inner = [] if self.nonlinearity is None else self.nonlinearity.state
        return [self.vector, *inner]

    def _first_vector(self) -> tf.Tensor:
        """A fresh layer is normalised before its first use."""
        vector = tf.gather(self._generic(), 0, axis=self.operator.axis)
        return self._better_vector(self.kernel.value, vector, rounds=4)

    def _better_vector(self, kernel: tf.Tensor, vector: tf.Tensor, rounds: int = 1) -> tf.Tensor:
        operand = self._operand(kernel)
        return spectral_norm.leading_vector(operand, vector, self._generic(), rounds, self.operator)

    def _draws(self) -> tf.Tensor:
        """Fixed random vectors `[units, 4]`."""
        draws = np.random.default_rng(0).normal(size=(self.units, 4))
        return tf.constant(draws, self.variable_dtype)

    def _generic(self) -> tf.Tensor:
        """Fixed random vectors of the outputs' space, stacked."""
        return self._draws()

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
        """`W̃`, of the kernel's shape: of norm at most `coefficient` up to `tolerance`."""
        kernel = self.kernel.value
        iterated = training or self.power_iterations is not None
        start = self.vector.value if iterated else self._start(kernel)
        normalized, vector = self._normalize(kernel, start, self.operator, self.slack)
        if training:
            self.vector.assign(vector)
        return normalized

    def store_norm(self) -> None:
        """Stores the vector of the kernel as it is, and that it is this kernel's (eager mode).

        `training=True` alone doesn't: the optimizer's step that follows makes another kernel of it.
        """
        self.normalized_kernel(training=True)
        self.leading.assign(self.vector.value)
        self.sketch.assign(self._sketch())

    def _normalize(
        self, kernel: tf.Tensor, start: tf.Tensor, operator: Operator, slack: float
    ) -> tuple[tf.Tensor, tf.Tensor]:
        sigma, vector = spectral_norm.power_iteration(
            self._operand(kernel),
            start,
            self.tolerance,
            self.max_power_iterations,
            self.power_iterations,
            operator=operator,
        )
        limit = self.coefficient / slack
        return kernel / tf.maximum(tf.ones_like(sigma), sigma / limit), vector

    def _sketch(self, kernel: tf.Tensor | None = None) -> tf.Tensor:
        """Four random combinations of the kernel's columns, by which a change of it is noticed."""
        kernel = self.kernel.value if kernel is None else kernel
        matrix = tf.reshape(kernel, [-1, kernel.shape[-1]])
        return tf.matmul(matrix, tf.cast(self._draws(), kernel.dtype))

    def _start(self, kernel: tf.Tensor) -> tf.Tensor:
        """`leading` if the kernel is the one it was stored for, else a start that took a search.

        A vector from before the weights changed may be as good as orthogonal to the direction that
        grew, and no residual would tell.
        """
        leading = self.leading.value
        kernel = tf.stop_gradient(kernel)
        # An unbiased estimate of ‖ΔW‖² in the Frobenius norm. The norm can't change by more than
        # ‖ΔW‖, that of an operator whose kernel has many taps by more than √taps ‖ΔW‖.
        taps = math.prod(kernel.shape[:-2])
        change = 2 * tf.nn.l2_loss(self._sketch(kernel) - self.sketch.value) / 4 * taps
        image = self.operator.apply(self._operand(kernel), self.operator.stack(leading))
        start = tf.cond(
            change <= (self.tolerance / 4) ** 2 * 2 * tf.nn.l2_loss(image),
            lambda: leading,
            lambda: self._better_vector(kernel, self.vector.value),
        )
        return tf.stop_gradient(start)

    def norm_bound(self, kernel: tf.Tensor) -> float:
        """A number that is certainly ≥ the norm of the map with that kernel, in float64 (eager)."""
        return float(self._upper_bound(np.asarray(kernel, np.float64)))

    def _upper_bound(self, kernel: np.ndarray) -> float:
        return spectral_norm.upper_bound(kernel)

    def norm_estimate(self, kernel: tf.Tensor) -> float:
        """The norm of the map with that kernel as the stored vector shows it: from below."""
        kernel, vector = (tf.cast(t, tf.float64) for t in (kernel, self.vector.value))
        image = self.operator.apply(self._operand(kernel), self.operator.stack(vector))
        return float(tf.norm(image) / tf.norm(vector))

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
        linear = BoundFunction(linear or self.linear, tuple(parameters))
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
        }

    @classmethod
    def from_config(cls, config):
        return cls(**deserialize_layers(config))

    def enable_lora(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError(f"{type(self).__name__} doesn't support LoRA: it would change the norm.")


def shifted(y: tf.Tensor, shift: tf.Tensor | None) -> tf.Tensor:
    """`y + shift`, the shift `[units]`, or `[batch, units]`: the same at every position."""
    if shift is None:
        return y
    if shift.shape.rank == 2 and y.shape.rank > 2:
        shift = tf.reshape(shift, [tf.shape(shift)[0], *[1] * (y.shape.rank - 2), shift.shape[1]])
    return y + shift
