"""The example of anomaly scores finds what the documentation says, as often as it says."""

import numpy as np
import pytest
from scipy import stats


def check_false_alarms(numbers):
    error = numbers["false alarms, standard error"]
    for score in ("flow", "typicality", "Mahalanobis", "isolation forest"):
        assert abs(numbers[f"false alarms, {score}"] - 0.05) <= 3 * error, score


def test_the_threshold_is_conformal(example):
    """With n continuous scores the rate at rank k is Beta(n + 1 − k, k), for every density."""
    n, k = 99, 95
    scores = np.random.RandomState(0).gamma(2, size=(4000, n))
    limits = np.array([example.threshold(row) for row in scores])
    rates = stats.gamma(2).sf(limits)
    assert rates.mean() == pytest.approx(0.05, abs=3 * rates.std() / len(rates) ** 0.5)
    assert stats.kstest(rates, stats.beta(n + 1 - k, k).cdf).pvalue > 1e-3


def test_alarms_are_as_rare_as_promised_and_better_than_a_gaussians(example):
    numbers = example.run(blocks=3, epochs=20)
    check_false_alarms(numbers)
    assert numbers["certified Lipschitz constant"] < 1
    flow, gaussian = (numbers[f"AUROC of anomalies, {s}"] for s in ("flow", "Mahalanobis"))
    assert flow > gaussian + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("anomaly", [8, 9])
def test_the_flow_finds_an_unknown_digit_and_blends(example, anomaly, tmp_path):
    numbers = example.run(anomaly, figures=tmp_path)
    check_false_alarms(numbers)
    for baseline in ("Mahalanobis", "isolation forest"):
        for kind, lead in (("anomalies", 0.1), ("blends", 0.5)):
            flow = numbers[f"AUROC of {kind}, flow"]
            assert flow >= numbers[f"AUROC of {kind}, {baseline}"] + lead
    assert (tmp_path / "anomalies.png").stat().st_size > 10_000
