"""Maps of single variables to the standard normal distribution, fitted to data.

Marginal Gaussianisation (Chen and Gopinath 2000, "Gaussianization"): the knots of a spline are
quantiles, its values there the normal distribution's. How the tails are warped and how many knots
there are is decided for each variable by cross-validated likelihood, so that few rows get smooth
maps.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics.marginals import Marginal, forward, pack

PIECES = (0, 4, 8, 16, 32)  # of a spline; 0 is a straight line
FOLDS = 5
_SELECTION_ROWS = 4000  # more change no choice, and take longer
_FITTED_ROWS = 100_000
_ROWS_PER_PIECE = 8  # at least
_SMOOTHED_ROWS = 5000  # above, quantiles are smooth enough by themselves
_TAIL_ROWS = 4  # beyond the first and the last knot, at least
_NEAREST = 1e-4  # of the distance from a bound to the median
_WEIGHT_OF_NEIGHBOUR = 4.0  # in rows: how much a tail's slope is drawn to that of the piece beside

Support = tuple[float | None, float | None]


def fit_marginals(
    x: np.ndarray,
    supports: Sequence[Support] | None = None,
    edges: Sequence[Sequence[float]] | None = None,
) -> list[Marginal]:
    """Returns a map for each variable, by which the rows are about standard normal.

    The choice is by the mean log-density of rows left out, in 5 folds of 4,000 rows at most: the
    simplest map that isn't worse than the best one by more than a standard error of their
    difference. It is a function of the rows alone.

    Args:
        x: finite `[n, d]`, at least 10 rows.
        supports: lowest and highest value that each variable can take, None where there is no such
            bound; they offer logarithms and logits.
        edges: where the density of a variable jumps, such as the ends of an atom's cell: knots.
    """
    x = np.asarray(x, np.float64)
    n, d = x.shape
    supports = supports or [(None, None)] * d
    edges = edges or [()] * d
    x = x[np.random.RandomState(0).permutation(n)[:_FITTED_ROWS]]
    few = x[:_SELECTION_ROWS]
    warps = [_warps(*pair) for pair in zip(few.T, supports, strict=True)]
    pieces = [p for p in PIECES if p * _ROWS_PER_PIECE <= len(few)]
    scores = _cross_validate(few, warps, pieces, edges)
    marginals = []
    for i, column in enumerate(x.T):
        place, index = _simplest(scores[: len(warps[i]), :, i])
        marginals.append(_fit(np.sort(column), warps[i][place], pieces[index], edges[i]))
    return marginals


def _cross_validate(
    x: np.ndarray,
    warps: list[list[Marginal]],
    pieces: list[int],
    edges: Sequence[Sequence[float]],
) -> np.ndarray:
    """Log-densities of left-out rows, `[warps, pieces, d, n]`.

    Of a variable with fewer warps than others, the last one's are repeated.
    """
    most = max(map(len, warps))
    scores = np.empty((most, len(pieces), x.shape[1], len(x)))
    part = np.arange(len(x)) % FOLDS
    for fold in range(FOLDS):
        train, rest = np.sort(x[part != fold], axis=0), tf.constant(x[part == fold].T)
        for place, index in itertools.product(range(most), range(len(pieces))):
            marginals = [
                _fit(column, found[min(place, len(found) - 1)], pieces[index], own)
                for column, found, own in zip(train.T, warps, edges, strict=True)
            ]
            y, log_slope = forward(pack(marginals), rest)
            scores[place, index][:, part == fold] = log_slope - 0.5 * tf.square(y)
    return scores


def _simplest(scores: np.ndarray) -> tuple[int, int]:
    """The warp and the number of pieces of the best `scores` `[warps, pieces, n]`.

    Fewer pieces do, if the mean is within a standard error of the difference.
    """
    means = scores.mean(axis=-1)
    place, best = map(int, np.unravel_index(np.argmax(means), means.shape))
    for index in range(best):
        difference = scores[place, best] - scores[place, index]
        if difference.mean() <= difference.std() / math.sqrt(len(difference)):
            return place, index
    return place, best


def _warps(x: np.ndarray, support: Support) -> list[Marginal]:
    """The warps that may suit a variable `[n]`, each as a map with a spline that does nothing."""
    median = float(np.median(x))
    scale = float(np.subtract(*np.quantile(x, [0.75, 0.25]))) / 1.349
    scale = scale if scale > 1e-3 * x.std() else float(x.std()) or 1.0
    found = [Marginal("identity", median, scale), Marginal("asinh", median, scale)]
    low, high = (math.nan if bound is None else bound for bound in support)
    # An atom's cell may lie beyond a bound of all other rows. Tangents begin at the outermost of
    # these, but so far from the bound that float32 can resolve the distance.
    inside = x[~((x <= low) | (x >= high))]
    if not len(inside):
        return found
    median = float(np.median(inside))
    start = max(float(inside.min()), low + _NEAREST * (median - low))
    end = min(float(inside.max()), high - _NEAREST * (high - median))
    if low < start < end < high:
        found.append(Marginal("logit", low, high - low, start, end))
    elif low < start < median:
        found.append(Marginal("log", low, median - low, low=start))
    elif median < end < high:
        found.append(Marginal("reflected_log", high, high - median, high=end))
    return found


def _fit(x: np.ndarray, warp: Marginal, pieces: int, edges: Sequence[float]) -> Marginal:
    """The warp with a spline of about so many pieces for the sorted rows `x` `[n]`."""
    u = warp.warped(x)
    center, deviation = float(u.mean()), float(u.std()) or 1.0
    line = dataclasses.replace(
        warp, knots=(center - deviation, center + deviation), slopes=(1 / deviation,) * 2
    )
    if not pieces:
        return line
    knots, values = _knots(u, pieces, warp.warped(np.asarray(edges, float)))
    apart = np.concatenate([[True], np.diff(knots) > 1e-5 * deviation])
    knots, values = knots[apart], values[apart]
    if len(knots) < 2:
        return line
    slopes = _slopes(u, knots, values)
    spline: dict[str, Any] = {"knots": knots, "values": values, "slopes": slopes}
    return dataclasses.replace(warp, **spline)


def _knots(u: np.ndarray, pieces: int, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Increasing quantiles of the sorted `u` and their normal scores, and those of the edges."""
    n = len(u)
    last = float(_normal_quantiles(np.array([1 - max(_TAIL_ROWS / n, 1e-4)]))[0])
    values = np.linspace(-last, last, pieces + 1)
    knots = _quantiles(u, pieces, last)
    if not len(edges):
        return knots, values
    # Both by the share of rows below, each part between two edges with half a row more, so that
    # they keep their order.
    below = np.searchsorted(u, edges) + 0.5 * np.arange(1, len(edges) + 1)
    scores = _normal_quantiles(below / (n + 0.5 * (len(edges) + 1)))
    distance = np.abs(values[:, np.newaxis] - scores).min(axis=1)
    free = distance > last / pieces  # half of the distance of two quantiles
    side = np.searchsorted(edges, knots) == np.searchsorted(scores, values)
    keep = free & side
    knots, values = np.append(knots[keep], edges), np.append(values[keep], scores)
    order = np.argsort(values)
    return knots[order], values[order]


def _slopes(u: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Geometric means of the pieces' slopes (Gregory and Delbourgo 1982); of the tails, likeliest.

    The slope `s` of a tail maximises the likelihood of the rows beyond the last knot: with their
    distances `t` from it and its value `v`, `N/s = Σ t (|v| + s t)`.
    """
    widths, logs = np.diff(knots), np.log(np.diff(values) / np.diff(knots))
    inner = (widths[1:] * logs[:-1] + widths[:-1] * logs[1:]) / (widths[1:] + widths[:-1])
    ends = []
    for distances, value, log in (
        (knots[0] - u[u < knots[0]], -values[0], logs[0]),
        (u[u > knots[-1]] - knots[-1], values[-1], logs[-1]),
    ):
        count, first, second = len(distances), distances.sum(), (distances**2).sum()
        if second > 0:
            root = math.sqrt((value * first) ** 2 + 4 * count * second)
            # Of the two forms of the root, the one without a difference of like numbers.
            slope = 2 * count / (value * first + root)
            log = (count * math.log(slope) + _WEIGHT_OF_NEIGHBOUR * log) / (
                count + _WEIGHT_OF_NEIGHBOUR
            )
        ends.append(log)
    return np.exp([ends[0], *inner, ends[1]])


def _normal_quantiles(p: np.ndarray) -> np.ndarray:
    return tf.math.ndtri(tf.constant(p, tf.float64)).numpy()


def _quantiles(u: np.ndarray, pieces: int, last: float) -> np.ndarray:
    """Quantiles of the sorted `u` at equidistant normal scores; smooth ones of few rows."""
    if len(u) > _SMOOTHED_ROWS:
        return np.quantile(u, _probabilities(pieces, last))
    return _harrell_davis(len(u), pieces, last) @ u


def _probabilities(pieces: int, last: float) -> np.ndarray:
    scores = np.linspace(-last, last, pieces + 1)
    return 0.5 * tf.math.erfc(tf.constant(-scores / math.sqrt(2))).numpy()


@functools.lru_cache(maxsize=16)
def _harrell_davis(n: int, pieces: int, last: float) -> np.ndarray:
    """Weights `[pieces + 1, n]` of order statistics (Harrell and Davis 1982, Biometrika 69)."""
    p = _probabilities(pieces, last)[:, np.newaxis]
    shapes = np.broadcast_arrays((n + 1) * p, (n + 1) * (1 - p), np.arange(n + 1) / n)
    ends = tf.math.betainc(*map(tf.constant, shapes))
    return np.diff(ends.numpy(), axis=1)
