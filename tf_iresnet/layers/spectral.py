"""Layers whose linear map has a spectral norm of at most a coefficient, and the dense one."""

import functools
import math
from typing import Any

import keras
import ml_dtypes
import numpy as np
import tensorflow as tf

from tf_iresnet.layers import activations
from tf_iresnet.layers.contractive import CertifiedPart, ContractiveLayer, conditional_shift
from tf_iresnet.layers.folding import Folding
from tf_iresnet.layers.normalization_rules import (
    RULES,
    NormalizationRule,
    Power,
    Unbounded,
    estimated_norm,
)
from tf_iresnet.layers.serialization import register
from tf_iresnet.numerics import norms
from tf_iresnet.numerics.bound_function import BoundFunction, compose
from tf_iresnet.numerics.linear_maps import LinearMap, Matrix
from tf_iresnet.numerics.structures import at_least_float32


class SpectralLayer(ContractiveLayer):
    """The base of the spectral layers: a kernel whose linear map is normalised at every call.

    A subclass inherits from a Keras layer as well, which makes `kernel` and `bias`, and gives
    `units` and `linear_map`. `SpectralDense` describes the arguments.
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
                f"Expected coefficient > 0, or None for no bound. Received: {coefficient=}"
            )
        if normalization not in RULES:
            raise ValueError(
                f"Expected normalization to be one of {', '.join(RULES)}. "
                f"Received: normalization={normalization!r}"
            )
        if power_iterations is not None and normalization != "power":
            raise ValueError(
                "Expected power_iterations with normalization='power' only. "
                f"Received: {power_iterations=}, {normalization=}"
            )
        if coefficient is None and normalization == "aol":
            raise ValueError(
                "Expected a coefficient, which normalization='aol' scales every kernel to. "
                "Received: coefficient=None. Use 'power', which leaves the kernel as it is then."
            )
        self.coefficient = coefficient
        self.normalization = normalization
        self.nonlinearity = activations.get(activation, self.dtype_policy.name)
        self.power_iterations = power_iterations
        self.condition_size = condition_size
        self.condition_kernel = None
        self.tolerance = tolerance
        self.max_power_iterations = max_power_iterations
        power = (tolerance, max_power_iterations, power_iterations)
        if coefficient is None:
            self.rule: NormalizationRule = Unbounded()
        else:
            self.rule = Power(*power) if normalization == "power" else RULES[normalization]()

    @property
    def limit(self) -> float:
        """The bound on the norm: the coefficient, or infinity without one."""
        return math.inf if self.coefficient is None else self.coefficient

    def linear_map(self, kernel: Any) -> LinearMap:
        """The map that the layer applies with that kernel."""
        raise TypeError(f"{type(self).__name__} must define linear_map()")

    def certified_map(self, kernel: Any) -> LinearMap:
        """The same map in the form that is certified, and joined with its neighbours'."""
        return self.linear_map(kernel)

    def norm_map(self, kernel: Any) -> tuple[LinearMap, float]:
        """A map of the same norm, and the factor by which the layer's own may exceed it."""
        return self.linear_map(kernel), 1.0

    def build(self, input_shape):
        super().build(input_shape)
        if self.condition_size is not None:
            shape = (self.condition_size, self.units)
            # Of the other kernel's seed: where that is fixed, so is the layer.
            seed = getattr(getattr(self, "kernel_initializer", None), "seed", None)
            initializer = keras.initializers.GlorotUniform(seed if isinstance(seed, int) else None)
            self.condition_kernel = self.add_weight(shape, initializer, name="condition_kernel")
        self.rule.build(self, self.norm_map(at_least_float32(self.kernel.value))[0])
        if self.nonlinearity is not None and not self.nonlinearity.built:
            self.nonlinearity.build(self._linear_output_shape(input_shape))

    def _linear_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def compute_output_shape(self, input_shape):
        output_shape = self._linear_output_shape(input_shape)
        if self.nonlinearity is None:
            return output_shape
        return self.nonlinearity.compute_output_shape(output_shape)

    def lipschitz_bound(self):
        slope = 1.0 if self.nonlinearity is None else self.nonlinearity.lipschitz_bound()
        return self.limit * slope

    def normalized_kernel(self, training: bool | None = None) -> tf.Tensor:
        """`W̃`, of the kernel's shape and norm at most `coefficient`; "power": up to `tolerance`."""
        linear_map, margin = self.norm_map(at_least_float32(self.kernel.value))
        kernel = self.rule(linear_map, self.limit / margin, training)
        return tf.reshape(kernel, self.kernel.shape)

    def store_norm(self) -> None:
        """Stores the vectors of the kernel as it is, and that they are this kernel's (eager mode).

        `training=True` alone doesn't: the optimizer's step that follows changes the kernel.
        """
        linear_map, margin = self.norm_map(at_least_float32(self.kernel.value))
        self.rule.store(linear_map, self.limit / margin)

    def enforce(self, index: tuple[int, ...]) -> None:
        """Scales the kernel of one copy down until its norm is proven (eager mode).

        Raises:
            ValueError: for a layer without a coefficient.
        """
        if self.coefficient is None:
            raise ValueError(
                "Expected layers with a coefficient to bring them to. Received: "
                f"{self.name!r} with coefficient=None. Train it with one."
            )
        eps = float(ml_dtypes.finfo(np.asarray(self.kernel.value).dtype).eps)

        def proven() -> float:
            kernel = np.asarray(self.kernel.value)[index].astype(np.float64)
            return float(norms.upper_bound(self.certified_map(kernel)))

        while isinstance(self.rule, Power) and self.coefficient < (bound := proven()) < math.inf:
            # A hair below: storing in the layer's dtype may round up, in half precision repeatedly.
            factor = self.coefficient / bound * (1 - 4 * eps)
            # Scaling leaves the singular vectors as they are: what is stored stays true.
            for weight in (self.kernel, self.rule.kernel_sketch):
                values = np.asarray(weight.value).copy()
                values[index] = values[index].astype(np.float64) * factor
                weight.assign(values)

    def constants(self, training=None):
        return (self.normalized_kernel(training),)

    def bind(self, condition=None, training=None):
        linear_map = self.linear_map(*self.current_constants(training))
        return self._bound(linear_map, condition, training)

    def fold(self, x, folding):
        kernel = tf.reshape(self.linear_map(*self.current_constants()).kernel, self.kernel.shape)
        bias = self.bias if self.use_bias else None
        weights = folding.value(kernel), bias, self.condition_kernel
        name = getattr(self.nonlinearity, "function", None)
        x = self.plain_input(x, folding)
        plain = functools.partial(self.plain_layer, len(x.shape))
        x = folding.linear(self, plain, x, *weights, activation=name)
        if name is not None or self.nonlinearity is None:
            return x
        return self.nonlinearity.fold(x, folding)

    def plain_layer(self, rank: int, **options: Any) -> keras.layers.Layer:
        """The Keras layer that holds the kernel, for inputs of that rank."""
        return keras.layers.Dense(self.units, **options)

    def plain_input(self, x: Any, folding: Folding) -> Any:
        """The symbolic tensor that it is applied to, given the layer's input."""
        return x

    def _bound(self, linear_map, condition, training):
        bias = self.bias if self.use_bias else None
        shift = conditional_shift(self, bias, self.condition_kernel, condition)
        linear = BoundFunction.linear(linear_map, shift)
        if self.nonlinearity is None:
            return compose([linear])
        return compose([linear, self.nonlinearity.bind(condition, training)])

    def certified_parts(self, bound, path):
        kernel = np.asarray(bound.parts[0].linear_map.kernel, np.float64)
        kernel = kernel.reshape(self.kernel.shape[len(self.stack) :])
        linear_map = self.certified_map(kernel)
        estimate = estimated_norm(self.norm_map(tf.constant(kernel))[0])
        upper = float(norms.upper_bound(linear_map))
        yield CertifiedPart(path, upper, linear_map, estimate, self.limit)
        if self.nonlinearity is not None:
            yield from self.nonlinearity.certified_parts(bound.parts[1], path)

    # The Keras layers have their own, which know of a kernel and bias only.
    save_own_variables = keras.layers.Layer.save_own_variables
    load_own_variables = keras.layers.Layer.load_own_variables

    def get_config(self):
        unsupported = ("lora_rank", "lora_alpha", "quantization_config")
        return {k: v for k, v in super().get_config().items() if k not in unsupported}

    def serialized(self, argument):
        return super().serialized("nonlinearity" if argument == "activation" else argument)

    def enable_lora(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError(f"{type(self).__name__} doesn't support LoRA: it would change the norm.")


@register
class SpectralDense(SpectralLayer, keras.layers.Dense):
    """A dense layer with `‖W̃‖₂ ≤ coefficient`, by default `W̃ = W / max(1, ‖W‖₂ / coefficient)`.

    A kernel of small norm stays as it is (Gouk et al., arXiv 1804.04368, eq. 11). The kernel
    variable is not overwritten and the gradient flows through the norm. `normalization` says how:

    - "power": by power iteration, an estimate from below, at every call run to a relative tolerance
      from a stored vector, or a second one where that has come to lead: it follows the weights
      without anything to call. Only `training=True` stores where it got to. In inference a vector
      that is older than the weights is noticed, and searched for anew, which costs time only. The
      norm may exceed the coefficient by the tolerance; `tf_iresnet.certify` bounds it from above.
    - "gram": by an upper bound of the norm instead, from Gram iteration (Delattre et al.,
      arXiv 2305.16173), so that `certify` proves the coefficient after every step. It takes eight
      products of matrices of the smaller side, and as many for the gradient.
    - "aol": `W̃ = coefficient · W D` with a diagonal D in closed form (Prach and Lampert,
      arXiv 2208.03160): as certain as "gram" and cheaper, but the norm may be well below the
      coefficient. Small kernels are enlarged.

    The bound is the same in training and inference. "gram" and "aol" have no state.

    Args:
        units: number of outputs.
        coefficient: bound on the spectral norm, above 0; None leaves the kernel as it is, for
            comparison with an ordinary network.
        activation: name, Keras function or layer that is known to be non-expansive.
        power_iterations: of "power": None iterates to `tolerance`; an integer iterates just so
            often at each call, as the papers do.
        condition_size: size of a condition vector; an unconstrained linear map of it is added
            before the activation, which leaves the Lipschitz constant in the input as it is.
        tolerance: of "power": relative, of the norm.
        max_power_iterations: of "power": most iterations of one call.
        normalization: "power", "gram" or "aol".
        **kwargs: as for `keras.layers.Dense`.

    Input shape: `[batch, …, features]`. Output shape: `[batch, …, units]`.

    Raises:
        ValueError: for a coefficient ≤ 0, an activation that isn't non-expansive, an unknown
            normalization, "aol" without a coefficient or power_iterations for another than "power".

    Example:

        keras.Sequential([
            tf_iresnet.layers.SpectralDense(64, activation="elu"), keras.layers.Dense(1),
        ])
    """

    def __init__(
        self, units: int, coefficient: float | None = 0.97, activation: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(units, coefficient=coefficient, activation=activation, **kwargs)

    def linear_map(self, kernel):
        return Matrix(kernel)
