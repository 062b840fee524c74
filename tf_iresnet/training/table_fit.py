"""How the flow of a table fits it: beside simpler densities, and column by column."""

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from tf_iresnet import data
from tf_iresnet.data.errors import optional_import
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.training import evaluation, sampling
from tf_iresnet.training.fitted_base import choose_mixture

FITTED = 20_000  # training rows that simpler densities are fitted to, at most
CELLS = 200_000  # cells of these, at most
SECONDS = 3.0  # to choose a mixture in
SAMPLES = 4000
HELD_OUT = 200  # of fewer held-out rows neither a picture nor a distance says much
_SHOWN = 10_000  # rows that are compared with the samples, at most


class Beside(NamedTuple):
    """Rows of a table and samples, both [n, d] and in the table's own values.

    `what` says which rows these are: held out, or all where few are held out.
    """

    rows: np.ndarray
    samples: np.ndarray
    what: str


class ColumnFit(NamedTuple):
    """How the samples of a column differ from its rows.

    Args:
        column: its index.
        distance: of Kolmogorov and Smirnov, the largest difference of the distribution functions.
        of_rows, of_samples: 5 %, 50 % and 95 % quantiles.
    """

    column: int
    distance: float
    of_rows: tuple[float, ...]
    of_samples: tuple[float, ...]


class CorrelationFit(NamedTuple):
    """Spearman's rank correlation of two columns, by index, in rows and in samples."""

    first: int
    second: int
    of_rows: float
    of_samples: float


def is_table(model: InvertibleModel, dataset: data.Dataset) -> bool:
    """Whether a model is the density of rows whose own density isn't known."""
    vectors = dataset.image_shape is None and len(dataset.event_shape) == 1
    return isinstance(model, ResidualFlow) and vectors and dataset.log_prob is None


def baselines(dataset: data.Dataset, log_q: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Fits simpler densities to the training rows, and compares them on the same test rows.

    They are a normal distribution, its covariance shrunk as much as few rows ask for (Ledoit and
    Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices"), and the
    mixture of normals of `fitted_base.choose_mixture`, if there are rows enough for one.

    Args:
        log_q: log-densities of the flow at the test rows [n], nats.

    Returns:
        `gaussian_difference` and `mixture_difference`, the mean of how much larger the flow's
        log-density is, nats per row, each with its `…_standard_error`, that of the differences;
        and `mixture_components`.
    """
    with optional_import("scikit-learn", "fits the densities that a flow is compared with"):
        from sklearn.covariance import LedoitWolf
    assert dataset.training_rows is not None
    rows = dataset.training_rows().astype(np.float64)
    count = min(FITTED, CELLS // rows.shape[1])
    rows = rows[np.random.RandomState(seed).permutation(len(rows))[:count]]
    shift, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-12)
    rows, test = (rows - shift) / scale, (dataset.test - shift) / scale
    covariance = LedoitWolf().fit(rows).covariance_
    normal = stats.multivariate_normal(rows.mean(axis=0), covariance, allow_singular=True)
    densities = {"gaussian": normal.logpdf(test).reshape(len(test))}
    found: dict[str, Any] = {}
    if len(rows) > rows.shape[1] + 1:
        mixture = choose_mixture(rows, seed, seconds=SECONDS)
        densities["mixture"] = mixture.score_samples(test)
        found["mixture_components"] = mixture.n_components
    for name, log_p in densities.items():
        difference = log_q - (log_p - np.log(scale).sum())
        mean, error = evaluation.mean_and_standard_error(difference)
        found |= {f"{name}_difference": mean, f"{name}_difference_standard_error": error}
    return found


def draw_beside(flow: ResidualFlow, dataset: data.Dataset) -> Beside:
    """Returns rows of a data set and samples of its flow, given what the rows are given."""
    rows, what, given = dataset.test, "held-out rows", dataset.conditions
    condition = None if given is None else given.test
    if len(rows) < HELD_OUT and dataset.training_rows is not None:
        rows = np.concatenate([dataset.training_rows(), dataset.validation, rows])
        what = f"rows, of which only {len(dataset.test)} were held out"
        condition = None if given is None else np.concatenate(given)
    if condition is not None:
        condition = condition[np.linspace(0, len(rows) - 1, SAMPLES).astype(int)]
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _SHOWN)).astype(int)]
    samples = sampling.draw(flow, SAMPLES, seed=0, condition=condition)
    meta = sampling.describe_data(dataset)
    rows, samples = (sampling.quantize(part, meta).astype(np.float64) for part in (rows, samples))
    return Beside(rows, samples[np.isfinite(samples).all(axis=1)], what)


def column_fits(beside: Beside) -> list[ColumnFit]:
    """Returns how well each column is fitted, the worst first."""
    fits = []
    for index, (x, y) in enumerate(zip(beside.rows.T, beside.samples.T, strict=True)):
        distance, _ = evaluation.distribution_distance(x, y)
        quantiles = (tuple(np.quantile(part, [0.05, 0.5, 0.95]).tolist()) for part in (x, y))
        fits.append(ColumnFit(index, distance, *quantiles))
    return sorted(fits, key=lambda fit: -fit.distance)


def distance_by_chance(beside: Beside) -> float:
    """Returns the `ColumnFit.distance` that 5 % of samples of the rows' own density exceed."""
    return evaluation.distribution_distance(beside.rows[:, 0], beside.samples[:, 0])[1]


def correlation_fits(beside: Beside, most: int = 5) -> list[CorrelationFit]:
    """Returns the pairs of columns whose correlations differ most; none without two columns."""
    count = beside.rows.shape[1]
    if count < 2:
        return []
    ranks = (stats.rankdata(part, axis=0) for part in beside[:2])
    with np.errstate(divide="ignore", invalid="ignore"):  # of a constant column it is NaN
        ours, theirs = (np.nan_to_num(np.corrcoef(part, rowvar=False)) for part in ranks)
    pairs = np.argwhere(np.triu(np.ones((count, count), bool), 1))
    order = np.argsort(-np.abs(ours - theirs)[tuple(pairs.T)], kind="stable")[:most]
    return [
        CorrelationFit(int(a), int(b), float(ours[a, b]), float(theirs[a, b]))
        for a, b in pairs[order]
    ]
