"""The four scripts as a user meets them: a table in, a certified density and samples out."""

import json
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from support.scripts import ROOT, in_a_process, in_this_process

from tf_iresnet import mlp_flow
from tf_iresnet.certify import certify
from tf_iresnet.data import TableError
from tf_iresnet.training import commands
from tf_iresnet.training.callbacks import Schedule
from tf_iresnet.training.workdir import RunError

COLUMNS = ["height", "weight", "age"]


def write_table(path, seed, rows):
    values = np.random.default_rng(seed).normal([170, 70, 40], [10, 9, 12], size=(rows, 3))
    pd.DataFrame(values, columns=COLUMNS).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of configs/tabular.py by the command of its docstring, smaller and shorter."""
    folder = tmp_path_factory.mktemp("scripts")
    path = write_table(folder / "my.csv", seed=0, rows=300)
    return folder / "run", train(in_a_process, path, folder / "run")


def train(script, table, workdir, *flags):
    """What the script prints."""
    status, output, errors = script(
        "train", "--config=configs/tabular.py", f"--config.data.path={table}",
        f"--workdir={workdir}", "--config.model.num_blocks=2",
        "--config.model.hidden_units=(8,)", "--config.training.epochs=2",
        "--config.training.steps_per_epoch=5", "--config.training.batch_size=32", *flags,
    )  # fmt: skip
    assert (status, errors) == (0, [])
    return output


def test_nothing_is_said_but_what_the_user_asked_for(run, tmp_path):
    """No log of TensorFlow's, which `train` would otherwise have failed for."""
    status, output, errors = in_a_process("train", "--list", cwd=tmp_path)
    assert (status, errors) == (0, [])
    listed = [line.split(maxsplit=1) for line in output.splitlines()]
    assert [os.path.basename(path) for path, _ in listed] == sorted(os.listdir(ROOT / "configs"))
    assert dict(listed)[os.path.relpath(ROOT / "configs/tabular.py", tmp_path)].startswith("The de")


def test_training_ends_with_the_figures_and_where_the_report_is(run):
    workdir, output = run
    assert "epoch 2/2  100%" in output and "ETA" in output
    assert "better than a Gaussian by" in output and "better than a mixture by" in output
    for script in ("evaluate", "sample", "certify"):
        assert f"python scripts/{script}.py --workdir={workdir}" in output
    assert "negative log-likelihood" in output and "± " in output
    assert output.splitlines()[-1] == f"Report: {workdir / 'report.html'}"
    assert (workdir / "report.html").exists()


def test_a_signal_ends_training_after_a_checkpoint_and_the_same_command_goes_on(
    tmp_path, monkeypatch
):
    def step(schedule, batch, logs=None):
        after_step(schedule, batch, logs)
        if schedule.state.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    after_step = Schedule.on_train_batch_end
    monkeypatch.setattr(Schedule, "on_train_batch_end", step)
    table = write_table(tmp_path / "my.csv", seed=0, rows=300)
    command = (
        "train", "--config=configs/tabular.py", f"--config.data.path={table}",
        f"--workdir={tmp_path / 'run'}", "--config.model.num_blocks=1",
        "--config.model.hidden_units=(4,)", "--config.training.epochs=2",
        "--config.training.steps_per_epoch=5", "--config.training.batch_size=32",
    )  # fmt: skip
    status, output, errors = in_this_process(*command)
    assert status == 143
    assert "SIGTERM: finishing the step; once more to stop at once." in output
    assert errors == [
        "SIGTERM: stopped after step 7 of 10, which is saved. The same command goes on from there."
    ]
    status, output, errors = in_this_process(*command)
    assert (status, errors) == (0, [])
    assert "Going on after step 7 of 10, in epoch 2 of 2." in output


@pytest.mark.slow
def test_a_process_that_is_terminated_ends_with_its_own_status_and_goes_on(tmp_path):
    command = [
        sys.executable, "scripts/train.py", "--config=configs/toy.py", f"--workdir={tmp_path}/run",
        "--config.training.epochs=400", "--config.training.steps_per_epoch=5",
        "--config.model.num_blocks=2",
    ]  # fmt: skip
    for first in ("epoch 1/400", "Going on after step"):
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert any(line.startswith(first) for line in process.stdout)
        assert any(line.startswith("epoch ") for line in process.stdout)
        process.terminate()
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 143
        assert "The same command goes on from there." in errors


def test_sampling_writes_a_table_in_the_users_columns_and_units(run, tmp_path):
    status, _, errors = in_a_process(
        "sample", f"--workdir={run[0]}", "--num=500", "--seed=1", "--output=s.csv", cwd=tmp_path
    )
    assert status == 0, errors
    table = pd.read_csv(tmp_path / "s.csv")
    assert list(table) == COLUMNS and len(table) == 500
    assert np.all(np.abs(table.mean() - [170, 70, 40]) < [8, 8, 10])


def test_evaluation_is_that_of_training_and_is_written_as_json(run, capsys):
    workdir, _ = run
    figures = commands.evaluate(workdir=str(workdir), batch_size=50)
    written = json.loads((workdir / "evaluation.json").read_text())
    assert written == figures
    trained = json.loads((workdir / "figures.json").read_text())
    for name in ("negative_log_likelihood", "lipschitz_bound"):
        assert figures[name] == pytest.approx(trained[name], rel=1e-5)
    text = capsys.readouterr().out
    for told in ("nats", "truncation bound", "reconstruction error", "iterations of the inverse"):
        assert told in text


def test_new_rows_are_measured_in_the_same_units(run, tmp_path):
    """By the change of units: grams for kilograms cost ln 1000 nats, and are no longer likely."""
    path = write_table(tmp_path / "new.csv", seed=1, rows=80)
    output = tmp_path / "new.json"
    figures = commands.evaluate(workdir=str(run[0]), table=str(path), output=str(output))
    flow = keras.models.load_model(run[0] / "model.keras")
    rows = pd.read_csv(path).to_numpy("float32")
    assert figures["examples"] == 80
    assert figures["negative_log_likelihood"] == pytest.approx(
        -float(np.mean(flow.log_prob(rows))), rel=1e-5
    )
    pd.read_csv(path).assign(weight=lambda t: 1000 * t.weight).to_csv(path, index=False)
    grams = commands.evaluate(
        workdir=str(run[0]), table=str(path), output=str(output), overwrite=True
    )
    assert grams["negative_log_likelihood"] > figures["negative_log_likelihood"] + 100


def test_columns_are_found_by_name_and_missed_by_name(run, tmp_path):
    path = write_table(tmp_path / "new.csv", seed=1, rows=80)
    output = str(tmp_path / "new.json")
    straight = commands.evaluate(workdir=str(run[0]), table=str(path), output=output)
    pd.read_csv(path)[COLUMNS[::-1]].to_csv(path, index=False)
    turned = commands.evaluate(workdir=str(run[0]), table=str(path), output=output, overwrite=True)
    assert turned["negative_log_likelihood"] == straight["negative_log_likelihood"]
    pd.read_csv(path).rename(columns={"age": "years"}).to_csv(path, index=False)
    with pytest.raises(TableError, match="age"):
        commands.evaluate(workdir=str(run[0]), table=str(path), output=output, overwrite=True)


def test_certifying_a_trained_model_says_yes(run, capsys):
    assert commands.certify(workdir=str(run[0])) == 0
    assert "every block is invertible" in capsys.readouterr().out


def test_a_certificate_may_be_compared_with_what_the_data_see(run, tmp_path, capsys):
    table = write_table(tmp_path / "new.csv", seed=1, rows=80)
    for data in ("test", "validation", str(table)):
        assert commands.certify(workdir=str(run[0]), data=data, examples=20) == 0
        output = capsys.readouterr().out
        assert "Lip(g) ≤   on data" in output and "every block is invertible" in output
    flags = (f"--workdir={run[0]}", "--data", "--examples=20")
    status, output, errors = in_this_process("certify", *flags)
    assert (status, errors) == (0, []) and "on data" in output


def test_lipschitz_mlps_model_a_table_from_training_to_a_certificate(tmp_path, capsys):
    table = write_table(tmp_path / "my.csv", seed=0, rows=300)
    workdir = tmp_path / "run"
    output = train(in_this_process, table, workdir, "--config.model.branch=lipschitz_mlp")
    assert output.splitlines()[-1] == f"Report: {workdir / 'report.html'}"
    pictures = {p.stem for p in (workdir / "pictures").iterdir()}
    assert pictures == {"learning_curve", "lipschitz", "marginals"}
    commands.sample(str(tmp_path / "s.csv"), workdir=str(workdir), num=20)
    samples = pd.read_csv(tmp_path / "s.csv")
    assert list(samples) == COLUMNS and samples.shape == (20, 3) and np.all(np.isfinite(samples))
    figures = commands.evaluate(workdir=str(workdir))
    trained = json.loads((workdir / "figures.json").read_text())
    for name in ("negative_log_likelihood", "lipschitz_bound"):
        assert figures[name] == pytest.approx(trained[name], rel=1e-5)
    assert 0.9 < figures["lipschitz_bound"] <= 0.97
    capsys.readouterr()
    assert commands.certify(workdir=str(workdir), data="test", examples=20) == 0
    assert "every block is invertible" in capsys.readouterr().out


def loosen(flow):
    """One pass a call, as in the papers, from useless vectors: norms are not what they seem."""
    for dense in flow.layer.layers[-1].layer.layers[1].branch.layers:
        dense.power_iterations = dense.rule.iterations = 1  # in the config, and from now on
    for layer in flow.layer.layers:
        for variable in layer.variables:
            if "kernel" in variable.path:
                kernel = np.zeros(variable.shape, "float32")
                size = min(kernel.shape[-2:])
                kernel[..., range(size), range(size)] = 1e-3
                kernel[..., 0, 0] = 3.0
                variable.assign(kernel)
            elif not variable.trainable and "vector" in variable.path:
                vector = np.zeros(variable.shape, "float32")
                vector[..., 1] = 1.0
                variable.assign(vector)


def test_a_model_that_is_not_certified_is_exit_status_1_and_its_enforced_copy_is_0(tmp_path):
    flow = mlp_flow(3, num_blocks=2, hidden_units=(8,), seed=0)
    loosen(flow)
    path, copy = tmp_path / "loose.keras", tmp_path / "copy.keras"
    flow.save(path)
    before = path.read_bytes()
    status, output, errors = in_a_process("certify", f"--model={path}")
    assert (status, errors) == (1, []) and "NOT certified" in output
    assert commands.certify(model=str(path), enforce=True, output=str(copy)) == 0
    assert certify(keras.models.load_model(copy)).invertible
    assert path.read_bytes() == before, "the original is left alone"


def test_a_bad_table_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n3,oops\n")
    status, _, errors = in_this_process(
        "train", f"--config={ROOT / 'configs' / 'tabular.py'}", "--config.data.path=bad.csv",
        "--workdir=run", cwd=tmp_path,
    )  # fmt: skip
    assert status == 2
    assert len(errors) == 1 and "bad.csv" in errors[0] and "oops" in errors[0]
    assert [p.name for p in tmp_path.iterdir()] == ["bad.csv"]


def test_a_misspelt_field_is_one_line_with_the_right_one():
    status, _, errors = in_this_process(
        "train", "--config=configs/toy.py", "--config.training.epoch=3", "--workdir=nowhere"
    )
    assert status == 2
    assert errors == [
        "train.py: Expected known fields in config.training. Received: epoch (did you mean epochs?)"
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: commands.sample("s.csv"), "either --workdir"),
        (lambda d: commands.sample("s.csv", workdir="a", model="b"), "either --workdir"),
        (lambda d: commands.sample("s.csv", model="nowhere.keras"), "nowhere.keras, which isn't"),
        (lambda d: commands.sample("s.csv", model=str(d / "text.keras")), "to be a .keras file"),
        (lambda d: commands.sample("s.csv", model=str(d / "dense.keras")), "a ResidualFlow"),
        (lambda d: commands.certify(model=str(d / "dense.keras")), "blocks or spectral layers"),
        (lambda d: commands.certify(model="a", enforce=True), "--enforce and --output"),
        (lambda d: commands.evaluate(model=str(d / "flow.keras")), "Expected --output"),
        (
            lambda d: commands.evaluate(model=str(d / "flow.keras"), output=str(d / "e.json")),
            "by --data",
        ),
        (
            lambda d: commands.evaluate(
                model=str(d / "flow.keras"), table=str(d / "my.csv"), output=str(d / "e.json")
            ),
            "of 2 columns.*with 3",
        ),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(call, message, tmp_path, monkeypatch):
    (tmp_path / "text.keras").write_text("not a model")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]).save(tmp_path / "dense.keras")
    mlp_flow(2, num_blocks=1, hidden_units=(4,), seed=0).save(tmp_path / "flow.keras")
    write_table(tmp_path / "my.csv", seed=0, rows=30)
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=message):
        call(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "flag", "known"),
    [
        ("benchmark", "--suite", ("train_step", "first_step", "sample", "log_prob", "inverse")),
        ("compare", "--table", ("blocks", "branches", "constraints", "patches")),
    ],
)
def test_an_unknown_comparison_is_refused_with_those_there_are(name, flag, known, tmp_path):
    status, _, errors = in_a_process(name, f"{flag}=none", "--workdir=none", cwd=tmp_path)
    assert status in (1, 2)
    assert any("should be one of" in line and all(k in line for k in known) for line in errors)
    assert not list(tmp_path.iterdir())


def test_comparisons_are_found_from_any_directory(tmp_path):
    status, _, errors = in_this_process(
        "compare", "--table=patches", "--workdir=a", "--jobs=2", cwd=tmp_path
    )
    assert (status, len(errors)) == (2, 1) and "Expected no --jobs" in errors[0]
    assert not list(tmp_path.iterdir())
