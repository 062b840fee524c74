"""The estimators of a log-determinant; `log_det` says which to choose when."""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import tensorflow as tf

from tf_iresnet.numerics import hutch_plus_plus, krylov, probes, truncation
from tf_iresnet.numerics.linalg import log_det_positive
from tf_iresnet.numerics.log_functions import LOG1P, LogFunction
from tf_iresnet.numerics.products import (
    Function,
    inner,
    jacobian,
    linearize,
    tile,
    untile,
)
from tf_iresnet.numerics.trace_series import series

GRADIENTS = ("auto", "neumann", "autodiff")


class LogDet:
    """An estimator: `(g, x, seed, training, lipschitz, function) → g(x), log_det`.

    Args:
        g: pure function `[batch, *event] → [batch, *event]`, `x ↦ g(x)`; with several probes it is
            given as many copies of the batch, one after another.
        x: `[batch, *event]`.
        seed: int32 `[2]`; the same seed gives the same bits.
        training: which of the two phases `Auto` and `gradient="auto"` choose for.
        lipschitz: upper bound on `Lip(g)`, a number below 1.
        function: of `J`, whose trace is meant: `LOG1P` or `LOG_CAYLEY`.

    Returns:
        `g(x)`, and the log-determinant of each example `[batch]`, in nats. A determinant that isn't
        positive, which no contraction has, comes out of `Exact` as NaN or −inf. Where truncation is
        being gathered (`numerics.truncation`), what the value may lack for that reason is reported.
    """

    name: ClassVar[str]

    def __call__(
        self,
        g: Function,
        x: tf.Tensor,
        seed: tf.Tensor,
        training: bool = False,
        lipschitz: float = 1.0,
        function: LogFunction = LOG1P,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        raise TypeError(
            f"{type(self).__name__} is an interface; choose an estimator of tf_iresnet.log_det."
        )

    def is_random(self, event_size: int, training: bool = False) -> bool:
        """Whether another seed gives another value, for events of that many dimensions."""
        del event_size, training
        return True


@dataclasses.dataclass(frozen=True)
class Exact(LogDet):
    """The Jacobian by `d` products and an exact determinant; any derivative of it is exact too."""

    name: ClassVar[str] = "exact"

    def __call__(self, g, x, seed, training=False, lipschitz=1.0, function=LOG1P):
        outputs, product, _ = linearize(g, x)
        matrix = jacobian(product, x)
        eye = tf.eye(matrix.shape[-1], dtype=x.dtype)
        return outputs, tf.add_n(
            [w * log_det_positive(eye + s * matrix) for w, s in function.terms]
        )

    def is_random(self, event_size, training=False):
        return False


@dataclasses.dataclass(frozen=True)
class Probing(LogDet):
    """What the estimators share that average `vᵀ f(J) v` over probes `v`.

    Args:
        probes: how many probe vectors an example, folded into the batch.
        probe: "rademacher", which makes least noise; "gaussian"; or "orthogonal": of several, each
            at a right angle to the others, which makes less than independent Gaussian ones.
        gradient: "neumann": an unbiased estimate of the exact gradient at the cost of one product,
            with memory that doesn't grow with the number of products; it is not the derivative of
            the returned value at this seed. "autodiff": exactly that derivative, memory in
            proportion to the products. "auto": the first in training, the second otherwise.
        exact_trace: whether `tr J`, the first term and most of the noise, is taken exactly where
            the branch allows it at less than an evaluation: dense layers with at most two pointwise
            activations between them.
    """

    probes: int = dataclasses.field(default=1, kw_only=True)
    probe: str = dataclasses.field(default="rademacher", kw_only=True)
    gradient: str = dataclasses.field(default="auto", kw_only=True)
    exact_trace: bool = dataclasses.field(default=True, kw_only=True)

    def __post_init__(self):
        _check_positive(probes=self.probes)
        probes.check(self.probe)
        if self.gradient not in GRADIENTS:
            raise ValueError(
                f"Expected gradient to be one of {GRADIENTS}. Received: gradient={self.gradient!r}"
            )

    def __call__(self, g, x, seed, training=False, lipschitz=1.0, function=LOG1P):
        outputs, product, trace = linearize(g, tile(x, self.probes), trace=self.exact_trace)
        seed_probe, seed_terms = tf.unstack(
            tf.random.experimental.stateless_split(seed, 2, alg=probes.ALGORITHM)
        )
        probe = probes.draw(self.probe, x, self.probes, seed_probe)
        value, adjoint, bound = self._estimate(product, probe, seed_terms, lipschitz, function)
        truncation.report(lambda most: self._mean(bound(most)), lipschitz)
        first = 0.0
        if trace is not None:
            # Of f(J) = a₁J + …, in place of what the probe makes of the first term.
            first = function.slope(0, probe.dtype)
            value -= first * inner(product(probe), probe)
        autodiff = self.gradient == "autodiff" or (self.gradient == "auto" and not training)
        if not autodiff:
            # The difference of two equal numbers carries the gradient of ⟨a, J v⟩, a held constant.
            carrier = inner(product(tf.stop_gradient(adjoint() - first * probe)), probe)
            value = tf.stop_gradient(value) + (carrier - tf.stop_gradient(carrier))
        if trace is not None:
            value += first * tf.cast(trace, value.dtype)
        return untile(outputs, self.probes)[0], self._mean(value)

    def _mean(self, values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(untile(values, self.probes), axis=0)

    def _estimate(
        self,
        product: Function,
        probe: tf.Tensor,
        seed: tf.Tensor,
        lipschitz: float,
        function: LogFunction,
    ) -> tuple[tf.Tensor, Callable[[], tf.Tensor], Callable[[float], tf.Tensor]]:
        """`vᵀ f(J) v` of each probe; what gives `f′(Jᵀ) v`, and what may be cut off for a bound."""
        raise TypeError(f"{type(self).__name__} must define _estimate()")


@dataclasses.dataclass(frozen=True)
class PowerSeries(Probing):
    """The first terms of `ln det(I+J) = Σ_k (−1)^{k+1} tr(Jᵏ)/k`, traces by Hutchinson's estimator.

    Args:
        terms: how many.
        probes, probe, gradient, exact_trace: as in `Probing`.
    """

    terms: int = 10
    name: ClassVar[str] = "power_series"

    def __post_init__(self):
        _check_positive(terms=self.terms)
        super().__post_init__()

    def _estimate(self, product, probe, seed, lipschitz, function):
        value, adjoint, last = series(product, probe, function, self.terms, lambda k: 1.0)

        def bound(lipschitz):
            # What the next powers can make of the last product. If L is 0, so is that.
            rate = function.tail(lipschitz, self.terms) / max(lipschitz, 1e-30) ** self.terms
            return rate * tf.sqrt(inner(last, last) * inner(probe, probe))

        return value, lambda: adjoint, bound


@dataclasses.dataclass(frozen=True)
class RussianRoulette(Probing):
    """The series cut at a random term, reweighted so that its mean is the whole series.

    `exact_terms` are always there, then `N` more with `P(N ≥ j) = survivalʲ`, each divided by its
    probability. `N` is drawn for each block from the seed, one for all examples of the batch.

    The variance is finite for every `survival q > L²`: the j-th further term is at most `C Lʲ` and
    its weight `q⁻ʲ 1[N ≥ j]` has second moment `q⁻ʲ`, so by Minkowski's inequality the standard
    deviation of the sum is at most `C Σ_j (L/√q)ʲ < ∞`. The default follows the block's bound and
    so always satisfies that. With a `survival` given at or below `L²` (the papers' ½ is) it
    may be infinite; it is finite as long as the Jacobian's own norm stays below `√q`.

    Args:
        exact_terms: terms that are always computed.
        survival: chance of each further term, below 1. None: `(1 + L²)/2`, from the block's bound.
        probes, probe, gradient, exact_trace: as in `Probing`.
    """

    exact_terms: int = 2
    survival: float | None = None
    name: ClassVar[str] = "russian_roulette"

    def __post_init__(self):
        _check_positive(exact_terms=self.exact_terms)
        if self.survival is not None and not 0 < self.survival < 1:
            raise ValueError(
                "Expected survival to lie between 0 and 1, or None. "
                f"Received: survival={self.survival}"
            )
        super().__post_init__()

    def _estimate(self, product, probe, seed, lipschitz, function):
        survival = self.survival_at(lipschitz)
        # The roulette stops here: one draw in 10⁸ would go on, and XLA needs a bound.
        most = math.ceil(math.log(1e-8) / math.log(survival))
        uniform = probes.uniform([], seed, tf.float32)
        extra = tf.cast(tf.math.log(uniform) / math.log(survival), tf.int32)
        terms = self.exact_terms + tf.minimum(extra, most)

        def weight(k):
            return survival ** -tf.cast(tf.maximum(k - self.exact_terms, 0), probe.dtype)

        most += self.exact_terms
        value, adjoint, _ = series(product, probe, function, terms, weight, most)
        return (
            value,
            lambda: adjoint,
            lambda lipschitz: function.tail(lipschitz, most) * inner(probe, probe),
        )

    def survival_at(self, lipschitz: float) -> float:
        """`survival`, or what is chosen for a block of that bound."""
        return (1 + min(lipschitz, 0.999) ** 2) / 2 if self.survival is None else self.survival


@dataclasses.dataclass(frozen=True)
class Krylov(Probing):
    """Arnoldi's process from the probe: of all that `n` products can say, the best (`krylov`).

    With `n` products it is exact for polynomials of degree `n`, as the series of `n` terms is, and
    what it makes of the rest is fitted to the Jacobian at hand. On the trained digits flow 8
    products leave out 1e-4 nats, 8 terms of the series 0.1 and 20 terms 2e-3. It keeps `n + 1`
    vectors an example and takes about `n²` of their inner products.

    Args:
        steps: how many products; with a `tolerance`, how many at most.
        tolerance: nats; an example takes no further step once two have changed its value by no more
            than this each. What is missing then is usually less; the proven bound may be more.
        probes, probe, gradient, exact_trace: as in `Probing`.
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
        return (
            space.value,
            lambda: tf.reshape(krylov.adjoint(space, function), tf.shape(probe)),
            lambda proven: krylov.truncation(space, function, lipschitz, proven),
        )


@dataclasses.dataclass(frozen=True)
class HutchPlusPlus(LogDet):
    """Hutch++: the trace on the range of `f(J)` exactly, what is left of it by random probes.

    A third of the probes finds a basis `Q` of where `f(J)` is large, a third takes the trace there
    and the rest estimates the remainder. The variance falls like `1/probes²` where `f(J)` has few
    large singular values, and is that of `probes/3` plain ones where it has not (Meyer et al.,
    arXiv 2010.09649, algorithm 1). `f(J)` acts by Krylov spaces. For evaluation;
    gradients are those of the value.

    Args:
        probes: how many, at least 3; of no use beyond the number of dimensions.
        steps: products for each.
    """

    probes: int = 12
    steps: int = 8
    name: ClassVar[str] = "hutch++"

    def __post_init__(self):
        _check_positive(probes=self.probes, steps=self.steps)
        if self.probes < 3:
            raise ValueError(f"Expected at least 3 probes. Received: probes={self.probes}")

    def __call__(self, g, x, seed, training=False, lipschitz=1.0, function=LOG1P):
        outputs, product, _ = linearize(g, tile(x, self.probes // 3))
        value, bound = hutch_plus_plus.trace(
            product, x, self.probes // 3, self.steps, seed, function, lipschitz
        )
        truncation.report(bound, lipschitz)
        return untile(outputs, self.probes // 3)[0], value


def _check_positive(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"Expected {name} to be an integer ≥ 1. Received: {name}={value!r}")
