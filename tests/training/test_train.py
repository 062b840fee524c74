"""A run killed at any moment ends like one that wasn't; what can't be done is refused untouched."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import killed_runs
from support.killed_runs import THREADS, assert_same, contents, server

from tf_iresnet.certify import certify
from tf_iresnet.data import TableError
from tf_iresnet.training import build, report, train
from tf_iresnet.training.callbacks import Schedule
from tf_iresnet.training.checkpoints import Checkpoints, RunState
from tf_iresnet.training.interruption import Interrupted
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.train import reproducible_sums, resolve, train_and_evaluate
from tf_iresnet.training.workdir import RunError, Workdir

CONFIG = {
    "model": {"num_blocks": 2, "hidden_units": [8, 8], "activation": "sine", "log_det": "exact"},
    "data": {
        "name": "toy", "density": "8gaussians", "validation_size": 200, "test_size": 300,
    },
    "training": {
        "batch_size": 32, "steps_per_epoch": 15, "epochs": 3, "warmup_steps": 5,
        "learning_rate": 5e-3, "ema_momentum": 0.9, "evaluation_batch_size": 200,
        "evaluation_examples": 50,
    },
}  # fmt: skip
# Finite data, whose epochs end within those of training, an estimated log-det, and enough blocks
# and terms for any sum whose order is left to chance to show.
ESTIMATED = {
    "model": {
        "num_blocks": 12, "hidden_units": [8, 8], "log_det": {"name": "power_series", "terms": 4},
        "preprocessing": {"name": "logit", "alpha": 1e-3},
    },
    "data": {"name": "digits"},
    "training": {**CONFIG["training"], "clip_norm": 0.1, "batch_size": 128, "checkpoint_steps": 4,
        "accumulate_steps": 2},
}  # fmt: skip


def changed(**sections):
    """The config with fields of some sections replaced."""
    return {name: {**CONFIG[name], **sections.get(name, {})} for name in CONFIG}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, in the process of the tests."""
    workdir = Workdir(tmp_path_factory.mktemp("train") / "run")
    figures = train_and_evaluate(CONFIG, workdir.path)
    return workdir, figures


def start(config, path, kill_at=None):
    """Trains in a process of its own, which kills itself without warning where it is told to.

    `kill_at` is "epoch:step" for the middle of an epoch, or the name of a file, half of which has
    then been written.
    """
    code = f"""
import json, os, signal
from tf_iresnet.training import callbacks, report, train
report.run_pictures = lambda *_: []  # which aren't compared
kill_at = {kill_at!r}
class Kill(callbacks.Schedule):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if kill_at == f"{{self.epoch}}:{{batch}}":
            os.kill(os.getpid(), signal.SIGKILL)
train.Schedule = Kill
fsync = os.fsync
def kill_half_way(descriptor):
    if os.path.basename(os.readlink(f"/proc/self/fd/{{descriptor}}")) == f".partial.{{kill_at}}":
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = kill_half_way
train.train_and_evaluate(json.loads({json.dumps(config)!r}), {str(path)!r})
"""
    # On as many threads as a user's run has; the tests' own environment says one.
    environment = {k: v for k, v in os.environ.items() if k not in THREADS}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=150, env=environment
    )


@pytest.mark.skipif(sys.platform != "linux", reason="finds out in /proc which file is written")
@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bits(tmp_path):
    """Killed amid its second epoch, then half-way through a checkpoint; each in its own process."""
    whole, resumed = Workdir(tmp_path / "whole"), Workdir(tmp_path / "resumed")
    process = start(ESTIMATED, whole.path)
    assert process.returncode == 0, process.stderr
    for kill_at in ("1:10", "checkpoint2.npz"):
        process = start(ESTIMATED, resumed.path, kill_at)
        assert process.returncode == -signal.SIGKILL, process.stderr
        assert not resumed.figures.exists()
    process = start(ESTIMATED, resumed.path)
    assert process.returncode == 0, process.stderr
    assert "Going on after step 23 of 45, in epoch 2 of 3." in process.stdout
    assert_same(contents(whole), contents(resumed))


def test_interrupted_and_resumed_it_ends_with_the_same_bits(run, tmp_path, monkeypatch):
    """In the process of the tests, amid the second epoch."""

    def step(schedule, batch, logs=None):
        after_step(schedule, batch, logs)
        if schedule.state.step == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    resumed, after_step = Workdir(tmp_path / "run"), Schedule.on_train_batch_end
    monkeypatch.setattr(report, "run_pictures", lambda *_: [])  # which aren't compared
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="after step 20 of 45"):
        patch.setattr(Schedule, "on_train_batch_end", step)
        train_and_evaluate(CONFIG, resumed.path)
    train_and_evaluate(CONFIG, resumed.path)
    assert_same(contents(run[0]), contents(resumed))


def test_a_step_from_the_same_state_gives_the_same_bits():
    """Twelve blocks of four unrolled terms: many additions, whose order must not be left to chance.

    (With TensorFlow's arithmetic optimizer nearly every repetition differs here.)
    """
    config = resolve(ESTIMATED)
    dataset = build.make_dataset(config)
    flow = build.make_model(config, dataset)
    options = TrainingOptions(**config["training"])
    batch = next(iter(build.make_batches(dataset, options, 0)))
    flow.optimizer.build(flow.trainable_variables)
    variables = [*flow.variables, *flow.optimizer.variables]
    with reproducible_sums():
        flow.train_on_batch(batch)
        start = [v.numpy() for v in variables]
        ends = []
        for _ in range(20):
            for variable, value in zip(variables, start, strict=True):
                variable.assign(value)
            flow.train_on_batch(batch)
            ends.append(np.concatenate([v.numpy().ravel() for v in flow.trainable_variables]))
    for end in ends[1:]:
        np.testing.assert_array_equal(end, ends[0])


def test_settings_of_tensorflow_are_as_before_after_a_run(run):
    options = tf.config.optimizer.get_experimental_options()
    assert options.get("arithmetic_optimization", True)


KILLS = 50


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds out in /proc what is written")
def test_killed_again_and_again_it_ends_with_the_same_bits(tmp_path):
    """At random moments and in the middle of writes, by turns; as many runs as that takes."""
    training = {**ESTIMATED["training"], "checkpoint_steps": 3, "epochs": 12}
    config = {**ESTIMATED, "training": training, "model": {**ESTIMATED["model"], "num_blocks": 4}}
    context, random, kills, runs = server(), np.random.default_rng(0), [0, 0], 0

    def run(path, kill=None, seconds=None):
        process = context.Process(target=killed_runs.train, args=(config, str(path), kill))
        process.start()
        process.join(seconds)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode == 0

    began = time.monotonic()
    assert run(tmp_path / "whole")
    seconds = time.monotonic() - began
    expected = contents(Workdir(tmp_path / "whole"))
    while sum(kills) < KILLS:
        runs += 1
        while True:
            in_a_write = sum(kills) % 2
            kill = (random.integers(40), random.random()) if in_a_write else None
            limit = None if in_a_write else random.uniform(0.1, 0.6) * seconds
            if run(tmp_path / f"{runs}", kill, limit):
                break
            kills[in_a_write] += 1
        assert_same(expected, contents(Workdir(tmp_path / f"{runs}")))
    print(f"{runs} runs, killed {kills[0]} times at any moment and {kills[1]} times in a write")


def test_a_run_that_died_over_its_report_only_makes_the_report_again(run, tmp_path, monkeypatch):
    workdir = Workdir(tmp_path / "run")
    shutil.copytree(run[0].path, workdir.path)
    workdir.figures.unlink()
    workdir.report.unlink()
    before = [path.stat().st_mtime_ns for path in workdir.checkpoints]

    def no_training(*_, **__):
        raise AssertionError("training was over")

    monkeypatch.setattr(train, "train_epochs", no_training)
    assert train_and_evaluate(CONFIG, workdir.path) == run[1]
    assert workdir.report.exists()
    assert [path.stat().st_mtime_ns for path in workdir.checkpoints] == before
    assert_same(contents(run[0]), contents(workdir))


def test_a_finished_run_gives_its_figures_without_being_run(run, monkeypatch):
    def nothing(*_):
        raise AssertionError("a finished run was started again")

    monkeypatch.setattr(build, "make_dataset", nothing)
    assert train_and_evaluate(CONFIG, run[0].path) == run[1]


def test_everything_promised_is_there(run):
    workdir, figures = run
    names = {p.name for p in workdir.path.iterdir()}
    assert names >= {"config.json", "metrics.csv", "model.keras", "figures.json", "report.html"}
    pictures = {p.name for p in workdir.pictures.iterdir()}
    assert pictures == {"density.png", "learning_curve.png", "lipschitz.png", "spectra.png"}
    assert figures["invertible"] and figures["inverse_converged"]
    assert figures["stopped"] == "all epochs were done"
    assert not list(workdir.path.rglob("*partial*")), "temporary files are cleared away"


def test_the_report_needs_nothing_but_itself(run):
    workdir, figures = run
    page = workdir.report.read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)|https?://|@import|url\(""", page)
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    files = [p.read_bytes() for p in workdir.pictures.iterdir()]
    assert sorted(map(base64.b64decode, images)) == sorted(files)
    for shown in (f"{figures['kl_divergence']:.4f}", "block 1", "hidden_units", str(workdir.path)):
        assert shown in page


def test_the_kept_model_has_the_best_validation_loss_and_certified_norms(run):
    """The norms are those of the averaged weights, not of the last ones of training."""
    workdir, figures = run
    model = keras.models.load_model(workdir.model)
    dataset = build.make_dataset(CONFIG)
    loss = -float(np.mean(model.log_prob(dataset.validation)))
    assert loss == pytest.approx(figures["validation"], rel=1e-5)
    rows = np.genfromtxt(workdir.metrics, delimiter=",", names=True)
    assert figures["validation"] == rows["val_loss"].min()
    certificate = certify(model)
    assert certificate.invertible
    for layer in certificate.layers:
        assert layer.upper_bound <= 1.03 * layer.coefficient


def test_events_for_tensorboard_hold_curves_and_pictures(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run[0].tensorboard
    tags = {p.name: EventAccumulator(str(p)).Reload().Tags() for p in folder.iterdir()}
    assert "epoch_loss" in tags["train"]["tensors"]
    assert "epoch_loss" in tags["validation"]["tensors"]
    assert {"density", "final/kl_divergence"} <= set(tags["final"]["tensors"])
    spent = EventAccumulator(str(folder / "seconds")).Reload()
    for name in ("data", "step", "validation", "checkpoint"):
        events = spent.Tensors(f"seconds/{name}")
        assert [event.step for event in events] == [0, 1, 2]
        seconds = [tf.make_ndarray(event.tensor_proto) for event in events]
        # Each epoch's own: together they are less than what passed from one to the next.
        assert 0 < seconds[1] < events[1].wall_time - events[0].wall_time


def test_another_config_is_refused_by_name(run):
    workdir, _ = run
    before = workdir.config.read_bytes()
    with pytest.raises(RunError, match=r"model\.num_blocks: 2 → 3; training\.epochs: 3 → 9\. Put"):
        train_and_evaluate(changed(model={"num_blocks": 3}, training={"epochs": 9}), workdir.path)
    assert workdir.config.read_bytes() == before


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed(model={"num_block": 3}), r"config\.model\. .*num_block \(did you mean num_blocks"),
        (changed(model={"coefficient": 1.5}), r"config\.model: .*bound"),
        (changed(model={"preprocessing": "whiten"}), "standardize.*whiten"),
        (changed(model={"preprocessing": "logit"}), "8gaussians, which is continuous"),
        (changed(data={"density": "9gaussians"}), r"config\.data: .*8gaussians.*9gaussians"),
        (changed(data={"name": "cifar"}), r"config\.data: "),
        (changed(training={"epoch": 3}), "did you mean epochs"),
        ({"model": {}, "data": {}}, "sections model, data, training"),
        (  # before the table is looked for
            {**changed(model={"num_block": 3}), "data": {"name": "table", "path": "none.csv"}},
            r"config\.model\. .*num_block \(did you mean num_blocks",
        ),
        ({**CONFIG, "data": {"name": "table", "path": None}}, r"--config\.data\.path=my\.csv"),
    ],
)
def test_a_wrong_config_is_one_line_and_leaves_nothing_behind(config, message, tmp_path):
    with pytest.raises(RunError, match=message) as error:
        train_and_evaluate(config, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("table", ["a,b\n1,2\n3,\n", "a,b\n1,x\n", "a\n1\n2\n", "", None])
def test_a_bad_table_leaves_nothing_behind(table, tmp_path):
    path = tmp_path / "table.csv"
    if table is not None:
        path.write_text(table)
    config = {**CONFIG, "data": {"name": "table", "path": str(path)}}
    with pytest.raises(TableError, match=r"table\.csv"):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_table_that_changed_under_a_run_is_not_gone_on_with(tmp_path):
    path = tmp_path / "table.csv"
    rows = np.random.default_rng(0).normal(size=(60, 2))
    np.savetxt(path, rows, delimiter=",", header="a,b", comments="")
    config = resolve({**CONFIG, "data": {"name": "table", "path": str(path)}})
    workdir = Workdir(tmp_path / "run")
    dataset = build.make_dataset(config)
    flow = build.make_model(config, dataset)
    digest = build.fingerprint(dataset, TrainingOptions(**config["training"]))
    flow.optimizer.build(flow.trainable_variables)
    with workdir.claim(config):
        Checkpoints(workdir).save(flow, RunState(step=15, epoch=1, data=digest))
    np.savetxt(path, 2 * rows, delimiter=",", header="a,b", comments="")
    with pytest.raises(RunError, match="other values under the same name"):
        train_and_evaluate(config, workdir.path)


def test_weight_decay_is_applied_to_kernels_and_to_nothing_else():
    """Decoupled: θ ← θ − rate·decay·θ."""
    config = resolve(changed(training={"weight_decay": 0.5, "learning_rate": 0.1}))
    flow = build.make_model(config, build.make_dataset(config))
    variables = flow.trainable_variables
    for i, v in enumerate(variables):
        v.assign(np.random.default_rng(i).normal(size=v.shape))
    before = [v.numpy() for v in variables]
    flow.optimizer.apply([keras.ops.zeros_like(v) for v in variables], variables)
    assert {"kernel" in v.path for v in variables} == {True, False}
    for v, old in zip(variables, before, strict=True):
        factor = 1 - 0.1 * 0.5 if "kernel" in v.path else 1.0
        np.testing.assert_allclose(v.numpy(), factor * old, rtol=1e-5, err_msg=v.path)


def test_the_global_norm_of_the_gradient_is_clipped():
    """Two gradients that differ beyond the bound only give the same first and second moments."""
    config = resolve(changed(training={"clip_norm": 1.0}))
    flow = build.make_model(config, build.make_dataset(config))
    variables = flow.trainable_variables
    ones = [keras.ops.ones_like(v) for v in variables]
    flow.optimizer.apply([1e3 * g for g in ones], variables)
    moments = [v.numpy() for v in flow.optimizer.variables if "momentum" in v.path]
    size = np.sqrt(sum(np.sum(m**2) for m in moments))
    assert size == pytest.approx((1 - config["training"]["beta_1"]) * 1.0, rel=1e-4)
