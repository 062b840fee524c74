"""examples/eight_schools.py: its posterior means against HMC and against quadrature."""

import numpy as np
import pytest


def judge(result):
    """Both estimates agree with one another and with the exact means, within their own errors."""
    assert np.all(np.abs(result["deviation"]) < 3)
    for name in ("flow", "hmc"):
        estimate = result[name]
        assert np.all(np.abs(estimate["means"] - result["exact"]) < 4 * estimate["errors"]), name
    assert result["flow"]["k_hat"] < 0.7  # above, weighted means and their errors mean nothing


def test_exact_means_are_those_of_a_sum_over_a_grid(example):
    """Over mu and the quantile of tau, whose joint likelihood needs no algebra."""
    mu, quantile = np.meshgrid(np.linspace(-25, 30, 601), np.linspace(0, 1, 2001)[1:-1])
    tau = 5 * np.tan(np.pi / 2 * quantile)
    variance = tau[..., None] ** 2 + example.ERRORS.astype("float64") ** 2
    squares = (example.EFFECTS - mu[..., None]) ** 2 / variance + np.log(variance)
    weights = np.exp(-0.5 * (squares.sum(axis=-1) + (mu / 5) ** 2))
    expected = [np.average(mu, weights=weights), np.average(tau, weights=weights)]
    np.testing.assert_allclose(example.exact_means()[:2], expected, rtol=2e-3)


def test_shortened(example):
    result = example.run(steps=100, num_blocks=2, num=20_000, chains=50, chain_steps=200)
    judge(result)
    assert result["flow"]["size"] > 500


@pytest.mark.slow
def test_the_figures_of_the_documentation(example, tmp_path):
    result = example.run()
    judge(result)
    assert result["flow"]["size"] > 10_000
    example.figure(result).savefig(tmp_path / "eight_schools.png")
