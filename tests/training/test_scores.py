"""Scores of new rows, by densities that are known: Gaussian ones, of two dependent columns."""

import csv

import numpy as np
import pytest

from tf_iresnet.layers.gaussianize import Whiten
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.training import evaluation, plots, scores
from tf_iresnet.training.saved_run import Examples

COVARIANCE = np.array([[1.0, 0.98, 0.0], [0.98, 1.0, 0.0], [0.0, 0.0, 1.0]])
FACTOR = np.linalg.cholesky(COVARIANCE)
COLUMNS = ["height", "weight", "age"]


def rows(seed, count):
    return (np.random.default_rng(seed).normal(size=(count, 3)) @ FACTOR.T).astype("float32")


@pytest.fixture(scope="module")
def flow():
    flow = ResidualFlow([Whiten(np.zeros(3), FACTOR)])
    flow.build((None, 3))
    return flow


@pytest.fixture(scope="module")
def reference(flow):
    training, held_out = rows(0, 2000), rows(1, 500)
    densities = [np.sort(evaluation.log_prob(flow, x, 500)) for x in (training, held_out)]
    return scores.Reference(*densities, training[:1000], np.zeros((1000, 0), np.float32))


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ([0.1, 0.1, 0.0], []),
        ([0.0, 0.0, 6.0], ["age"]),
        ([1.3, -1.3, 0.0], ["height", "weight"]),  # each is usual, both together are not
        ([1.3, -1.3, -7.0], ["height", "weight", "age"]),
        ([0.0, 0.0, 1e6], ["age"]),
    ],
)
def test_columns_stand_out_by_themselves_or_beside_the_others(flow, reference, row, found):
    one = Examples(np.array([row], np.float32))
    (text,) = scores.columns_that_stand_out(flow, one, reference, COLUMNS, 500)
    assert sorted(part.split(" ")[0] for part in text.split(", ") if part) == sorted(found)


def test_the_rise_is_what_changing_the_cell_brings(flow, reference):
    """At most z²/2 for a column that depends on no other one, and nearly that."""
    one = Examples(np.array([[0.0, 0.0, 6.0]], np.float32))
    (text,) = scores.columns_that_stand_out(flow, one, reference, COLUMNS, 500)
    rise = float(text.removeprefix("age (+").removesuffix(")"))
    assert 16 < rise <= 18


def test_a_line_for_each_row_and_quantiles_among_training_rows(flow, reference, tmp_path):
    examples = Examples(np.concatenate([rows(2, 300), [[0, 0, 9], [0, 0, 0]]]).astype("float32"))
    density = evaluation.log_prob_with_error(flow, examples.points, 100, 0.0)
    scores.write_scores(
        tmp_path / "s.csv", flow, examples, density, reference, COLUMNS, batch_size=100
    )
    with open(tmp_path / "s.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 302
    exact = -0.5 * np.sum(np.linalg.solve(FACTOR, examples.points.T) ** 2, axis=0)
    exact -= np.log(np.diag(FACTOR)).sum() + 1.5 * np.log(2 * np.pi)
    found = np.array([float(line["log_density"]) for line in table])
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)
    assert all(float(line["standard_error"]) == 0 for line in table)
    quantiles = np.array([float(line["quantile"]) for line in table])
    # The rows are of the training distribution: the quantiles are uniform.
    assert abs(quantiles[:300].mean() - 0.5) < 4 / np.sqrt(12 * 300)
    assert quantiles[300] == 0 and quantiles[301] > 0.99
    assert table[300]["columns_that_stand_out"].startswith("age (+")
    assert not table[301]["columns_that_stand_out"]


def test_a_shift_shows_in_the_figures_and_none_is_none(flow, reference):
    same = evaluation.log_prob(flow, rows(3, 400), 400)
    figures = scores.shift(same, reference)
    assert abs(figures["log_density_shift"]) < 4 * figures["log_density_shift_standard_error"]
    assert figures["log_density_distance"] < 1.5 * figures["log_density_distance_by_chance"]
    moved = evaluation.log_prob(flow, rows(3, 400) + np.float32([0, 0, 3]), 400)
    figures = scores.shift(moved, reference)
    # E of −z²/2 falls by 3²/2.
    error = figures["log_density_shift_standard_error"]
    assert abs(figures["log_density_shift"] + 4.5) < 4 * error
    assert figures["log_density_distance"] > 3 * figures["log_density_distance_by_chance"]
    one = scores.shift(same[:1], reference)
    assert one["log_density_shift_standard_error"] is None


@pytest.mark.parametrize("values", [[-3.0], [-1e9, -2.0, -3.0], [np.nan, -np.inf, -2.0]])
def test_the_figure_takes_any_rows(reference, values):
    figure = scores.shift_figure(np.array(values), reference)
    assert plots.png(figure).startswith(b"\x89PNG")
