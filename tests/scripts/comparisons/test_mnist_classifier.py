"""The table of MNIST: a row for each coefficient from its runs, which go on after a kill."""

import csv
import json

import numpy as np
import pytest

from comparisons import mnist_classifier
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.workdir import RunError

CHANGES = {
    "model": {"blocks": (1,), "width": (2,), "pad_channels": 0},
    "data": {"validation_size": 20},
    "training": {
        "epochs": 2, "steps_per_epoch": 2, "batch_size": 16, "evaluation_batch_size": 20,
        "evaluation_examples": 20,
    },
}  # fmt: skip


def test_an_unknown_coefficient_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"Expected --only to name .*0\.9.* Received: 0\.95\."):
        mnist_classifier.compare(tmp_path, only=["0.9", "0.95"])


@pytest.mark.slow
def test_each_coefficient_has_a_row_of_its_runs(tmp_path, capsys):
    random = np.random.default_rng(0)
    arrays = {}
    for part, number in (("train", 80), ("test", 40)):
        labels = arrays[f"y_{part}"] = random.integers(10, size=number)
        noise = random.integers(0, 30, (number, 28, 28))
        arrays[f"x_{part}"] = (noise + 20 * labels[:, None, None]).astype(np.uint8)
    path = tmp_path / "mnist.npz"
    np.savez(path, **arrays)
    root = tmp_path / "table"
    options = {"seeds": 2, "only": ("0.5", "unconstrained"), "changes": CHANGES}
    rows = mnist_classifier.compare(root, str(path), **options)
    assert [row["coefficient"] for row in rows] == ["unconstrained", "0.5"]
    free, bound = rows
    assert bound["certified"] == "yes" and bound["failures"] == 0 and free["certified"] == "no"
    for row in rows:
        errors = []
        for seed in range(2):
            run = SavedRun(str(root / row["coefficient"] / f"seed_{seed}"))
            test = run.dataset()
            # Not by `predict`: these logits are so near to one another that some are equal when
            # normalised.
            classes = np.argmax(run.model.class_log_prob(test.test), axis=1)
            errors.append(100 * np.mean(classes != test.labels.test))
        assert row["errors"] == pytest.approx(np.mean(errors))
        assert row["examples"] == 40 and row["cpu_hours"] > 0
        assert 0 <= row["validation_errors"] <= 100
    with open(root / "table.csv") as file:
        assert [row["coefficient"] for row in csv.DictReader(file)] == ["unconstrained", "0.5"]
    assert (root / "spectra.png").stat().st_size > 1000
    log = root / "0.5" / "seed_0.log"
    written = log.stat().st_mtime_ns
    again = mnist_classifier.compare(root, str(path), **options)
    assert json.dumps(again) == json.dumps(rows) and log.stat().st_mtime_ns == written
    assert "CPU hours" in capsys.readouterr().out
