"""A perceptron whose Lipschitz constant is bounded by construction."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers import activations
from tf_iresnet.layers.contractive import CertifiedPart, ContractiveLayer, conditional_shift
from tf_iresnet.layers.folding import Folding
from tf_iresnet.layers.serialization import register
from tf_iresnet.numerics import cayley
from tf_iresnet.numerics.bound_function import BoundFunction, Composition, Linear
from tf_iresnet.numerics.structures import at_least_float32


@dataclasses.dataclass(frozen=True, eq=False)
class SandwichNetwork(Composition):
    """Merged sandwich layers, and the multipliers that prove their bound: `[*stack, units]`."""

    multipliers: tuple[tf.Tensor, ...] = ()
    tensors = ("parts", "multipliers")


@register
class LipschitzMLP(ContractiveLayer):
    """A perceptron with `Lip ≤ coefficient` whatever its weights are: a branch of sandwich layers.

    Each hidden layer is `h ↦ √2 Aᵀ Ψ φ(√2 Ψ⁻¹ B h + b)`, where `A Aᵀ + B Bᵀ = I` by a Cayley
    transform of free weights, `Ψ` is a positive diagonal, and `φ` has slopes in [0, 1] (Wang and
    Manchester, arXiv 2301.11526, theorem 3.2); the last map is orthonormal rows times the
    coefficient. Neighbouring matrices are merged, so that an evaluation is that of a perceptron.
    There is no power iteration, no state and nothing to be kept up: `tf_iresnet.certify` proves the
    bound at every step of training from the weights as they are used (LipSDP, Fazlyab et al.,
    arXiv 1906.04893). All singular values of `[A B]` are 1, which is why such a branch bends more
    within the same constant than spectral layers do, of which the product of norms is bounded.

    An activation `σ` of slopes in [α, β] is used as `φ(x) = (σ(x) − αx)/(β − α)`: the sine as
    `½(x + sin(2πx)/2π)`, ELU and tanh as they are.

    Args:
        hidden_units: widths of the hidden layers, at least one.
        units: number of outputs.
        coefficient: bound on the Lipschitz constant, above 0.
        activation: name, Keras function or layer of one with known slopes, which acts on each
            feature alone: "elu", "lipswish", "sine", "tanh", "softplus", ….
        condition_size: size of a condition vector; an unconstrained linear map of it is added
            before each activation and to the outputs, which leaves the Lipschitz constant in the
            input as it is.
        seed: of the initial weights; None draws one.

    Input shape: `[batch, …, features]`. Output shape: `[batch, …, units]`.

    Raises:
        ValueError: for a coefficient ≤ 0, no hidden layer, or an activation without known slopes.

    Example:

        block = tf_iresnet.layers.ResidualBlock(
            tf_iresnet.layers.LipschitzMLP((64, 64), 2, activation="sine")
        )
    """

    def __init__(
        self,
        hidden_units: Sequence[int],
        units: int,
        coefficient: float = 0.97,
        activation: Any = "elu",
        condition_size: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not coefficient > 0 or not hidden_units or min((*hidden_units, units)) < 1:
            raise ValueError(
                "Expected coefficient > 0, at least one hidden layer, and units ≥ 1 in each. "
                f"Received: coefficient={coefficient}, hidden_units={tuple(hidden_units)}, "
                f"units={units}"
            )
        self.hidden_units = tuple(hidden_units)
        self.units = units
        self.coefficient = coefficient
        self.activation = activations.get(activation, self.dtype_policy.name)
        slopes = getattr(self.activation, "slope_range", None)
        if slopes is None or slopes[0] == slopes[1]:
            raise ValueError(
                "Expected an activation of each feature alone, with slopes in a known range, which "
                f"a sandwich layer rests on. Received: activation={activation!r}. Use 'elu', "
                "'lipswish', 'sine', 'tanh' or 'softplus', or a branch of SpectralDense layers."
            )
        self.condition_size = condition_size
        self.seed = seed

    def build(self, input_shape):
        widths = (input_shape[-1], *self.hidden_units)
        seeds = itertools.repeat(None) if self.seed is None else itertools.count(self.seed)
        self.pairs = [
            self._add_pair(f"hidden_{index}", units, inputs, seeds)
            for index, (inputs, units) in enumerate(itertools.pairwise(widths))
        ]
        small, large = sorted((self.units, widths[-1]))
        self.last = self._add_pair("last", small, large - small, seeds)
        self.log_multipliers, self.biases, self.condition_kernels = [], [], []
        for index, units in enumerate(self.hidden_units):
            # The energy of the inputs is spread over the units: with this, units see a deviation of
            # about 1 of standardised inputs.
            start = keras.initializers.Constant(0.5 * math.log(min(1.0, 2 * widths[0] / units)))
            weight = self.add_weight((units,), start, name=f"log_multiplier_{index}")
            self.log_multipliers.append(weight)
        for index, units in enumerate((*self.hidden_units, self.units)):
            self.biases.append(self.add_weight((units,), "zeros", name=f"bias_{index}"))
        if self.condition_size is not None:
            for index, units in enumerate((*self.hidden_units, self.units)):
                start = keras.initializers.GlorotUniform(next(seeds))
                shape, name = (self.condition_size, units), f"condition_kernel_{index}"
                self.condition_kernels.append(self.add_weight(shape, start, name=name))
        if not self.activation.built:
            self.activation.build((*input_shape[:-1], self.hidden_units[0]))

    def _add_pair(self, name: str, square: int, rest: int, seeds: Iterator[Any]) -> list[Any]:
        """The free weights of a pair: two matrices, and the Frobenius norm of both together."""
        glorot = keras.initializers.GlorotNormal
        norm = math.sqrt(square + 2 * rest * square / (rest + square))
        return [
            self.add_weight((square, square), glorot(next(seeds)), name=f"{name}_square"),
            self.add_weight((rest, square), glorot(next(seeds)), name=f"{name}_rest"),
            self.add_weight((), keras.initializers.Constant(norm), name=f"{name}_scale"),
        ]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def lipschitz_bound(self):
        return self.coefficient

    def constants(self, training=None):
        pairs = [[at_least_float32(w.value) for w in pair] for pair in (*self.pairs, self.last)]
        *hidden, last = [cayley.orthonormal_rows(*pair) for pair in pairs]
        if self.units > self.hidden_units[-1]:
            last = tf.linalg.matrix_transpose(last)
        log_multipliers = [at_least_float32(w.value) for w in self.log_multipliers]
        return tuple(cayley.merged_weights(hidden, log_multipliers, last, self._aim))

    def bind(self, condition=None, training=None):
        parts: list[BoundFunction] = []
        for matrix, bias, kernel in self._affine_maps(training):
            if parts:
                parts.append(self._contracted_activation())
            shift = conditional_shift(self, bias, kernel, condition)
            parts.append(BoundFunction.linear(matrix, shift))
        log_multipliers = [weight.value for weight in self.log_multipliers]
        multipliers = tuple(tf.stop_gradient(tf.exp(2 * psi)) for psi in log_multipliers)
        return SandwichNetwork(tuple(parts), multipliers)

    def _affine_maps(self, training: bool | None = None) -> list[tuple[Any, Any, Any]]:
        """Matrix, bias and kernel of the condition, or None, of each."""
        matrices = self.current_constants(training)
        kernels = self.condition_kernels or [None] * len(matrices)
        return list(zip(matrices, self.biases, kernels, strict=True))

    def fold(self, x, folding):
        for index, (matrix, bias, kernel) in enumerate(self._affine_maps()):
            if index:
                x = self._contract(x, folding)
            dense = functools.partial(keras.layers.Dense, matrix.shape[-1])
            x = folding.linear(self, dense, x, folding.value(matrix), bias, kernel)
        return x

    def _contract(self, x: Any, folding: Folding) -> Any:
        """The activation of a symbolic tensor, brought to slopes in [0, 1]."""
        activation: Any = self.activation
        lowest, highest = activation.slope_range
        y = activation.fold(x, folding)
        if (lowest, highest) == (0.0, 1.0):
            return y
        parts = [
            folding.affine(self, part, factor / (highest - lowest))
            for part, factor in ((y, 1.0), (x, -lowest))
        ]
        return folding.apply(keras.layers.Add(**folding.options(self)), parts)

    @property
    def _aim(self) -> float:
        """What the last map is scaled by: the proof needs a little more room."""
        return self.coefficient * (1 - 2 * cayley.SLACK)

    def _contracted_activation(self) -> BoundFunction:
        """The activation, brought to slopes in [0, 1]."""
        activation: Any = self.activation
        lowest, highest = activation.slope_range
        sigma = activation.bind()
        if (lowest, highest) == (0.0, 1.0):
            return sigma

        scale = 1 / (highest - lowest)

        def contracted(x: tf.Tensor, *parameters: tf.Tensor) -> tf.Tensor:
            return (sigma.function(x, *parameters) - lowest * x) * scale

        def with_slope(x: tf.Tensor, *parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            value, slope = sigma.value_and_slope(x, *parameters)
            return (value - lowest * x) * scale, (slope - lowest) * scale

        known = None if sigma.value_and_slope is None else with_slope
        return BoundFunction.pointwise(contracted, *sigma.parameters, value_and_slope=known)

    def certified_parts(self, bound, path):
        weights = [part.linear_map.kernel for part in bound.parts if isinstance(part, Linear)]
        lipschitz = cayley.lipschitz_bound(weights, bound.multipliers, self._aim)
        yield CertifiedPart(path, float(lipschitz), coefficient=self.coefficient)
