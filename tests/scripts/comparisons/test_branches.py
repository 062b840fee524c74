"""The comparison of branches: equal time for each, differences on the same test points."""

import json
import os

import numpy as np
import pytest

from comparisons import branches, pinned
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.workdir import RunError

SMALL = {
    "data": ("checkerboard", "oscillator"),
    "blocks": ("residual",),
    "branches": ("spectral",),
    "activations": ("elu", "sine"),
    "changes": {
        "model": {"num_blocks": 2, "hidden_units": (8,)},
        "training": {"epochs": 1, "steps_per_epoch": 2, "evaluation_examples": 20},
    },
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    root = tmp_path_factory.mktemp("branches") / "run"
    return root, branches.compare(root, jobs=2, **SMALL)


@pytest.mark.slow
def test_every_kind_has_a_row_on_all_data(compared):
    root, rows = compared
    assert [(row["data"], row["activation"]) for row in rows] == [
        (data, activation) for data in SMALL["data"] for activation in SMALL["activations"]
    ]
    for row in rows:
        assert row["invertible"] and row["epochs"] == 1
        assert row["kl_divergence"] > -3 * row["kl_divergence_standard_error"]
    assert (root / "table.csv").read_text().count("\n") == 5


@pytest.mark.slow
def test_differences_are_those_of_the_log_densities(compared):
    root, rows = compared
    for data in SMALL["data"]:
        first, second = (row for row in rows if row["data"] == data)
        best, other = sorted((first, second), key=lambda row: row["negative_log_likelihood"])
        assert "above_best" not in best
        runs = [
            SavedRun(str(root / data / f"residual_spectral_{row['activation']}"))
            for row in (best, other)
        ]
        test = runs[0].dataset().test
        high, low = (run.flow.log_prob(test).numpy() for run in runs)
        difference = high.astype("float64") - low
        assert other["above_best"] == pytest.approx(difference.mean(), abs=1e-4)
        error = difference.std(ddof=1) / np.sqrt(len(test))
        assert other["above_best_standard_error"] == pytest.approx(error, rel=1e-3)


@pytest.mark.slow
def test_what_is_finished_is_not_run_again(compared, monkeypatch, capsys):
    root, rows = compared
    monkeypatch.setattr(pinned, "_run", None)
    assert branches.compare(root, jobs=2, **SMALL) == rows
    output = capsys.readouterr().out
    assert "KL, nats" in output and "bits/dim" not in output


def test_a_training_that_fails_says_why(tmp_path):
    config = {"model": {"block": "unknown"}, "data": {"name": "digits"}, "training": {}}
    with pytest.raises(RunError, match=r"Expected .*run to be trained.*'unknown'.*run\.log"):
        pinned.train({tmp_path / "run": config})


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_trainings_side_by_side_have_a_core_each_and_one_thread(tmp_path, monkeypatch):
    """As the processes themselves report it, in the place of a training."""
    (tmp_path / "probe.py").write_text(
        "import json, os, sys\n"
        "class train:\n"
        "    def train_and_evaluate(config, path):\n"
        "        threads = os.environ['TF_NUM_INTRAOP_THREADS']\n"
        "        print(json.dumps([sorted(os.sched_getaffinity(0)), threads]))\n"
        "sys.modules['tf_iresnet.training.train'] = train\n"
    )
    (tmp_path / "sitecustomize.py").write_text("import probe\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    config = {"model": {}, "data": {}, "training": {}}
    pinned.train({tmp_path / name: config for name in "ab"}, jobs=2)
    for name in "ab":
        last = (tmp_path / f"{name}.log").read_text().splitlines()[-1]
        cores, threads = json.loads(last)
        assert len(cores) == 1 and threads == "1"
