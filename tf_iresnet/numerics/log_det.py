"""Estimators of `ln det(I + J)`, `J = dg/dx`, for a contraction `g` (`‖J‖₂ ≤ L < 1`).

| choose | when | products | error |
|---|---|---|---|
| `Exact()` | few dimensions, or a final figure | d | round-off |
| `PowerSeries(n)` | a fixed cost and a known bias | n | `truncation_bound`, probe noise |
| `RussianRoulette()` | training without bias | random | probe and roulette noise |
| `Auto()` | you don't want to choose | | the above, by size and phase |

A *product* is one vector-Jacobian product; all of them share one evaluation of `g`. The estimators
take `g` as a function of `x` alone and return its value together with the log-determinant:

    outputs, log_det = PowerSeries(10)(g, x, seed)

Sources: i-ResNet, arXiv 1811.00995, eq. 4 and 5 (series and Hutchinson's estimator); Residual
Flows, arXiv 1906.02735, eq. 6 and 8 (roulette and Neumann gradient).
"""

import dataclasses
import math
from typing import Any, ClassVar

import tensorflow as tf

from tf_iresnet.numerics import probes
from tf_iresnet.numerics.linalg import log_det_positive
from tf_iresnet.numerics.trace_series import (
    Function,
    average_over_probes,
    evaluate,
    identity_plus_jacobian,
)

GRADIENTS = ("auto", "neumann", "autodiff")


class LogDet:
    """An estimator: `(g, x, seed, training, lipschitz) → g(x), log_det`.

    Args:
        g: pure function `[batch, *event] → [batch, *event]`, `x ↦ g(x)`.
        x: `[batch, *event]`.
        seed: int32 `[2]`; the same seed gives the same bits.
        training: which of the two phases `Auto` and `gradient="auto"` choose for.
        lipschitz: upper bound on `Lip(g)`, a number below 1.

    Returns:
        `g(x)`, and the log-determinant of each example `[batch]`, in nats. A determinant that isn't
        positive, which no contraction has, comes out of `Exact` as NaN or −inf.
    """

    name: ClassVar[str]

    def __call__(
        self,
        g: Function,
        x: tf.Tensor,
        seed: tf.Tensor,
        training: bool = False,
        lipschitz: float = 1.0,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        raise TypeError(
            f"{type(self).__name__} is an interface; choose one of {sorted(ESTIMATORS)}"
        )

    def truncation_bound(self, lipschitz: float, event_size: int) -> float:
        """Bound on the bias of one block's value in nats: 0 where the estimator has none."""
        del lipschitz, event_size
        return 0.0


def series_truncation_bound(lipschitz: float, event_size: int, terms: int) -> float:
    """`d·Σ_{k>n} Lᵏ/k = −d·(ln(1 − L) + Σ_{k≤n} Lᵏ/k)`, nats (arXiv 1811.00995, theorem 3)."""
    if lipschitz >= 1.0:
        return math.inf
    # Summed from its first term: the difference on the right loses all digits when it is small.
    total, k = 0.0, terms + 1
    power = lipschitz**k
    while power / k > 1e-17 * total and power > 0.0:
        total += power / k
        k += 1
        power *= lipschitz
    return event_size * total


@dataclasses.dataclass(frozen=True)
class Exact(LogDet):
    """The Jacobian by `d` products and an exact determinant; any derivative of it is exact too."""

    name: ClassVar[str] = "exact"

    def __call__(self, g, x, seed, training=False, lipschitz=1.0):
        outputs, product = evaluate(g, x)
        return outputs, log_det_positive(identity_plus_jacobian(product, x))


@dataclasses.dataclass(frozen=True)
class PowerSeries(LogDet):
    """The first terms of `ln det(I+J) = Σ_k (−1)^{k+1} tr(Jᵏ)/k`, traces by Hutchinson's estimator.

    Args:
        terms: how many; `truncation_bound` says what is missing.
        probes: how many independent probe vectors are averaged.
        probe: "rademacher" or "gaussian".
        gradient: "neumann": an unbiased estimate of the exact gradient at the cost of one product,
            with memory that doesn't grow with `terms`; it is not the derivative of the returned
            value at this seed. "autodiff": exactly that derivative, memory in proportion to
            `terms`. "auto": the first in training, the second otherwise.
    """

    terms: int = 10
    probes: int = 1
    probe: str = "rademacher"
    gradient: str = "auto"
    name: ClassVar[str] = "power_series"

    def __post_init__(self):
        _check_positive(terms=self.terms)
        _check_common(self)

    def __call__(self, g, x, seed, training=False, lipschitz=1.0):
        return average_over_probes(
            self, g, x, seed, training, lambda _: (self.terms, lambda k: 1.0)
        )

    def truncation_bound(self, lipschitz, event_size):
        return series_truncation_bound(lipschitz, event_size, self.terms)


@dataclasses.dataclass(frozen=True)
class RussianRoulette(LogDet):
    """The series cut at a random term, reweighted so that its mean is the whole series.

    `exact_terms` are always there, then `N` more with `P(N ≥ j) = survivalʲ`, each divided by its
    probability. The variance is finite only for `survival > L²`: the terms shrink like `Lᵏ`, their
    weights grow like `survival⁻ᵏ`. `N` is drawn for each block from the seed.

    Args:
        exact_terms: terms that are always computed.
        survival: chance of each further term, below 1. None: `(1 + L²)/2`, from the block's bound.
        probes, probe, gradient: as in `PowerSeries`.
    """

    exact_terms: int = 2
    survival: float | None = None
    probes: int = 1
    probe: str = "rademacher"
    gradient: str = "auto"
    name: ClassVar[str] = "russian_roulette"

    def __post_init__(self):
        _check_positive(exact_terms=self.exact_terms)
        if self.survival is not None and not 0 < self.survival < 1:
            raise ValueError(
                "Expected survival to lie between 0 and 1, or None. "
                f"Received: survival={self.survival}"
            )
        _check_common(self)

    def __call__(self, g, x, seed, training=False, lipschitz=1.0):
        survival = self._survival(lipschitz)
        most = self._most(survival)

        def schedule(seed):
            uniform = probes.uniform([], seed, tf.float32)
            extra = tf.cast(tf.math.log(uniform) / math.log(survival), tf.int32)
            terms = self.exact_terms + tf.minimum(extra, most)
            return (
                terms,
                lambda k: survival ** -tf.cast(tf.maximum(k - self.exact_terms, 0), x.dtype),
            )

        return average_over_probes(self, g, x, seed, training, schedule, self.exact_terms + most)

    def _survival(self, lipschitz: float) -> float:
        return (1 + min(lipschitz, 0.999) ** 2) / 2 if self.survival is None else self.survival

    @staticmethod
    def _most(survival: float) -> int:
        """The roulette stops here: one draw in 10⁸ would go on, and XLA needs a bound."""
        return math.ceil(math.log(1e-8) / math.log(survival))

    def truncation_bound(self, lipschitz, event_size):
        most = self._most(self._survival(lipschitz))
        return series_truncation_bound(lipschitz, event_size, self.exact_terms + most)


@dataclasses.dataclass(frozen=True)
class Auto(LogDet):
    """One estimator in training, where noise averages out, another where figures are quoted.

    Args:
        training: an estimator, or None: `Exact` up to three dimensions, where the products cost
            less than noise, otherwise `RussianRoulette`.
        evaluation: an estimator, or None: `Exact` up to 128 dimensions, otherwise 20 terms of the
            series.
    """

    training: LogDet | None = None
    evaluation: LogDet | None = None
    name: ClassVar[str] = "auto"

    def __post_init__(self):
        for phase in ("training", "evaluation"):
            if getattr(self, phase) is not None:
                object.__setattr__(self, phase, get(getattr(self, phase)))

    def resolve(self, event_size: int, training: bool) -> LogDet:
        """The estimator that is used."""
        if training:
            return self.training or (Exact() if event_size <= 3 else RussianRoulette())
        return self.evaluation or (Exact() if event_size <= 128 else PowerSeries(20))

    def __call__(self, g, x, seed, training=False, lipschitz=1.0):
        estimator = self.resolve(math.prod(x.shape[1:]), training)
        return estimator(g, x, seed, training, lipschitz)

    def truncation_bound(self, lipschitz, event_size):
        return self.resolve(event_size, training=False).truncation_bound(lipschitz, event_size)


ESTIMATORS: dict[str, type[LogDet]] = {
    cls.name: cls for cls in (Exact, PowerSeries, RussianRoulette, Auto)
}


def get(identifier: str | dict[str, Any] | LogDet) -> LogDet:
    """The estimator for an instance, a name such as "exact", or what `serialize` returned."""
    if isinstance(identifier, LogDet):
        return identifier
    settings = {"name": identifier} if isinstance(identifier, str) else dict(identifier)
    name = settings.pop("name", None)
    if name not in ESTIMATORS:
        raise ValueError(
            f"Expected log_det to be an estimator or one of {sorted(ESTIMATORS)}. "
            f"Received: log_det={identifier!r}"
        )
    return ESTIMATORS[name](**settings)


def serialize(estimator: LogDet) -> dict[str, Any]:
    """The JSON form of an estimator; `get` reads it."""
    settings = vars(estimator).items()
    return {
        "name": estimator.name,
        **{key: serialize(v) if isinstance(v, LogDet) else v for key, v in settings},
    }


def _check_positive(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"Expected {name} to be an integer ≥ 1. Received: {name}={value!r}")


def _check_common(estimator: Any) -> None:
    _check_positive(probes=estimator.probes)
    probes.get(estimator.probe)
    if estimator.gradient not in GRADIENTS:
        raise ValueError(
            f"Expected gradient to be one of {GRADIENTS}. Received: gradient={estimator.gradient!r}"
        )
