"""Whether a conditional density predicts what happens: ranks of observations among its samples.

If an observation follows the density given its condition, its rank among 99 samples of that density
is uniform on 0, …, 99. Then so is `PIT = (rank + u) / 100`, with `u` uniform in [0, 1), on the unit
interval, and a 90 % interval, between the ranks 5 and 94, holds 90 % of the observations. Equal
values are ranked at random, so that this is exact for columns of steps as well (Czado, Gneiting
and Held 2009, "Predictive model assessment for count data", section 2).
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.training import plots, sampling

DRAWS = 99  # for each observation, so that intervals end between ranks
EXAMPLES = 500
INTERVALS = {50: (25, 75), 90: (5, 95)}  # in percent: the ranks from … to below …
_BINS = 10
_SHOWN = 6  # columns
_ROWS = 150  # whose intervals are shown


class Predictions(NamedTuple):
    """Observations, samples of their conditional densities, and the ranks of the former.

    Attributes:
        observed: [n, d], in the columns' own values.
        samples: [n, DRAWS, d].
        ranks: int [n, d], from 0 to DRAWS.
    """

    observed: np.ndarray
    samples: np.ndarray
    ranks: np.ndarray

    def coverage(self, percent: int) -> np.ndarray:
        """The share of observations in their central intervals, for each column [d]."""
        low, high = INTERVALS[percent]
        return np.mean((self.ranks >= low) & (self.ranks < high), axis=0)

    def pit(self, seed: int = 0) -> np.ndarray:
        """Values [n, d] that are uniform in [0, 1) if the density is right."""
        noise = np.random.RandomState(seed).uniform(size=self.ranks.shape)
        return (self.ranks + noise) / (DRAWS + 1)


def predict(
    flow: ResidualFlow,
    points: np.ndarray,
    condition: np.ndarray,
    meta: Mapping[str, Any],
    seed: int = 0,
) -> Predictions:
    """Returns samples for at most `EXAMPLES` of the points [n, d], given conditions [n, size].

    `meta` is the `sampling.describe_data` of the points. Rows without an inverse are left out.
    """
    points, condition = points[:EXAMPLES], condition[:EXAMPLES]
    given = np.repeat(condition, DRAWS, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what fails is left out
        drawn = sampling.draw(flow, len(given), seed, condition=given)
    found = np.isfinite(drawn.reshape(len(points), -1)).all(axis=1)
    drawn, points = drawn.reshape(len(points), DRAWS, -1)[found], points[found]
    flat = drawn.reshape(-1, points.shape[1])
    samples = sampling.quantize(flat, meta).reshape(drawn.shape)
    observed = sampling.quantize(points, meta)
    below = np.sum(samples < observed[:, None], axis=1)
    equal = np.sum(samples == observed[:, None], axis=1)
    return Predictions(observed, samples, below + np.random.RandomState(seed).randint(equal + 1))


def figures(predictions: Predictions, columns: Sequence[str]) -> dict[str, Any]:
    """Returns coverages: their means over columns, and in `calibration` those of each column.

    Only the number of examples if that is 0. Standard errors are those of a density that is right.
    `pit_distance` is the largest difference of the distribution of PIT values from the uniform one
    (Kolmogorov and Smirnov).
    """
    n, found = len(predictions.ranks), dict[str, Any]()
    if not n:
        return {"predicted_examples": 0}
    of_columns: dict[str, dict[str, float]] = {name: {} for name in columns}
    for percent in INTERVALS:
        error = np.sqrt(percent * (100 - percent) / n) / 100
        coverage = predictions.coverage(percent)
        found[f"coverage_{percent}"] = float(coverage.mean())
        found[f"coverage_{percent}_standard_error"] = float(error)
        for name, share in zip(columns, coverage, strict=True):
            of_columns[name][f"coverage_{percent}"] = float(share)
            of_columns[name][f"coverage_{percent}_standard_error"] = float(error)
    for name, values in zip(columns, predictions.pit().T, strict=True):
        of_columns[name]["pit_distance"] = float(stats.kstest(values, "uniform").statistic)
    return {**found, "predicted_examples": n, "calibration": of_columns}


def figure(predictions: Predictions, columns: Sequence[str]) -> Figure:
    """Returns histograms of the PIT values, and the 90 % intervals beside the observations."""
    shown = list(columns[:_SHOWN])
    picture = Figure(figsize=(3.2 * len(shown), 5.6), layout="constrained")
    axes = picture.subplots(2, len(shown), squeeze=False)
    n = len(predictions.ranks)
    spread = 1.96 * np.sqrt(n / _BINS * (1 - 1 / _BINS))
    low, high = INTERVALS[90]
    for k, name in enumerate(shown):
        top, bottom = axes[:, k]
        top.axhspan(n / _BINS - spread, n / _BINS + spread, color="0.9")
        top.hist(predictions.pit()[:, k], _BINS, range=(0, 1), color=plots.DATA, rwidth=0.95)
        top.set(title=name, xlabel="PIT", ylabel="rows" if k == 0 else None)
        rows = slice(0, _ROWS)
        samples, observed = predictions.samples[rows, :, k], predictions.observed[rows, k]
        middle = np.median(samples, axis=1)
        ends = np.sort(samples, axis=1)[:, [low - 1, high - 1]].T
        order = np.argsort(middle, kind="stable")
        bottom.vlines(np.arange(len(order)), *ends[:, order], color="0.75", label="90 % interval")
        bottom.plot(observed[order], ".", color=plots.MODEL, markersize=3, label="observed")
        bottom.set(xlabel="rows, by their predicted median", ylabel=name)
    axes[1, 0].legend(fontsize="small")
    return picture


CAPTION = (
    "Predictions given the condition. Above: PIT values of held-out rows, which are uniform if the "
    "density is right; 95 % of the bars should end in the grey band. Below: 90 % intervals and "
    "what was observed."
)
