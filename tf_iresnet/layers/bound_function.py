"""A layer's computation at fixed weights: what a solver or an estimator is given."""

import enum
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf

from tf_iresnet.numerics.products import Function, Linearization, by_tape, linearize


class Kind(enum.Enum):
    """What is known of a function's Jacobian, along the last axis of the input.

    Attributes:
      LINEAR: it is that of `x ↦ x W`, `W` the function's first parameter.
      POINTWISE: output `i` depends on input `i` alone, as does output `units + i` if there are
        several times as many outputs as inputs.
    """

    LINEAR = enum.auto()
    POINTWISE = enum.auto()


class Part(NamedTuple):
    """One of the functions that a composition evaluates, with the number of its parameters."""

    function: Callable[..., tf.Tensor]
    size: int
    kind: Kind | None


class Composition:
    """`(x, *parameters) ↦ f_n(… f_1(x))`, of functions that share the parameters.

    Args:
        parts: the functions, in order.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)

    def __call__(self, x: tf.Tensor, *parameters: tf.Tensor) -> tf.Tensor:
        for part, own in self._shares(parameters):
            x = part.function(x, *own)
        return x

    def linearize(self, x: tf.Tensor, *parameters: tf.Tensor, trace: bool = False) -> Linearization:
        """The function at `x`, its pointwise parts differentiated once for all products.

        There a product is a multiplication, not the handful of operations that an activation's
        derivative takes.

        Args:
            x: `[batch, *event]`.
            parameters: as of a call.
            trace: whether that of the Jacobian is wanted where it costs no product. Of
                `x ↦ x W₀ → D₁ → W₁ → D₂ → W₂`, with diagonal `D` from at most two pointwise parts,
                it is `Σ_ij (W₂W₀)_ij (W₁)_ji (D₂)_i (D₁)_j`: less than an evaluation.
        """
        kinds = [part.kind for part in self.parts]
        trace = trace and None not in kinds and kinds.count(Kind.POINTWISE) <= 2
        trace = trace and x.shape.rank > 1
        y, pullbacks = x, []
        factors: list[tuple[Kind, tf.Tensor, int]] = []  # a matrix, or slopes, and their copies
        for part, own in self._shares(parameters):
            if part.kind is Kind.POINTWISE:
                units = y.shape[-1]
                y, slope = BoundFunction(part.function, own).with_slope(y)
                copies = slope.shape[-1] // units
                pullbacks.append(_scaling(slope, copies))
                factors.append((part.kind, slope, copies))
            else:
                y, pullback, _ = by_tape(part.function, y, *own)
                pullbacks.append(pullback)
                if part.kind is Kind.LINEAR:
                    factors.append((part.kind, own[0], 1))

        def product(w: tf.Tensor) -> tf.Tensor:
            for pullback in reversed(pullbacks):
                w = pullback(w)
            return w

        return Linearization(y, product, _trace(factors, y) if trace else None)

    def _shares(
        self, parameters: Sequence[tf.Tensor]
    ) -> Iterator[tuple[Part, Sequence[tf.Tensor]]]:
        start = 0
        for part in self.parts:
            yield part, parameters[start : start + part.size]
            start += part.size


class BoundFunction(NamedTuple):
    """A pure function of `x` and of the tensors it depends on, called as `g(x)`.

    Solvers differentiate implicitly, so they must see those tensors: `function(x, *parameters)`.
    """

    function: Callable[..., tf.Tensor]
    parameters: Sequence[tf.Tensor] = ()

    @classmethod
    def of(
        cls, function: Callable[..., tf.Tensor], parameters: Sequence[tf.Tensor], kind: Kind | None
    ) -> "BoundFunction":
        """A function of which `kind` is known."""
        return cls(Composition([Part(function, len(parameters), kind)]), parameters)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.function(x, *self.parameters)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What it is composed of."""
        if isinstance(self.function, Composition):
            return self.function.parts
        return (Part(self.function, len(self.parameters), None),)

    def linearize(self, x: tf.Tensor, trace: bool = False) -> Linearization:
        """The function at `x`: see `Composition`."""
        return linearize(self.function, x, *self.parameters, trace=trace)

    def with_slope(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A pointwise function's value, and each output's derivative in the input it depends on."""
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(x)
            y = self(x)
            copies = tf.split(y, y.shape[-1] // x.shape[-1], axis=-1)
        return y, tf.concat([tape.gradient(copy, x) for copy in copies], -1)


def compose(functions: Sequence[BoundFunction]) -> BoundFunction:
    """`x ↦ f_n(… f_1(x))`, with the parameters of all in order."""
    return BoundFunction(
        Composition([part for function in functions for part in function.parts]),
        tuple(parameter for function in functions for parameter in function.parameters),
    )


def _scaling(slope: tf.Tensor, copies: int) -> Function:
    """The product of a pointwise function: with each output's slope, added up for each input."""
    if copies == 1:
        return lambda w: w * slope
    return lambda w: tf.add_n(tf.split(w * slope, copies, axis=-1))


def _times(a: tf.Tensor | None, b: tf.Tensor | None) -> tf.Tensor | None:
    """The product of two matrices, of which None is the identity."""
    return tf.matmul(a, b) if a is not None and b is not None else a if b is None else b


def _trace(factors: Sequence[tuple[Kind, tf.Tensor, int]], outputs: tf.Tensor) -> tf.Tensor:
    """The trace of a Jacobian, in rows `M₀ D₁ M₁ …`, given the factors from the input on."""
    matrices: list[tf.Tensor | None] = [None]  # None stands for the identity
    slopes: list[tf.Tensor] = []
    for kind, value, copies in factors:
        if kind is Kind.LINEAR:
            matrices[-1] = _times(matrices[-1], value)
            continue
        if copies > 1:
            both = tf.tile(tf.eye(value.shape[-1] // copies, dtype=value.dtype), [1, copies])
            matrices[-1] = _times(matrices[-1], both)
        slopes.append(value)
        matrices.append(None)
    cyclic = _times(matrices[-1], matrices[0]) if slopes else matrices[0]
    if cyclic is None:
        cyclic = tf.eye(outputs.shape[-1], dtype=outputs.dtype)
    if not slopes:
        each = tf.fill(tf.shape(outputs)[:-1], tf.linalg.trace(cyclic))
    elif len(slopes) == 1:
        each = tf.reduce_sum(slopes[0] * tf.linalg.diag_part(cyclic), -1)
    else:
        inner = matrices[1]
        inner = tf.eye(cyclic.shape[0], dtype=cyclic.dtype) if inner is None else inner
        pairs = cyclic * tf.transpose(inner)
        each = tf.reduce_sum(tf.tensordot(slopes[1], pairs, 1) * slopes[0], -1)
    return tf.reduce_sum(each, range(1, each.shape.rank))
