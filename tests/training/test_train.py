"""A run killed at any moment ends like one that wasn't; what can't be done is refused untouched."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from tf_iresnet.certify import certify
from tf_iresnet.data import TableError
from tf_iresnet.training import build, checkpoints
from tf_iresnet.training.train import resolve, train_and_evaluate
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


def changed(**sections):
    """The config with fields of some sections replaced."""
    return {name: {**CONFIG[name], **sections.get(name, {})} for name in CONFIG}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, in the process of the tests."""
    workdir = Workdir(tmp_path_factory.mktemp("train") / "run")
    figures = train_and_evaluate(CONFIG, workdir.path)
    return workdir, figures


def start(path, kill_at=None):
    """Trains in a process of its own, which kills itself without warning where it is told to.

    `kill_at` is "epoch:step" for the middle of an epoch, or the name of a file, half of which has
    then been written.
    """
    code = f"""
import json, os, signal, sys
import keras
from tf_iresnet.training import callbacks, train, workdir
kill_at = {kill_at!r}
class Kill(callbacks.Pace):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if kill_at == f"{{self.epoch}}:{{batch}}":
            os.kill(os.getpid(), signal.SIGKILL)
train.Pace = Kill
fsync = os.fsync
def kill_half_way(descriptor):
    if os.path.basename(os.readlink(f"/proc/self/fd/{{descriptor}}")) == f".{{kill_at}}.partial":
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = kill_half_way
train.train_and_evaluate(json.loads({json.dumps(CONFIG)!r}), {str(path)!r})
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def contents(workdir):
    """All that has to be the same: weights, optimizer, best weights, table and figures."""
    arrays = dict(np.load(workdir.checkpoint))
    state = json.loads(arrays.pop("state").tobytes())
    state.pop("elapsed")
    model = keras.models.load_model(workdir.model)
    return {
        **arrays,
        **{f"final/{i}": np.asarray(w) for i, w in enumerate(model.weights)},
        "state": json.dumps(state),
        "metrics.csv": workdir.metrics.read_bytes(),
        "figures.json": workdir.figures.read_bytes(),
    }


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_and_resumed_it_ends_with_the_same_bits(run, tmp_path):
    """Killed in its first epoch, in its second, half-way through a checkpoint and at the end."""
    resumed = Workdir(tmp_path / "run")
    for kill_at in ("0:7", "1:3", "checkpoint.npz", "report.html"):
        process = start(resumed.path, kill_at)
        assert process.returncode == -signal.SIGKILL, process.stderr
        assert not resumed.figures.exists()
    process = start(resumed.path)
    assert process.returncode == 0, process.stderr
    expected, found = contents(run[0]), contents(resumed)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
