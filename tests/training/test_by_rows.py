"""What a config leaves open is chosen by the number of rows, and what it says stays."""

import numpy as np
import pytest

from tf_iresnet import data
from tf_iresnet.training import build
from tf_iresnet.training.by_rows import FEW, SOME, fill_in
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import RunError

OPEN = {
    "data": {"name": "table", "columns": None},
    "model": {
        "num_blocks": None, "hidden_units": None, "base": None, "act_norm": None,
        "preprocessing": None, "initial_gain": None,
    },
    "training": {
        "batch_size": 250, "steps_per_epoch": None, "weight_decay": None, "patience": None,
        "keep_start": None,
    },
}  # fmt: skip


def table(tmp_path, rows):
    random = np.random.default_rng(0)
    np.save(tmp_path / "rows.npy", random.normal(size=(round(rows / 0.8), 2)))
    return data.load("table", path=tmp_path / "rows.npy")


@pytest.mark.parametrize(
    ("rows", "steps"),
    [(100, 20), (FEW - 8, 20), (SOME - 8, 40), (10_000, 40), (10_008, 41), (100_000, 200)],
)
def test_few_rows_have_small_networks_and_an_epoch_is_a_pass_within_limits(tmp_path, rows, steps):
    filled = fill_in(OPEN, table(tmp_path, rows))
    assert filled["training"]["steps_per_epoch"] == steps
    assert filled["training"]["patience"] is None and filled["model"]["act_norm"] is None
    assert filled["data"] == OPEN["data"]
    model, few = filled["model"], rows < FEW
    assert (model["num_blocks"], model["hidden_units"]) == (
        (6, (32, 32)) if few else (10, (64, 64))
    )
    fitted = rows < SOME
    assert model["base"] == ("fitted_mixture" if fitted else "normal")
    assert model["preprocessing"] == ("auto" if fitted else "gaussianize")
    assert model["initial_gain"] == (0.1 if fitted else 1.0)
    assert filled["training"]["weight_decay"] == (0.1 if few else 0.0)
    assert filled["training"]["keep_start"] is fitted


def test_what_is_given_is_kept(tmp_path):
    given = {
        "model": {"num_blocks": 3, "hidden_units": (5,), "base": "normal"},
        "training": {"batch_size": 250, "steps_per_epoch": 7, "weight_decay": 0.0},
    }
    assert fill_in(given, table(tmp_path, 100)) == given


def test_steps_that_stay_open_are_refused():
    with pytest.raises(RunError, match="steps_per_epoch"):
        _ = TrainingOptions(steps_per_epoch=None).total_steps


@pytest.mark.parametrize(
    "branches", [{"branch": "lipschitz_mlp"}, {"block": "triangular"}, {"normalization": "gram"}]
)
def test_branches_that_have_no_gain_are_given_none(tmp_path, branches):
    config = {**OPEN, "model": {**OPEN["model"], "log_det": "auto", **branches}}
    del config["model"]["act_norm"]
    dataset = table(tmp_path, 100)
    filled = fill_in(config, dataset)
    assert filled["model"]["initial_gain"] == 1.0
    build.make_model(filled | {"training": {}}, dataset)  # accepts it
