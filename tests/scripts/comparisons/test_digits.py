"""The two tables on digits: a row for each setting, from the figures of its runs."""

import csv

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score

from comparisons import constraints, hybrid
from tf_iresnet.data import digits
from tf_iresnet.training.saved_run import SavedRun

TRAINING = {
    "epochs": 1, "steps_per_epoch": 2, "batch_size": 16, "evaluation_batch_size": 360,
    "evaluation_examples": 20,
}  # fmt: skip
SMALL = {"blocks": (1,), "width": 2}


def read(path):
    with open(path) as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_constraints(tmp_path, capsys):
    rows = constraints.compare(
        tmp_path, ("unconstrained", "0.5"), 2, {"model": SMALL, "training": TRAINING}
    )
    assert [row["coefficient"] for row in rows] == ["unconstrained", "0.5"]
    free, bound = rows
    assert bound["certified"] == "yes" and bound["failures"] == 0 and bound["lipschitz_bound"] < 1
    assert free["certified"] == "no" and free["lipschitz_bound"] > 1
    for row in rows:
        runs = [tmp_path / row["coefficient"] / f"seed_{seed}" for seed in range(2)]
        accuracy = [100 * _accuracy(run) for run in runs]
        assert row["accuracy"] == pytest.approx(np.mean(accuracy))
        assert row["accuracy_standard_error"] == pytest.approx(np.std(accuracy, ddof=1) / 2**0.5)
        assert row["examples"] == 40
    assert [row["coefficient"] for row in read(tmp_path / "table.csv")] == ["unconstrained", "0.5"]
    assert (tmp_path / "spectra.png").stat().st_size > 1000
    assert "unconstrained" in capsys.readouterr().out


def _accuracy(run):
    """By hand, from the model that the run left."""
    dataset = SavedRun(str(run)).dataset()
    classes = SavedRun(str(run)).model.predict(dataset.test, verbose=0).argmax(axis=1)
    return np.mean(classes == dataset.labels.test)


@pytest.mark.slow
def test_hybrid(tmp_path, capsys):
    rows = hybrid.compare(
        tmp_path, ("0", "1"), {"model": {**SMALL, "tail_blocks": 0}, "training": TRAINING}
    )
    assert [row["density_weight"] for row in rows] == ["0", "1"]
    for row in rows:
        assert np.isfinite(row["bits_per_dim"]) and 0 <= row["accuracy"] <= 1
        assert 0 <= row["class_consistency"] <= 1
        assert 0 <= row["auroc_noise"] <= 1 and 0 <= row["auroc_patches"] <= 1
    assert (tmp_path / "weight_0" / "pictures" / "class_samples.png").exists()
    assert len(read(tmp_path / "table.csv")) == 2 and "AUROC" in capsys.readouterr().out


def test_the_area_is_the_chance_that_a_digit_scores_higher(monkeypatch):
    """On values where it can be counted: pairs that are in order, ties half."""
    values = {"known": [3.0, 1.0, 2.0], "other": [0.0, 2.0]}
    monkeypatch.setattr(
        hybrid.evaluation, "log_prob", lambda flow, points, batch_size: np.array(values[points])
    )
    found = hybrid.auroc(None, "known", {"others": "other"})
    assert found == {"auroc_others": pytest.approx((2 + 1 + 1.5) / 6)}


def test_samples_are_consistent_where_they_are_digits_of_their_class():
    images, labels = load_digits(return_X_y=True)

    class Remembering:
        num_classes = 10

        def __init__(self, shift):
            self.shift = shift

        def sample(self, num, label, seed):
            return np.stack([images[labels == (k + self.shift) % 10][0] + 0.5 for k in label])

    assert hybrid.class_consistency(Remembering(0), 2) == 1
    assert hybrid.class_consistency(Remembering(1), 2) == 0


def test_the_reference_classifier_knows_digits():
    scores = cross_val_score(hybrid.reference_classifier(), *load_digits(return_X_y=True), cv=5)
    assert scores.mean() == pytest.approx(0.97, abs=0.005)


def test_other_pictures_are_in_the_form_of_digits():
    found = hybrid.out_of_distribution(50)
    assert found.keys() == {"patches", "noise"}
    for images in found.values():
        assert images.shape == (50, 8, 8, 1) and images.dtype == np.float32
        assert images.min() >= 0 and images.max() < digits.LEVELS
        again = hybrid.out_of_distribution(50)
    np.testing.assert_array_equal(found["noise"], again["noise"])
    assert np.abs(found["noise"].mean() - 8.5) < 4 * 4.9 / np.sqrt(50 * 64)
