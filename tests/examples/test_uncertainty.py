"""The example of a classifier that knows how far it is from its data, as the documentation says."""

import pytest


def check_the_bounded_one(numbers, excess):
    """Close to the true probabilities, unsure of strangers, and within the proven bounds."""
    bounded, truth = numbers["bounded GP"], numbers["truth"]
    assert bounded["accuracy"] >= truth["accuracy"] - 0.01
    likelihood = "negative log-likelihood"
    assert bounded[likelihood] <= truth[likelihood] + excess
    assert bounded["AUROC of strangers"] >= 0.99
    assert 0.13 <= bounded["proven least stretching"] <= bounded["least stretching"]
    assert bounded["largest stretching"] <= bounded["proven largest stretching"] <= 3.31


def test_distances_are_kept_and_strangers_are_known_as_such(example):
    numbers = example.run(("bounded GP",), epochs=20)
    check_the_bounded_one(numbers, 0.06)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_bound_is_what_makes_the_difference(example, seed, tmp_path):
    numbers = example.run(seed=seed, figures=tmp_path)
    check_the_bounded_one(numbers, 0.03)
    bounded, unbounded, linear = (numbers[kind] for kind in example.KINDS)
    for name in ("negative log-likelihood", "mean error of p"):
        assert bounded[name] < unbounded[name] - 0.01
    assert linear["AUROC of strangers"] < 0.5 < bounded["AUROC of strangers"]
    assert unbounded["proven least stretching"] == 0, "nothing is proven without a bound"
    assert unbounded["largest stretching"] > bounded["proven largest stretching"]
    assert (tmp_path / "uncertainty.png").stat().st_size > 10_000
