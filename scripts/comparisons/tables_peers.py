"""Densities of scikit-learn, and what every peer is: a fit of standardised rows within a time."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

COMPONENTS = (*range(1, 11), 12, 15, 20, 25, 30, 40, 50)  # of a mixture, in the order of trial
RESTARTS = 3  # of each mixture
BANDWIDTHS = np.geomspace(2, 1 / 16, 16)  # in units of Scott's rule
VALIDATION_ROWS = 1000  # on which a bandwidth is judged, at most


class Fitted(NamedTuple):
    """A density of standardised rows.

    Args:
        log_prob: `[n, d]` → `[n]`, nats.
        cpu_seconds: that the fit took.
        chosen: what validation or a criterion chose, in words.
        steps: of an optimizer; 0 without one.
    """

    log_prob: Callable[[np.ndarray], np.ndarray]
    cpu_seconds: float
    chosen: str
    steps: int = 0


class Budget:
    """Seconds of this process on its core, from now on."""

    def __init__(self, seconds: float):
        self.seconds, self.start = seconds, time.process_time()

    @property
    def elapsed(self) -> float:
        """Seconds that are spent."""
        return time.process_time() - self.start

    @property
    def fraction(self) -> float:
        """The part of the seconds that is spent; above 1 when they are over."""
        return self.elapsed / self.seconds


def gaussian(train: np.ndarray, validation: np.ndarray, seconds: float, seed: int) -> Fitted:
    """Fits a Gaussian with a full covariance: a closed form, whatever the time."""
    budget = Budget(seconds)
    whiten, log_det = _whitening(train)
    constant = log_det - train.shape[1] / 2 * math.log(2 * math.pi)
    spent = budget.elapsed
    return Fitted(lambda x: constant - 0.5 * np.sum(whiten(x) ** 2, axis=1), spent, "")


def mixture(train: np.ndarray, validation: np.ndarray, seconds: float, seed: int) -> Fitted:
    """Fits mixtures of Gaussians with full covariances; BIC chooses the number of components.

    More are tried until the time is over or three trials in a row have a worse BIC. Each trial is
    the best of several restarts.
    """
    from sklearn.mixture import GaussianMixture

    budget = Budget(seconds)
    best, criterion, worse = None, math.inf, 0
    for count in COMPONENTS:
        model = GaussianMixture(count, n_init=RESTARTS, max_iter=500, random_state=seed)
        found = model.fit(train).bic(train)
        if found < criterion:
            best, criterion, worse = model, found, 0
        else:
            worse += 1
        if worse == 3 or budget.fraction > 1 or 4 * count > len(train):
            break
    assert best is not None
    return Fitted(best.score_samples, budget.elapsed, f"{best.n_components} components")


def kde(train: np.ndarray, validation: np.ndarray, seconds: float, seed: int) -> Fitted:
    """Fits a Gaussian kernel density of whitened rows; validation chooses the bandwidth.

    Smaller ones are tried until the time is over or two in a row are worse.
    """
    from sklearn.neighbors import KernelDensity

    budget = Budget(seconds)
    whiten, log_det = _whitening(train)
    rows, judges = whiten(train), whiten(validation[:VALIDATION_ROWS])
    scott = len(train) ** (-1 / (train.shape[1] + 4))
    best, score, worse = None, -math.inf, 0
    for factor in BANDWIDTHS:
        model = KernelDensity(bandwidth=factor * scott, rtol=1e-4).fit(rows)
        found = model.score(judges)
        if found > score:
            best, score, worse = model, found, 0
        else:
            worse += 1
        if worse == 2 or budget.fraction > 1:
            break
    assert best is not None
    chosen, spent = f"bandwidth {best.bandwidth:.3f}", budget.elapsed
    return Fitted(lambda x: best.score_samples(whiten(x)) + log_det, spent, chosen)


def _whitening(
    train: np.ndarray,
) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """A map to rows of unit covariance, and the logarithm of its determinant."""
    mean = train.mean(axis=0)
    factor = np.linalg.cholesky(np.cov(train, rowvar=False))
    inverse = np.linalg.inv(factor).T
    return lambda x: (x - mean) @ inverse, -float(np.log(np.diag(factor)).sum())


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, float, int], Fitted]] = {
    "mixture": mixture,
    "kde": kde,
    "gaussian": gaussian,
}
