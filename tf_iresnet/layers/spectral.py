"""Linear layers whose spectral norm is at most a coefficient."""

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
    register,
)
from tf_iresnet.numerics import spectral_norm


@register
class SpectralDense(ContractiveLayer, keras.layers.Dense):
    """A dense layer with `‖W̃‖₂ ≤ coefficient`, where `W̃ = W / max(1, ‖W‖₂ / coefficient)`.

    A kernel of small norm stays as it is (Gouk et al., arXiv 1804.04368, eq. 11). The norm is the
    power-iteration estimate, at every call run to a relative tolerance from a stored vector, so it
    follows the weights without anything to call, and the bound is the same in training and
    inference; only `training=True` stores where the iteration got to. The kernel variable is not
    overwritten and the gradient flows through the norm.

    Outside of training a vector that is older than the weights is noticed, and replaced by a start
    that leaves no direction out: it costs time only. The estimate comes from below;
    `tf_iresnet.certify` bounds the norm from above.

    Args:
        units: number of outputs.
        coefficient: bound on the spectral norm, above 0.
        activation: name, Keras function or layer that is known to be non-expansive.
        power_iterations: None iterates to `tolerance`; an integer iterates just so often at each
            call, as the papers do.
        condition_size: size of a condition vector; an unconstrained linear map of it is added
            before the activation, which leaves the Lipschitz constant in the input as it is.
        tolerance: relative tolerance of the norm.
        max_power_iterations: most iterations of one call.
        **kwargs: as for `keras.layers.Dense`.

    Input shape: `[batch, …, features]`. Output shape: `[batch, …, units]`.

    Raises:
        ValueError: for a coefficient ≤ 0, or an activation that isn't non-expansive.

    Example:

        keras.Sequential([
            tf_iresnet.layers.SpectralDense(64, activation="elu"), keras.layers.Dense(1),
        ])
    """

    def __init__(
        self,
        units: int,
        coefficient: float = 0.97,
        activation: Any = None,
        power_iterations: int | None = None,
        condition_size: int | None = None,
        tolerance: float = 1e-2,
        max_power_iterations: int = 100,
        **kwargs: Any,
    ) -> None:
        for name in ("lora_rank", "quantization_config"):
            if kwargs.pop(name, None) is not None:
                raise ValueError(f"SpectralDense doesn't support {name}: it would change the norm.")
        kwargs.pop("lora_alpha", None)
        super().__init__(units, **kwargs)
        if not coefficient > 0:
            raise ValueError(f"Expected coefficient > 0. Received: coefficient={coefficient}")
        self.coefficient = coefficient
        self.nonlinearity = activations.get(activation, self.dtype_policy.name)
        self.power_iterations = power_iterations
        self.condition_size = condition_size
        self.tolerance = tolerance
        self.max_power_iterations = max_power_iterations

    def build(self, input_shape):
        super().build(input_shape)
        if self.condition_size is not None:
            self.condition_kernel = self.add_weight(
                name="condition_kernel",
                shape=(self.condition_size, self.units),
                initializer="glorot_uniform",
            )
        self.vector = self.add_weight(
            name="vector",
            shape=(self.units,),
            initializer=self._leading_vector,
            trainable=False,
            aggregation="none",  # made from weights only, so replicas agree
        )
        self.sketch = self.add_weight(
            name="sketch",
            shape=(input_shape[-1], self._generic().shape[1]),
            initializer=lambda shape, dtype: self._sketch(tf.cast(self.kernel.value, dtype)),
            trainable=False,
            aggregation="none",
        )
        if self.nonlinearity is not None and not self.nonlinearity.built:
            self.nonlinearity.build((*input_shape[:-1], self.units))

    def _leading_vector(self, shape, dtype):
        """A fresh layer is normalised before its first use."""
        generic = self._generic()
        vector = generic[:, 0]
        for _ in range(4):
            vector = spectral_norm.leading_vector(self.kernel.value, vector, generic)
        return tf.cast(vector, dtype)

    def _generic(self) -> tf.Tensor:
        """Fixed random vectors `[units, 4]`."""
        draws = np.random.default_rng(0).normal(size=(self.units, 4))
        return tf.constant(draws, self.variable_dtype)

    def compute_output_shape(self, input_shape):
        output_shape = (*input_shape[:-1], self.units)
        if self.nonlinearity is None:
            return output_shape
        return self.nonlinearity.compute_output_shape(output_shape)

    def lipschitz_bound(self):
        slope = 1.0 if self.nonlinearity is None else self.nonlinearity.lipschitz_bound()
        return self.coefficient * slope

    def normalized_kernel(self, training: bool | None = None) -> tf.Tensor:
        """`W̃`, `[features, units]`, of norm at most `coefficient` up to `tolerance`."""
        kernel, start = self.kernel.value, self.vector.value
        if not training and self.power_iterations is None:
            start = self._checked(kernel, start)
        sigma, vector = spectral_norm.power_iteration(
            kernel,
            start,
            self.tolerance,
            self.max_power_iterations,
            self.power_iterations,
        )
        if training:
            self.vector.assign(vector)
            self.sketch.assign(self._sketch(kernel))
        return kernel / tf.maximum(tf.ones_like(sigma), sigma / self.coefficient)

    def _sketch(self, kernel: tf.Tensor) -> tf.Tensor:
        """Four random combinations of the kernel's columns, by which a change of it is noticed."""
        return tf.matmul(kernel, tf.cast(self._generic(), kernel.dtype))

    def _checked(self, kernel: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
        """The stored vector if the kernel is the one it was stored for, else a better start.

        A vector from before the weights changed may be as good as orthogonal to the direction that
        grew, and no residual would tell.
        """
        kernel = tf.stop_gradient(kernel)
        # An unbiased estimate of ‖ΔW‖² in the Frobenius norm, which no norm can change more than.
        change = 2 * tf.nn.l2_loss(self._sketch(kernel) - self.sketch.value) / 4
        norm = 2 * tf.nn.l2_loss(tf.linalg.matvec(kernel, vector))
        start = tf.cond(
            change <= (self.tolerance / 4) ** 2 * norm,
            lambda: vector,
            lambda: spectral_norm.leading_vector(kernel, vector, self._generic()),
        )
        return tf.stop_gradient(start)

    def bind(self, condition=None, training=None):
        parameters = [self.normalized_kernel(training)]
        shift = self.bias.value if self.use_bias else None
        if self.condition_size is not None:
            shift = self._conditional_shift(shift, condition)
        if shift is not None:
            parameters.append(shift)
        linear = BoundFunction(_affine, tuple(parameters))
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

    # Dense has its own, which know of its kernel and bias only.
    save_own_variables = keras.layers.Layer.save_own_variables
    load_own_variables = keras.layers.Layer.load_own_variables

    def get_config(self):
        config = super().get_config()
        for name in ("lora_rank", "lora_alpha", "quantization_config"):
            config.pop(name, None)
        nonlinearity = self.nonlinearity and keras.saving.serialize_keras_object(self.nonlinearity)
        return {
            **config,
            "coefficient": self.coefficient,
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
        raise ValueError("SpectralDense doesn't support LoRA: it would change the norm.")


def _affine(x: tf.Tensor, kernel: tf.Tensor, shift: tf.Tensor | None = None) -> tf.Tensor:
    """`x W̃ + b`, extra axes of `x` folded into the batch."""
    if x.shape.rank == 2:
        y = tf.matmul(x, kernel)
    else:
        y = tf.matmul(tf.reshape(x, [-1, kernel.shape[0]]), kernel)
        y = tf.reshape(y, tf.concat([tf.shape(x)[:-1], [kernel.shape[1]]], 0))
        if shift is not None and shift.shape.rank == 2:  # one shift an example
            shape = [tf.shape(shift)[0], *[1] * (x.shape.rank - 2), kernel.shape[1]]
            shift = tf.reshape(shift, shape)
    return y if shift is None else y + shift
