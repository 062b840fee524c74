"""Estimators of `ln det(I + J)`, `J = dg/dx`, for a contraction `g` (`‖J‖₂ ≤ L < 1`).

| choose | when | products | error |
|---|---|---|---|
| `Exact()` | few dimensions, or a final figure | d | round-off |
| `Krylov(n)` | a value or gradient at the least cost | n | proven, small; probe noise |
| `PowerSeries(n)` | a cheap training step; comparing with papers | n | proven; probe noise |
| `RussianRoulette()` | training without bias | random | probe and roulette noise |
| `Auto()` | you don't want to choose | | the above, by size and phase |

A *product* is one vector-Jacobian product; all of them share one evaluation of `g`. An estimator
takes `g` as a `BoundFunction` and returns its value together with the log-determinant:

    outputs, log_det, truncation = PowerSeries(10)(g, x, seed)

The trace of `J` itself, most of a probe's noise, is exact where `g` knows it (`exact_trace`).
`function=LOG_CAYLEY` makes it `ln det(I − J) − ln det(I + J)`.

Sources: i-ResNet, arXiv 1811.00995, eq. 4 and 5 (series and Hutchinson's estimator); Residual
Flows, arXiv 1906.02735, eq. 6 and 8 (roulette and Neumann gradient).
"""

import dataclasses
import math
from typing import Any, ClassVar

from tf_iresnet.numerics.estimators import (
    Exact,
    Krylov,
    LogDet,
    LogDetEstimate,
    PowerSeries,
    RussianRoulette,
)
from tf_iresnet.numerics.log_functions import LOG1P

__all__ = ["Auto", "Exact", "Krylov", "LogDet", "LogDetEstimate", "PowerSeries"]
__all__ += ["RussianRoulette", "get"]


@dataclasses.dataclass(frozen=True)
class Auto(LogDet):
    """One estimator in training, where noise averages out, another where figures are quoted.

    Args:
        training: by default `Exact` up to three dimensions, where products cost less than noise,
            else `RussianRoulette`.
        evaluation: by default `Exact` up to 128 dimensions, else `Krylov` to 1e-4 nats per block.
    """

    training: LogDet | None = None
    evaluation: LogDet | None = None
    name: ClassVar[str] = "auto"

    def __post_init__(self):
        for phase in ("training", "evaluation"):
            if getattr(self, phase) is not None:
                object.__setattr__(self, phase, get(getattr(self, phase)))

    def resolve(self, event_size, training):
        if training:
            chosen = self.training or (Exact() if event_size <= 3 else RussianRoulette())
        else:
            default = Exact() if event_size <= 128 else Krylov(24, tolerance=1e-4)
            chosen = self.evaluation or default
        return chosen.resolve(event_size, training)

    def __call__(self, g, x, seed, training=False, lipschitz=1.0, proven=0.0, function=LOG1P):
        estimator = self.resolve(math.prod(x.shape[1:]), training)
        return estimator(g, x, seed, training, lipschitz, proven, function)


def get(identifier: str | dict[str, Any] | LogDet) -> LogDet:
    """The estimator for an instance, a name such as "exact", or what `serialize` returned."""
    if isinstance(identifier, LogDet):
        return identifier
    settings = {"name": identifier} if isinstance(identifier, str) else dict(identifier)
    name = settings.pop("name", None)
    if name not in LogDet.registry:
        raise ValueError(
            f"Expected log_det to be an estimator or one of {sorted(LogDet.registry)}. "
            f"Received: log_det={identifier!r}"
        )
    return LogDet.registry[name](**settings)


def serialize(estimator: LogDet) -> dict[str, Any]:
    """The JSON form of an estimator; `get` reads it."""
    values = vars(estimator).items()
    settings = {key: serialize(v) if isinstance(v, LogDet) else v for key, v in values}
    return {"name": estimator.name, **settings}
