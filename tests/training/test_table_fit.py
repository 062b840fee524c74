"""Distances and differences are those of known densities, and the worst fit comes first."""

import math

import numpy as np
import pytest
from scipy import stats

from tf_iresnet.data.dataset import finite_dataset
from tf_iresnet.data.splits import Split
from tf_iresnet.training import table_fit
from tf_iresnet.training.fitted_base import choose_mixture
from tf_iresnet.training.table_fit import Beside

SCALES = np.array([10.0, 0.01])
COVARIANCE = np.array([[1.0, 0.8], [0.8, 1.0]]) * SCALES * SCALES[:, None]
NORMAL = stats.multivariate_normal([3.0, 5.0], COVARIANCE)


def dataset(rows, test):
    parts = Split(rows, test, test)
    return finite_dataset(
        parts, np.zeros(rows.shape[1]), name="rows", columns=("a", "b"), ranges=np.zeros((2, 2))
    )


def test_a_normal_distribution_is_as_good_as_the_density_of_normal_rows_in_any_units():
    rows, test = NORMAL.rvs(4000, random_state=0), NORMAL.rvs(1000, random_state=1)
    log_p = NORMAL.logpdf(test)
    found = table_fit.baselines(dataset(rows, test), log_p)
    # Five parameters cost about 5/2 of a nat for all 4,000 rows.
    assert found["gaussian_difference"] == pytest.approx(2.5 / 4000, abs=2e-3)
    assert found["gaussian_difference_standard_error"] < 2e-3, "of the differences, not of each"
    assert found["mixture_components"] == 1
    better = table_fit.baselines(dataset(rows, test), log_p + 1.0)
    assert better["mixture_difference"] == pytest.approx(1.0, abs=0.01)


def test_a_mixture_of_two_groups_is_found_and_better_than_a_normal_distribution():
    noise = np.random.default_rng(0)
    rows = noise.normal(size=(900, 2)) + 5 * noise.integers(0, 2, (900, 1))
    halves = [stats.multivariate_normal([m, m], np.eye(2)).logpdf(rows) for m in (0, 5)]
    log_p = np.logaddexp(*halves) - math.log(2)
    found = table_fit.baselines(dataset(rows, rows), log_p)
    assert found["mixture_components"] == 2
    assert found["mixture_difference"] == pytest.approx(0.0, abs=0.02)
    assert found["gaussian_difference"] > 0.3


def test_rows_fewer_than_columns_have_a_normal_distribution_and_no_mixture():
    rows = np.random.default_rng(0).normal(size=(8, 20))
    found = table_fit.baselines(dataset(rows, rows + 0.1), np.zeros(8))
    assert np.isfinite(found["gaussian_difference"]) and "mixture_difference" not in found


def test_the_time_for_a_mixture_is_counted_in_operations():
    rows = np.random.default_rng(0).normal(size=(500, 2)) + [[0], [9]] * 250
    assert choose_mixture(rows).n_components == 2
    assert choose_mixture(rows, seconds=0.0).n_components == 1


def test_distances_are_those_of_the_distribution_functions_and_the_worst_comes_first():
    grid = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    beside = Beside(np.stack([grid, grid], 1), np.stack([grid, grid + 1], 1), "rows")
    worst, exact = table_fit.column_fits(beside)
    assert (worst.column, exact.column) == (1, 0)
    # Of normal variables a deviation apart: Φ(1/2) − Φ(−1/2).
    assert worst.distance == pytest.approx(2 * stats.norm.cdf(0.5) - 1, abs=1e-3)
    assert exact.distance == 0
    np.testing.assert_allclose(worst.of_samples, stats.norm.ppf([0.05, 0.5, 0.95]) + 1, atol=5e-3)


def test_the_distance_by_chance_is_exceeded_in_one_case_of_twenty():
    noise = np.random.default_rng(0)
    beside = Beside(noise.normal(size=(300, 400)), noise.normal(size=(600, 400)), "rows")
    beyond = table_fit.distance_by_chance(beside)
    share = np.mean([fit.distance > beyond for fit in table_fit.column_fits(beside)])
    assert 0.02 < share < 0.08, "of 400 columns, within four standard errors"


def test_correlations_are_of_ranks_and_those_that_differ_most_come_first():
    noise = np.random.default_rng(0)
    rows = noise.normal(size=(5000, 4))
    rows[:, 1] = np.exp(5 * rows[:, 0])  # a heavy tail that a linear correlation would not see
    samples = noise.normal(size=(5000, 4))
    first, *rest = table_fit.correlation_fits(Beside(rows, samples, "rows"), most=3)
    assert (first.first, first.second) == (0, 1) and len(rest) == 2
    assert first.of_rows == pytest.approx(1.0) and abs(first.of_samples) < 0.06
    assert table_fit.correlation_fits(Beside(rows[:, :1], samples[:, :1], "rows")) == []
