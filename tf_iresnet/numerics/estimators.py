"""The estimators of a log-determinant; `log_det` says which to choose when."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics import krylov, probes
from tf_iresnet.numerics.bound_function import BoundFunction, Function, inner
from tf_iresnet.numerics.jacobian import jacobian, rows_together
from tf_iresnet.numerics.linalg import log_det_positive
from tf_iresnet.numerics.log_functions import LOG1P, LogFunction
from tf_iresnet.numerics.trace_series import Quadratic, series

GRADIENTS = ("auto", "neumann", "autodiff")


class LogDetEstimate(NamedTuple):
    """What an estimator returns.

    Attributes:
        outputs: `g(x)`.
        log_det: `[batch]` nats. `Exact` gives NaN or −inf for a determinant that isn't positive,
            which no contraction has.
        truncation: `[batch]` nats, a proven bound on what a series leaves out; 0 in training.
    """

    outputs: tf.Tensor
    log_det: tf.Tensor
    truncation: tf.Tensor


class LogDet:
    """An estimator of `tr f(J)`; wherever one is expected, its `name` will do.

    Call arguments:
        g: `BoundFunction` `[batch, *event] → [batch, *event]`.
        x: `[batch, *event]`.
        seed: int32 `[2]`; the same seed gives the same bits.
        training: which of the two phases `Auto` and `gradient="auto"` choose for.
        lipschitz: upper bound on `Lip(g)` that the estimator may rely on, a number below 1.
        proven: a scalar; the truncation bound holds if `Lip(g)` is at most the larger of the two.
        function: `f`, `LOG1P` or `LOG_CAYLEY`.
    """

    name: ClassVar[str] = ""
    is_random: ClassVar[bool] = True  # whether another seed gives another value
    registry: ClassVar[dict[str, type["LogDet"]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name:
            LogDet.registry[cls.name] = cls

    def __call__(
        self,
        g: BoundFunction,
        x: tf.Tensor,
        seed: tf.Tensor,
        training: bool = False,
        lipschitz: float = 1.0,
        proven: float | tf.Tensor = 0.0,
        function: LogFunction = LOG1P,
    ) -> LogDetEstimate:
        raise TypeError(f"{type(self).__name__} is an interface; choose one of tf_iresnet.log_det.")

    def resolve(self, event_size: int, training: bool) -> "LogDet":
        """The estimator that is used for events of that many dimensions."""
        return self


@dataclasses.dataclass(frozen=True)
class Exact(LogDet):
    """The Jacobian by `d` products and an exact determinant; any derivative of it is exact too."""

    name: ClassVar[str] = "exact"
    is_random: ClassVar[bool] = False

    def __call__(self, g, x, seed, training=False, lipschitz=1.0, proven=0.0, function=LOG1P):
        outputs, product, _ = g.linearize(x, rows_together(x))
        matrix = jacobian(product, x)
        eye = tf.eye(matrix.shape[-1], dtype=x.dtype)
        log_det = tf.add_n([w * log_det_positive(eye + s * matrix) for w, s in function.terms])
        return LogDetEstimate(outputs, log_det, tf.zeros_like(log_det))


@dataclasses.dataclass(frozen=True)
class Probing(LogDet):
    """The base of estimators that average `vᵀ f(J) v` over random probes `v`.

    Args:
        probes: number of probe vectors for each example, folded into the batch.
        probe: "rademacher", the least noisy; "gaussian"; or "orthogonal", less noisy than several
            independent Gaussian ones.
        gradient: "neumann": an unbiased estimate of the exact gradient at the cost of one product,
            with memory that doesn't grow with the number of products; it is not the derivative of
            the returned value at this seed. "autodiff": exactly that derivative, with memory in
            proportion to the products. "auto": the first in training, the second otherwise.
        exact_trace: whether `tr J`, the first term and most of the noise, is computed exactly where
            the branch allows it at less than an evaluation: dense layers with at most two pointwise
            activations between them.
    """

    probes: int = dataclasses.field(default=1, kw_only=True)
    probe: str = dataclasses.field(default="rademacher", kw_only=True)
    gradient: str = dataclasses.field(default="auto", kw_only=True)
    exact_trace: bool = dataclasses.field(default=True, kw_only=True)

    def __post_init__(self):
        _check_positive(probes=self.probes)
        for name, choices in (("probe", probes.NAMES), ("gradient", GRADIENTS)):
            if (value := getattr(self, name)) not in choices:
                expected = f"Expected {name} to be one of {choices}."
                raise ValueError(f"{expected} Received: {name}={value!r}")

    def __call__(self, g, x, seed, training=False, lipschitz=1.0, proven=0.0, function=LOG1P):
        outputs, product, trace = g.linearize(x, self.probes, self.exact_trace)
        seeds = probes.split(seed, 2)
        probe = probes.draw(self.probe, x, self.probes, seeds[0])
        found, tail = self._estimate(product, probe, seeds[1], lipschitz, function)
        value, first, adjoint = found
        if trace is not None:
            # Of f(J) = a₁J + …, in place of what the probe makes of the first term.
            slope = function.derivative_coefficient(0, probe.dtype)
            value, adjoint = value - slope * first, adjoint - slope * probe
        if self.gradient == "neumann" or (self.gradient == "auto" and training):
            # The difference of two equal numbers carries the gradient of ⟨a, J v⟩, a held constant.
            carrier = inner(product(tf.stop_gradient(adjoint)), probe)
            value = tf.stop_gradient(value) + (carrier - tf.stop_gradient(carrier))
        log_det = self._mean(value)
        truncation = tf.zeros_like(log_det)
        if not training:
            bound = tf.maximum(tf.cast(proven, x.dtype), lipschitz)
            truncation = tf.stop_gradient(self._mean(tail(bound)))
        if trace is not None:
            log_det += slope * tf.cast(trace, value.dtype)
        return LogDetEstimate(outputs, log_det, truncation)

    def _mean(self, values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.reshape(values, [self.probes, -1]), axis=0)

    def _estimate(
        self, product: Function, probe: Any, seed: Any, lipschitz: float, function: LogFunction
    ) -> tuple[Quadratic, Callable[[tf.Tensor], tf.Tensor]]:
        """`vᵀ f(J) v` of each probe, and a bound on what it leaves out, given one on `Lip(g)`."""
        raise TypeError(f"{type(self).__name__} must define _estimate()")


@dataclasses.dataclass(frozen=True)
class PowerSeries(Probing):
    """The first terms of `ln det(I+J) = Σ_k (−1)^{k+1} tr(Jᵏ)/k`, traces by Hutchinson's estimator.

    Args:
        terms: number of terms.
        probes, probe, gradient, exact_trace: see `Probing`.
    """

    terms: int = 10
    name: ClassVar[str] = "power_series"

    def __post_init__(self):
        _check_positive(terms=self.terms)
        super().__post_init__()

    def _estimate(self, product, probe, seed, lipschitz, function):
        found, last = series(product, probe, function, self.terms, lambda k: 1.0)

        def tail(bound: tf.Tensor) -> tf.Tensor:
            """What the next powers can make of the last product."""
            sizes = _norm(last) * _norm(probe)
            return tf.math.multiply_no_nan(function.tail(bound, self.terms), sizes)

        return found, tail


@dataclasses.dataclass(frozen=True)
class RussianRoulette(Probing):
    """The series cut at a random term, reweighted so that its mean is the whole series.

    After `exact_terms` come `N` more with `P(N ≥ j) = survivalʲ`, each divided by its probability.
    `N` is drawn for each block from the seed, one for all examples of the batch.

    The variance is finite for every `survival q > L²`: the j-th further term is at most `C Lʲ` and
    its weight `q⁻ʲ 1[N ≥ j]` has second moment `q⁻ʲ`, so by Minkowski's inequality the standard
    deviation of the sum is at most `C Σ_j (L/√q)ʲ`. At or below `L²`, where the papers' ½ lies, it
    is finite as long as the Jacobian's own norm stays below `√q`, and may be infinite beyond.

    Args:
        exact_terms: number of terms that are always computed.
        survival: probability of each further term, below 1. None: `(1 + L²)/2` for the block's `L`.
        probes, probe, gradient, exact_trace: see `Probing`.
    """

    exact_terms: int = 2
    survival: float | None = None
    name: ClassVar[str] = "russian_roulette"

    def __post_init__(self):
        _check_positive(exact_terms=self.exact_terms)
        if self.survival is not None and not 0 < self.survival < 1:
            expected = "Expected survival to lie between 0 and 1, or None."
            raise ValueError(f"{expected} Received: survival={self.survival}")
        super().__post_init__()

    def _estimate(self, product, probe, seed, lipschitz, function):
        # N ≥ j if a number drawn from 2²⁴ lies below the j-th of these; the last is at least 1.
        survival = self.survival_at(lipschitz)
        longest = int(24 * math.log(2) / -math.log(survival))
        limits = np.maximum(np.floor(2.0**24 * survival ** np.arange(longest + 1)), 1)
        drawn = probes.integers([], seed, 2**24)
        further = tf.math.count_nonzero(drawn < limits.astype(np.int32)[1:], dtype=tf.int32)
        weights = tf.constant(2.0**24 / limits, probe.dtype)  # exactly one over the probability

        def weight(k):
            return tf.gather(weights, tf.maximum(k - self.exact_terms, 0))

        most = self.exact_terms + longest
        found, _ = series(product, probe, function, self.exact_terms + further, weight, most)
        return found, lambda bound: bound**most * function.tail(bound, most) * inner(probe, probe)

    def survival_at(self, lipschitz: float) -> float:
        """`survival`, or the one chosen for a block with that bound."""
        return (1 + min(lipschitz, 0.999) ** 2) / 2 if self.survival is None else self.survival


@dataclasses.dataclass(frozen=True)
class Krylov(Probing):
    """Arnoldi's process from the probe, which makes the most of `n` products (see `krylov`).

    With `n` products it is exact for polynomials of degree `n`, as the series of `n` terms is, and
    its remainder is fitted to the Jacobian at hand: on the trained digits flow 8 products leave out
    5e-4 nats, 8 terms of the series 0.3 and 20 terms 2e-2. It keeps `n + 1` vectors for each
    example and takes about `n²` of their inner products.

    Args:
        steps: number of products; with a `tolerance`, at most so many.
        tolerance: nats; an example takes no further step once two have changed its value by no more
            than this each. What is missing then is usually less; the proven bound may be more.
        probes, probe, gradient, exact_trace: see `Probing`.
    """

    steps: int = 8
    tolerance: float | None = None
    name: ClassVar[str] = "krylov"

    def __post_init__(self):
        _check_positive(steps=self.steps)
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(
                f"Expected tolerance > 0 nats, or None. Received: tolerance={self.tolerance}"
            )
        super().__post_init__()

    def _estimate(self, product, probe, seed, lipschitz, function):
        steps = min(self.steps, math.prod(probe.shape[1:]))  # as many are exact
        space = krylov.span(product, probe, steps, self.tolerance, function, lipschitz)
        adjoint = tf.reshape(krylov.adjoint(space, function), tf.shape(probe))
        found = Quadratic(space.value, space.norm**2 * space.hessenberg[:, 0, 0], adjoint)
        return found, lambda bound: krylov.truncation(space, function, lipschitz, bound)


def _norm(v: tf.Tensor) -> tf.Tensor:
    """`‖v‖` of each example, `[batch]`, also where the squares underflow."""
    largest = tf.reduce_max(tf.abs(v), range(1, v.shape.rank), keepdims=True)
    scaled = tf.math.divide_no_nan(v, largest)
    return tf.reshape(largest, [-1]) * tf.sqrt(inner(scaled, scaled))


def _check_positive(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"Expected {name} to be an integer ≥ 1. Received: {name}={value!r}")
