"""The same training on one device, on two, and in two processes, of which one may die."""

import signal
import time

import numpy as np
import pytest
from support.killed_runs import assert_same, contents, server
from support.table_run import config_of_table
from support.workers import Job, jobs, work

import train_workers
from tf_iresnet.training import report
from tf_iresnet.training.checkpoints import Checkpoints
from tf_iresnet.training.train import train_and_evaluate
from tf_iresnet.training.workdir import Workdir

TRAINING = {
    "steps_per_epoch": 5, "epochs": 3, "warmup_steps": 5, "learning_rate": 3e-3, "batch_size": 32,
    "ema_momentum": 0.9, "evaluation_batch_size": 101, "evaluation_examples": 10, "clip_norm": 0.5,
}  # fmt: skip
SERIES = {"name": "power_series", "terms": 4}  # with random probes
SMALL = {"blocks": [1, 1], "width": 4}
CONFIGS = {
    # With ActNorm, dequantised, and averaged weights.
    "flow": {
        "model": {
            "num_blocks": 2, "hidden_units": [8, 8], "log_det": SERIES,
            "preprocessing": {"name": "logit", "alpha": 1e-3},
        },
        "data": {"name": "digits"},
        "training": {**TRAINING, "clip_norm": 0.1, "checkpoint_steps": 2},
    },
    "images": {
        "model": {
            "architecture": "resflow-mnist", **SMALL, "tail_blocks": 1, "tail_width": 4,
            "log_det": {"name": "auto", "training": SERIES},
            "preprocessing": {"name": "logit", "alpha": 1e-6},
        },
        "data": {"name": "digits_image"},
        "training": TRAINING,
    },
    "classifier": {
        "model": {
            "task": "classifier", "architecture": "iresnet-classifier-cifar10", **SMALL,
            "pad_channels": 1, "coefficient": 0.9, "preprocessing": "centered",
        },
        "data": {"name": "digits_image", "pad_crop": 1},
        "training": TRAINING,
    },
}  # fmt: skip


def curve(path):
    return np.genfromtxt(Workdir(path).metrics, delimiter=",", names=True)


def assert_same_curve(expected, found, rtol=1e-5):
    assert expected.dtype.names == found.dtype.names
    for name in expected.dtype.names:
        np.testing.assert_allclose(found[name], expected[name], rtol=rtol, err_msg=name)


def in_two_workers(config, path, **options):
    command = {"config": config, "path": str(path), "strategy": "multi_worker", **options}
    return train_workers.run(command, 2, str(path), attempts=100)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_one_device_two_and_two_workers_have_the_same_curve(name, tmp_path, monkeypatch):
    config = CONFIGS[name]
    monkeypatch.setattr(report, "run_pictures", lambda *_: [])
    figures = [train_and_evaluate(config, tmp_path / s, s) for s in ("one", "mirrored")]
    with jobs(monkeypatch):
        assert in_two_workers(config, tmp_path / "workers") == 0
    figures.append(Workdir(tmp_path / "workers").read_figures())
    one = curve(tmp_path / "one")
    for other in ("mirrored", "workers"):
        assert_same_curve(one, curve(tmp_path / other))
    measured = "accuracy" if name == "classifier" else "negative_log_likelihood"
    for found in figures[1:]:
        assert found[measured] == pytest.approx(figures[0][measured], rel=1e-4)
    # And the run of several is finished for one.
    assert train_and_evaluate(config, tmp_path / "workers") == figures[2]


KILLS = 10


def but_for_means(path):
    found = contents(Workdir(path))
    return {name: found[name] for name in found if name not in ("state", "metrics.csv")}


@pytest.mark.slow
def test_workers_die_again_and_again_and_the_job_ends_with_the_same_weights(tmp_path, monkeypatch):
    """To the bit, as do optimizer and figures; the means of an epoch but for rounding.

    Of these each worker has a part, and after a restart an equal share of the sum.
    """
    config = CONFIGS["flow"]
    config = {**config, "training": {**config["training"], "epochs": 6}}
    with jobs(monkeypatch):
        began = time.monotonic()
        assert in_two_workers(config, tmp_path / "whole") == 0
        seconds = time.monotonic() - began
    expected, killed, number = but_for_means(tmp_path / "whole"), [], 0
    while len(killed) < KILLS:
        number += 1
        path = tmp_path / f"{number}"
        with jobs(monkeypatch, seconds, seed=number) as kills:
            assert in_two_workers(config, path) == 0
        killed += kills
        assert_same(expected, but_for_means(path))
        assert_same_curve(curve(tmp_path / "whole"), curve(path), rtol=1e-6)
    print(f"{number} jobs, {len(killed)} kills of a worker, {killed.count(0)} of them of the first")


@pytest.mark.slow
def test_a_signal_to_one_worker_ends_both_after_a_checkpoint_and_the_job_goes_on(tmp_path):
    """And when one is killed the other ends by itself, with a status of its own."""
    config, path = CONFIGS["flow"], tmp_path / "run"
    config = {**config, "training": {**config["training"], "epochs": 1000}}
    command = {"config": config, "path": str(path), "strategy": "multi_worker"}
    Job.context = server()
    job = Job(command, 2)
    while not (state := Checkpoints(Workdir(path)).read_state()) or state.step < 4:
        assert [process.poll() for process in job.processes] == [None, None]
        time.sleep(0.1)
    job.processes[1].send_signal(signal.SIGTERM)
    assert job.wait() == 143
    assert [process.poll() for process in job.processes] == [143, 143]
    step = Checkpoints(Workdir(path)).read_state().step
    job = Job(command, 2)
    while Checkpoints(Workdir(path)).read_state().step <= step:
        assert [process.poll() for process in job.processes] == [None, None]
        time.sleep(0.1)
    job.processes[1].send_signal(signal.SIGKILL)
    job.processes[0].wait(300)
    assert [process.poll() for process in job.processes] == [75, -signal.SIGKILL]
    job.wait()


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{"training": {"epochs": 1}}, {"data": {"path": "nowhere"}}])
def test_workers_of_other_configs_or_without_data_end_before_anything_is_written(changed, tmp_path):
    config, path = config_of_table(tmp_path), tmp_path / "run"

    class Different(Job):
        context = server()

        def start(self, command, index, tf_config):
            other = {name: {**config[name], **changed.get(name, {})} for name in config}
            command = {**command, "config": other if index else config}
            return super().start(command, index, tf_config)

    job = Different({"path": str(path), "strategy": "multi_worker"}, 2)
    for process in job.processes:
        process.wait(100)
    assert [process.poll() for process in job.processes] == [2, 2]
    assert not path.exists()
    job.wait()


@pytest.mark.slow
@pytest.mark.parametrize("on_nan", ["rollback", "skip"])
def test_a_bad_row_of_one_worker_is_dealt_with_by_both(on_nan, tmp_path, monkeypatch):
    """As on one device: both go back to the checkpoint, or leave the step out."""
    config = CONFIGS["flow"]
    training = {**config["training"], "on_nan": on_nan, "decay": "constant", "warmup_steps": 0}
    config, poison = {**config, "training": training}, (7, 20)  # of the second worker
    context = server()
    one = {"config": config, "path": str(tmp_path / "one"), "strategy": "one", "poison": poison}
    process = context.Process(target=work, kwargs=one)
    process.start()
    process.join()
    with jobs(monkeypatch):
        assert in_two_workers(config, tmp_path / "workers", poison=poison) == 0
    states = [Checkpoints(Workdir(tmp_path / name)).read_state() for name in ("one", "workers")]
    for state in states:
        assert state.stopped == "all epochs were done"
        assert (state.rate_factor, state.skipped) == ((0.5, 0) if on_nan == "rollback" else (1, 1))
    assert_same_curve(curve(tmp_path / "one"), curve(tmp_path / "workers"))
