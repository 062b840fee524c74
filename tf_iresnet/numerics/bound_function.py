"""A contraction with its weights bound: a pure function of `x`, and its linearization."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from tf_iresnet.numerics.linear_maps import LinearMap, Matrix
from tf_iresnet.numerics.structures import TensorDataclass, cast_floats

Function = Callable[[tf.Tensor], tf.Tensor]


class Linearization(NamedTuple):
    """A function at a point `x`.

    Attributes:
        outputs: `g(x)`.
        product: `w ↦ Jᵀw`. All products share that one evaluation.
        trace: of the Jacobian `J`, `[batch]`; None where it needs products or wasn't asked for.
    """

    outputs: tf.Tensor
    product: Function
    trace: tf.Tensor | None = None


class BoundFunction(TensorDataclass):
    """A pure function of `x` `[batch, *event]`, called as `g(x)`, with the tensors it depends on.

    It is a `tf.nest` structure of those tensors, so that loops can slice them, solvers
    differentiate in them, and a certificate cast them to float64. The constructors say what is
    known of its Jacobian: `linear` and `pointwise` make products with it cheap and its trace exact;
    `of` knows nothing. `compose` puts functions one after another.
    """

    @staticmethod
    def linear(kernel: LinearMap | tf.Tensor, shift: tf.Tensor | None = None) -> "BoundFunction":
        """`x W + shift`.

        Args:
            kernel: a linear map, or a matrix `[inputs, outputs]`.
            shift: `[outputs]`, or `[batch, outputs]`: one for each example, at every position.
        """
        return Linear(kernel if isinstance(kernel, LinearMap) else Matrix(kernel), shift)

    @staticmethod
    def pointwise(
        function: Callable[..., tf.Tensor],
        *parameters: Any,
        value_and_slope: Callable[..., tuple[tf.Tensor, tf.Tensor]] | None = None,
    ) -> "BoundFunction":
        """`function(x, *parameters)` whose output `i` depends on input `i` of the last axis alone.

        Where there are several times as many outputs, so do outputs `units + i`, `2·units + i`, ….
        `value_and_slope(x, *parameters)` also returns the derivative of each output; without it,
        automatic differentiation takes many more operations.
        """
        return Pointwise(function, parameters, value_and_slope)

    @staticmethod
    def of(function: Callable[..., tf.Tensor], *parameters: Any) -> "BoundFunction":
        """`function(x, *parameters)`, each parameter a tensor or a nest of tensors."""
        return Opaque(function, parameters)

    @property
    def stages(self) -> tuple["BoundFunction", ...]:
        """The elementary functions that it applies one after another."""
        return (self,)

    @property
    def exact(self) -> "BoundFunction":
        """The function as it is in the dtype of `x`: see `Lowered`."""
        return self

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        raise TypeError(f"{type(self).__name__} must define __call__()")

    def differentiate(self, x: tf.Tensor, copies: int) -> tuple[tf.Tensor, Function]:
        """The value at `x`, and `w ↦ Jᵀw` of `[copies · batch, …]`, one batch after another."""
        raise TypeError(f"{type(self).__name__} must define differentiate()")

    def linearize(self, x: tf.Tensor, copies: int = 1, trace: bool = False) -> Linearization:
        """The function at `x`, its pointwise stages differentiated once for all products.

        Args:
            x: `[batch, *event]`.
            copies: how many vectors a product takes for each example: `[copies · batch, *event]`,
                one batch of them after another.
            trace: also return the Jacobian's trace if it needs no products. That of
                `x ↦ x W₀ → D₁ → W₁ → D₂ → W₂`, with diagonal `D` of at most two pointwise stages,
                is `Σ_ij (W₂W₀)_ij (W₁)_ji (D₂)_i (D₁)_j`: less than an evaluation.
        """
        outputs, pullbacks, slopes = x, [], []
        for stage in self.stages:
            if isinstance(stage, Pointwise):
                units = outputs.shape[-1]
                outputs, slope = stage.with_slope(outputs)
                pullbacks.append(scaling(slope, slope.shape[-1] // units, copies))
                slopes.append(slope)
            else:
                outputs, pullback = stage.differentiate(outputs, copies)
                pullbacks.append(pullback)

        def product(w: tf.Tensor) -> tf.Tensor:
            for pullback in reversed(pullbacks):
                w = pullback(w)
            return w

        trace = trace and x.shape.rank > 1 and _has_simple_trace(self.stages)
        return Linearization(outputs, product, _trace(self.stages, slopes, x) if trace else None)


@dataclasses.dataclass(frozen=True, eq=False)
class Linear(BoundFunction):
    """A linear map and a shift: see `BoundFunction.linear`."""

    linear_map: LinearMap
    shift: tf.Tensor | None = None
    tensors = ("linear_map", "shift")

    def __call__(self, x):
        return shifted(self.linear_map.apply(x), self.shift)

    def differentiate(self, x, copies):
        outputs = shifted(self.linear_map.apply(x), self.shift)
        return outputs, functools.partial(self.linear_map.adjoint, size=tuple(x.shape[1:-1]))


@dataclasses.dataclass(frozen=True, eq=False)
class Opaque(BoundFunction):
    """A function of which nothing is known: see `BoundFunction.of`."""

    function: Callable[..., tf.Tensor]
    parameters: tuple[Any, ...] = ()
    tensors = ("parameters",)

    def __call__(self, x):
        return self.function(x, *self.parameters)

    def differentiate(self, x, copies):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            outputs = self(x)

        def pullback(w: tf.Tensor) -> tf.Tensor:
            zero = tf.UnconnectedGradients.ZERO
            each = tf.split(w, copies) if copies > 1 else [w]
            return tf.concat([tape.gradient(outputs, x, part, zero) for part in each], 0)

        return outputs, pullback


@dataclasses.dataclass(frozen=True, eq=False)
class Pointwise(Opaque):
    """A function of each feature by itself: see `BoundFunction.pointwise`."""

    value_and_slope: Callable[..., tuple[tf.Tensor, tf.Tensor]] | None = None

    def with_slope(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The value, and each output's derivative in the input that it depends on."""
        if self.value_and_slope is not None:
            return self.value_and_slope(x, *self.parameters)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(x)
            outputs = self(x)
            copies = tf.split(outputs, outputs.shape[-1] // x.shape[-1], axis=-1)
        return outputs, tf.concat([tape.gradient(copy, x) for copy in copies], -1)


@dataclasses.dataclass(frozen=True, eq=False)
class Composition(BoundFunction):
    """Functions one after another, from the first."""

    parts: tuple[BoundFunction, ...]
    tensors: ClassVar[tuple[str, ...]] = ("parts",)

    @functools.cached_property
    def stages(self):
        return tuple(stage for part in self.parts for stage in part.stages)

    def __call__(self, x):
        for stage in self.stages:
            x = stage(x)
        return x


@dataclasses.dataclass(frozen=True, eq=False)
class Lowered(BoundFunction):
    """A function evaluated, and multiplied with its Jacobian, in another dtype than that of `x`.

    Arguments are cast on the way in and results on the way out; `exact` is the function itself.
    """

    inner: BoundFunction
    dtype: str
    tensors = ("inner",)

    @property
    def exact(self):
        return self.inner

    def __call__(self, x):
        return tf.cast(self.lowered()(tf.cast(x, self.dtype)), x.dtype)

    def lowered(self) -> BoundFunction:
        """The function with its tensors in the lower dtype."""
        return cast_floats(self.inner, self.dtype)

    def linearize(self, x, copies=1, trace=False):
        low = self.lowered().linearize(tf.cast(x, self.dtype), copies, trace)

        def product(w: tf.Tensor) -> tf.Tensor:
            return tf.cast(low.product(tf.cast(w, self.dtype)), x.dtype)

        known = None if low.trace is None else tf.cast(low.trace, x.dtype)
        return Linearization(tf.cast(low.outputs, x.dtype), product, known)


def compose(functions: Sequence[BoundFunction]) -> BoundFunction:
    """`x ↦ f_n(… f_1(x))`."""
    return Composition(tuple(functions))


def scaling(slope: tf.Tensor, features: int = 1, copies: int = 1) -> Function:
    """`w ↦ Jᵀw` of a pointwise function with `features` outputs for each input.

    `slope` is `[batch, …, features · units]`; for `copies`, see `BoundFunction.linearize`.
    """

    def product(w: tf.Tensor) -> tf.Tensor:
        if copies > 1:
            shape = tf.shape(w)
            w = tf.reshape(w, tf.concat([[copies, -1], shape[1:]], 0))
            w = tf.ensure_shape(tf.reshape(w * slope, shape), [None, *slope.shape[1:]])
        else:
            w = w * slope
        return w if features == 1 else tf.add_n(tf.split(w, features, axis=-1))

    return product


def shifted(y: tf.Tensor, shift: tf.Tensor | None) -> tf.Tensor:
    """`y + shift`, the shift `[units]`, or `[batch, units]`: the same at every position."""
    if shift is None:
        return y
    if shift.shape.rank == 1 and y.shape.rank > 1:
        return tf.nn.bias_add(y, shift)  # whose gradient a convolution's kernel has as well
    if shift.shape.rank == 2 and y.shape.rank > 2:
        shift = tf.reshape(shift, [-1, *[1] * (y.shape.rank - 2), shift.shape[-1]])
    return y + shift


def inner(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The inner product of each example, `[batch]`."""
    return tf.reduce_sum(a * b, axis=range(1, a.shape.rank))


def _has_simple_trace(stages: Sequence[BoundFunction]) -> bool:
    pointwise = sum(isinstance(stage, Pointwise) for stage in stages)
    dense = sum(isinstance(s, Linear) and isinstance(s.linear_map, Matrix) for s in stages)
    return pointwise <= 2 and pointwise + dense == len(stages)


def _trace(stages: Sequence[Any], slopes: Sequence[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """The trace of the Jacobian of dense and at most two pointwise stages, `[batch]`."""
    units, remaining = x.shape[-1], list(slopes)
    matrices: list[list[tf.Tensor]] = [[]]  # before, between and after the slopes
    for stage in stages:
        if isinstance(stage, Linear):
            matrices[-1].append(stage.linear_map.kernel)
            units = stage.linear_map.kernel.shape[-1]
        else:
            features = remaining.pop(0).shape[-1] // units
            if features > 1:
                matrices[-1].append(tf.tile(tf.eye(units, dtype=x.dtype), [1, features]))
                units *= features
            matrices.append([])

    def product(factors: Sequence[tf.Tensor], size: int) -> tf.Tensor:
        return functools.reduce(tf.matmul, factors) if factors else tf.eye(size, dtype=x.dtype)

    ends = (matrices[-1], matrices[0]) if slopes else matrices
    cyclic = product([product(factors, units) for factors in ends if factors], units)
    if not slopes:
        each = tf.fill(tf.shape(x)[:-1], tf.linalg.trace(cyclic))
    elif len(slopes) == 1:
        each = tf.reduce_sum(slopes[0] * tf.linalg.diag_part(cyclic), -1)
    else:
        pairs = cyclic * tf.transpose(product(matrices[1], cyclic.shape[0]))
        each = tf.reduce_sum(tf.tensordot(slopes[1], pairs, 1) * slopes[0], -1)
    return tf.reduce_sum(each, range(1, each.shape.rank))
