"""Losses, gradients, validations and figures that aren't finite end in a model and a report."""

import json

import numpy as np
import pytest
import tensorflow as tf
from support.table_run import config_of_table

from tf_iresnet.training import checkpoints, commands, report, train
from tf_iresnet.training.checkpoints import Checkpoints
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.train import train_and_evaluate
from tf_iresnet.training.workdir import RunError, Workdir


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Of a short run on a table."""
    return config_of_table(tmp_path_factory.mktemp("table"), steps_per_epoch=3, epochs=2)


def refused(constant):
    raise AssertionError(f"{constant} is no JSON")


def strict(path):
    """The JSON of a file; NaN and Infinity, which JSON doesn't know, are errors."""
    return json.loads(path.read_text(), parse_constant=refused)


def test_a_training_whose_validation_is_never_finite_ends_in_a_model_and_a_report(
    config, tmp_path, monkeypatch, capsys
):
    """And so does one of which a picture and figures can't be made."""

    def lost(*arguments):
        batches = validation(*arguments)
        return batches.map(lambda x: x * np.nan)

    def broken(*_):
        raise ZeroDivisionError("no axes")

    validation = train.build.make_validation_batches
    monkeypatch.setattr(train.build, "make_validation_batches", lost)
    monkeypatch.setattr(report.table_fit, "baselines", lambda *_: {"gaussian_difference": np.inf})
    monkeypatch.setattr("tf_iresnet.training.pictures.plots.learning_curve", broken)
    monkeypatch.setattr("tf_iresnet.training.evaluation.reconstruction", broken)
    workdir = Workdir(tmp_path / "run")
    figures = train_and_evaluate(config, workdir.path)
    assert strict(workdir.figures) == figures
    assert figures["validation"] is None and figures["gaussian_difference"] is None
    assert figures["best_epoch"] == 2 and np.isfinite(figures["negative_log_likelihood"])
    said, page = "\n".join(figures["warnings"]), workdir.report.read_text()
    for text in (
        "No validation loss was finite, so the last weights were kept.",
        "validation is inf", "gaussian_difference is inf",
        "Without the picture learning_curve", "ZeroDivisionError: no axes",
        "Without the errors of the inverse",
    ):  # fmt: skip
        assert text in said and text in page
        assert text in report.text(figures)
    pictures = {p.stem for p in workdir.pictures.iterdir()}
    assert pictures == {"lipschitz", "marginals", "spectra"}
    assert SavedRun(str(workdir.path)).flow.event_shape == (2,)
    saved = Checkpoints(workdir).read_state()
    assert saved.best == np.inf and len(saved.rows) == 2
    commands.evaluate(workdir=str(workdir.path), examples=5)
    assert "warnings" in strict(workdir.path / "evaluation.json")


def poison(monkeypatch, *lost):
    """Makes the batches of steps `lost[k]` NaN the k-th time that training begins, or the last."""
    times, batches = [], train.build.make_batches

    def spoiled(dataset, options, first_step, labelled, pipeline):
        steps = tf.constant(lost[min(len(times), len(lost) - 1)], tf.int64)
        times.append(first_step)
        found = tf.data.Dataset.range(first_step, options.total_steps)
        pairs = tf.data.Dataset.zip(
            found, batches(dataset, options, first_step, labelled, pipeline)
        )
        return pairs.map(lambda i, x: tf.where(tf.reduce_any(i == steps), np.nan * x, x))

    monkeypatch.setattr(train.build, "make_batches", spoiled)
    return times


def fitted(config, path, **options):
    """A flow and the state of its training, without a report."""
    training = {**config["training"], "epochs": 4, **options}
    config, workdir = train.resolve({**config, "training": training}), Workdir(path)
    dataset = train.build.make_dataset(config)
    model = train.build.make_model(config, dataset)
    with workdir.claim(config):
        state = train.fit(model, dataset, train.TrainingOptions(**config["training"]), workdir)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    return model, state


def test_a_loss_that_explodes_ends_training_with_the_best_so_far(
    config, tmp_path, monkeypatch, capsys
):
    """Named with its step and the layers; before any validation there is nothing to keep."""
    poison(monkeypatch, [7])
    _, state = fitted(config, tmp_path / "run")
    assert state.stopped == "the loss or its gradients weren't finite after step 7"
    assert (state.epoch, state.step) == (2, 6)
    named = r"Received in step 7: 16 examples of x with NaN"
    assert named in state.notes[0] and "kernel" in state.notes[0]
    assert named in capsys.readouterr().out
    poison(monkeypatch, [1])
    with pytest.raises(
        RunError, match=r"in step 1: .*Lower config\.training\.learning_rate.*another --wo"
    ):
        fitted(config, tmp_path / "early")


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_steps_that_are_not_finite_can_be_skipped_and_are_counted(
    jit_compile, config, tmp_path, monkeypatch, capfd
):
    """The means of an epoch are those of the steps that were taken."""
    poison(monkeypatch, [4, 7, 8])
    model, state = fitted(config, tmp_path / "run", on_nan="skip", jit_compile=jit_compile)
    assert (state.stopped, state.step, state.skipped) == ("all epochs were done", 12, 3)
    assert int(model.optimizer.iterations) == 9
    assert [row["skipped"] for row in state.rows] == [0, 1, 3, 3]
    assert all(np.isfinite(row["loss"]) for row in state.rows)
    if not jit_compile:
        assert capfd.readouterr().out.count("16 examples of x with NaN") == 3


def test_an_epoch_without_a_step_ends_training(config, tmp_path, monkeypatch):
    poison(monkeypatch, [6, 7, 8, 9])
    _, state = fitted(config, tmp_path / "run", on_nan="skip")
    assert state.stopped == "the loss was nan in epoch 3" and state.skipped == 3
    assert np.isnan(state.rows[-1]["loss"]) and np.isfinite(state.rows[-1]["val_loss"])


def test_a_rollback_returns_to_the_checkpoint_with_half_the_rate(config, tmp_path, monkeypatch):
    times = poison(monkeypatch, [7], [8], [])
    _, state = fitted(config, tmp_path / "run", on_nan="rollback", decay="constant", warmup_steps=0)
    assert (state.stopped, state.rate_factor) == ("all epochs were done", 0.25)
    assert state.failed_step == -1  # which is behind a validation
    assert times == [0, 6, 6]
    rates = np.array([row["learning_rate"] for row in state.rows])
    np.testing.assert_allclose(rates, rates[0] * np.array([1, 1, 0.25, 0.25]), rtol=1e-6)
    assert "Going on after step 6, with 0.5 of the rate" in state.notes[0]


def test_rollbacks_have_an_end(config, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "ROLLBACKS", 2)
    times = poison(monkeypatch, [7])
    _, state = fitted(config, tmp_path / "run", on_nan="rollback")
    assert times == [0, 6, 3] and len(state.notes) == 3
    assert state.stopped == "the loss or its gradients weren't finite after step 7"


def pretend(monkeypatch, *lost):
    """Replaces training by steps that change nothing and write checkpoints as they do.

    The k-th time it fails at step `lost[k]`, or the last; None for not at all.
    """
    times = []

    def steps(model, dataset, options, state, checkpoints, signals):
        failing = lost[min(len(times), len(lost) - 1)]
        times.append(state.step)
        recorder = train.Recorder(state, options, checkpoints)
        recorder.set_model(model)
        recorder.on_train_begin()
        while state.step < options.total_steps:
            if state.step == failing:
                raise FloatingPointError("Expected a finite loss.")
            state.step += 1
            recorder.on_train_batch_end(0)
        state.stopped, state.best_weights = "all epochs were done", model.get_weights()

    monkeypatch.setattr(train, "_train", steps)
    return times


ROLLBACK = {"on_nan": "rollback", "epochs": 4}


@pytest.mark.parametrize(
    ("lost", "begun"),
    [
        ([7, 7, None], [0, 6, 3]),  # no further than before
        ([7, 8, None], [0, 6, 6]),
        ([6, None], [0, 3]),  # from the weights of the last checkpoint, which would fail again
    ],
)
def test_a_checkpoint_from_which_training_fails_again_gives_way_to_the_one_before(
    lost, begun, config, tmp_path, monkeypatch
):
    times = pretend(monkeypatch, *lost)
    _, state = fitted(config, tmp_path / "run", **ROLLBACK, checkpoint_steps=3)
    assert times == begun
    assert (state.stopped, state.rate_factor) == ("all epochs were done", 0.5 ** (len(begun) - 1))
    assert len(state.notes) == len(begun) - 1


def test_rollbacks_and_what_follows_keep_the_checkpoint_that_they_went_back_to(
    config, tmp_path, monkeypatch
):
    """Weights that a step has ruined are in the newer checkpoint, and only there."""
    monkeypatch.setattr(train, "ROLLBACKS", 5)
    times = pretend(monkeypatch, 1, 1, 2)
    with pytest.raises(RunError, match="Nothing was validated before"):
        fitted(config, tmp_path / "run", **ROLLBACK, checkpoint_steps=1)
    assert times == [0] * 6
    found = Checkpoints(Workdir(tmp_path / "run"))._newest_first()
    assert [checkpoints._read_header(path).state["step"] for path in found] == [2, 0]
