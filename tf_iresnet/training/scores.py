"""How likely the rows of a table are: each by itself, and all beside rows that were held out."""

import csv
import io
import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tf_iresnet import data
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.monte_carlo import LogProb
from tf_iresnet.training import evaluation, plots
from tf_iresnet.training.files import reading
from tf_iresnet.training.saved_run import Examples
from tf_iresnet.training.workdir import RunError, write_atomically

STANDS_OUT = 4.5  # nats: those of a normal variable at 3 deviations from its mean
LEAST = 0.1  # quantile up to which rows are looked at by columns
_ROWS = 10_000  # of training and held-out rows whose log-density is stored
_DONORS = 1000  # training rows that are stored
_SIMILAR = 4  # of them, whose cells are tried
_CHUNK = 200  # rows whose distances are held at a time


class Reference(NamedTuple):
    """What new rows are compared with.

    Attributes:
        training, held_out: increasing log-densities of rows, in nats.
        points, condition: training rows [m, d] and what they are given [m, size ≥ 0].
    """

    training: np.ndarray
    held_out: np.ndarray
    points: np.ndarray
    condition: np.ndarray

    def quantile(self, log_density: np.ndarray) -> np.ndarray:
        """The share of training rows that are at most as likely, for each log-density [n]."""
        return np.searchsorted(self.training, log_density, side="right") / len(self.training)


def write_reference(
    path: pathlib.Path, flow: ResidualFlow, dataset: data.Dataset, batch_size: int
) -> None:
    """Writes the `Reference` of a trained flow: of a random sample of the training rows."""
    points, conditions = dataset.training_rows(), dataset.conditions  # type: ignore[misc]
    rows = np.random.RandomState(0).permutation(len(points))[:_ROWS]
    training = Examples(points, conditions and conditions.train).select(rows)
    held_out = Examples(dataset.test, conditions and conditions.test).select(slice(_ROWS))
    densities = [
        np.sort(evaluation.log_prob(flow, part.points, batch_size, 0, part.condition))
        for part in (training, held_out)
    ]
    few = rows[:_DONORS]
    given = np.zeros((len(few), 0), np.float32) if conditions is None else conditions.train[few]
    reference = Reference(densities[0], densities[1], points[few], given)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **reference._asdict())
    write_atomically(path, buffer.getvalue())


def read_reference(path: pathlib.Path) -> Reference:
    """Returns what `write_reference` wrote. Raises RunError if that isn't there or damaged."""
    if not path.is_file():
        expected = "Expected --workdir of a finished run on a table, to compare new rows with."
        raise RunError(f"{expected} Received: no {path}.")
    with reading(path, "what training wrote"), open(path, "rb") as file:
        return Reference(**np.load(file, allow_pickle=False))


def columns_that_stand_out(
    flow: ResidualFlow,
    rows: Examples,
    reference: Reference,
    columns: Sequence[str],
    batch_size: int,
) -> list[str]:
    """Returns for each row [n, d] the columns whose cell alone makes the row unlikely, as text.

    Each cell is replaced by those of the training rows that are most similar in all other columns,
    by the ranks of their cells, conditions included. A column stands out if the best of these
    raises the log-density by more than `STANDS_OUT`; the rise, in nats, is in brackets. Cells that
    are only odd together stand out if changing one of them mends the row.
    """
    gains = _gains(flow, rows, reference, batch_size)
    texts = []
    for gain in gains:
        order = [j for j in np.argsort(-gain, kind="stable") if gain[j] > STANDS_OUT]
        texts.append(", ".join(f"{columns[j]} (+{gain[j]:.1f})" for j in order))
    return texts


def _gains(
    flow: ResidualFlow,
    rows: Examples,
    reference: Reference,
    batch_size: int,
) -> np.ndarray:
    """The rises of the log-density, nats [n, d], by the best replacement of each cell."""
    points, condition = rows
    n, d = points.shape
    given = np.zeros((n, 0)) if condition is None else condition
    known = np.concatenate([reference.points, reference.condition], axis=1)
    ordered = np.sort(known, axis=0)

    def ranks(values: np.ndarray) -> np.ndarray:
        pairs = zip(ordered.T, values.T, strict=True)
        ends = [[np.searchsorted(o, x, side) for side in ("left", "right")] for o, x in pairs]
        return np.mean(ends, axis=1).T.astype(np.float32) / len(known)

    of_rows, of_known = ranks(np.concatenate([points, given], axis=1)), ranks(known)
    similar = min(_SIMILAR, len(known))
    donors = np.empty((n, d, similar), int)
    for start in range(0, n, _CHUNK):
        part = slice(start, start + _CHUNK)
        total = sum(
            np.abs(a[part, None] - b) for a, b in zip(of_rows.T, of_known.T, strict=True)
        )  # [chunk, m]
        for j in range(d):
            others = total - np.abs(of_rows[part, j, None] - of_known[:, j])
            donors[part, j] = np.argpartition(others, similar - 1, axis=1)[:, :similar]
    changed = np.repeat(points, d * similar, axis=0).reshape(n, d, similar, d)
    for j in range(d):
        changed[:, j, :, j] = reference.points[donors[:, j], j]
    of_changed = None if condition is None else np.repeat(condition, d * similar, axis=0)
    after = evaluation.log_prob(flow, changed.reshape(-1, d), batch_size, 0, of_changed)
    before = evaluation.log_prob(flow, points, batch_size, 0, condition)
    best = np.nan_to_num(after, nan=-np.inf, posinf=np.inf).reshape(n, d, similar).max(axis=2)
    return best - np.nan_to_num(before, nan=-np.inf, neginf=-np.finfo(float).max)[:, None]


def write_scores(
    path: pathlib.Path,
    flow: ResidualFlow,
    rows: Examples,
    density: LogProb,
    reference: Reference,
    columns: Sequence[str],
    batch_size: int,
) -> None:
    """Writes a line for each row: log-density, its standard error, quantile, what stands out.

    `density` is the `evaluation.log_prob_with_error` of the rows. The quantile is the share of
    training rows that are at most as likely; only rows up to `LEAST` are looked at by columns.
    """
    quantiles = reference.quantile(density.value)
    least = quantiles <= LEAST
    texts = np.full(len(least), "", object)
    if least.any():
        few = rows.select(least)
        texts[least] = columns_that_stand_out(flow, few, reference, columns, batch_size)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["log_density", "standard_error", "quantile", "columns_that_stand_out"])
    writer.writerows(
        zip(
            density.value.tolist(), density.standard_error.tolist(), quantiles.tolist(), texts,
            strict=True,
        )
    )  # fmt: skip
    write_atomically(path, table.getvalue())


def shift(log_density: np.ndarray, reference: Reference) -> dict[str, float | None]:
    """Returns how the log-densities of new rows [n] differ from those of held-out rows.

    `log_density_shift` is the difference of the means, in nats, and `log_density_distance` the
    largest difference between the two distribution functions (Kolmogorov and Smirnov), both with
    what tells them from chance: the standard error, and the distance that equal distributions
    exceed in one of 20 cases.
    """
    held_out = reference.held_out
    mean, error = evaluation.mean_and_standard_error(log_density)
    usual, other = evaluation.mean_and_standard_error(held_out)
    assert other is not None  # there are at least two
    finite = np.nan_to_num(log_density, nan=-np.finfo(float).max)
    distance, by_chance = evaluation.distribution_distance(held_out, finite)
    return {
        "log_density_shift": mean - usual,
        "log_density_shift_standard_error": None if error is None else math.hypot(error, other),
        "log_density_distance": distance,
        "log_density_distance_by_chance": by_chance,
    }


def shift_figure(log_density: np.ndarray, reference: Reference) -> Figure:
    """Returns histograms of the log-densities of held-out and new rows, on one axis.

    Rows below the lowest edge are counted in the first bar.
    """
    held_out = reference.held_out
    finite = log_density[np.isfinite(log_density)]
    low, high = np.quantile(held_out, 0.001), held_out.max()
    low = min(low, np.quantile(finite, 0.02)) if len(finite) else low
    low = max(low, high - 5 * (high - np.quantile(held_out, 0.001)))  # or the bulk is one bar
    edges = np.linspace(low, max(high, finite.max(initial=high)), 41).tolist()
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    plot = figure.subplots()
    for values, name, color in (
        (held_out, f"{len(held_out):,} held-out rows", plots.DATA),
        (log_density, f"{len(log_density):,} new rows", plots.MODEL),
    ):
        values = np.clip(np.nan_to_num(values, nan=low, neginf=low), edges[0], edges[-1])
        weights = np.full(len(values), 1 / len(values))
        plot.hist(values, edges, weights=weights, color=color, alpha=0.55, label=name)
    plot.set(xlabel="log-density, nats (the first bar holds all below)", ylabel="share of rows")
    plot.legend()
    return figure
