"""Runs in processes of their own that end without notice, where they are told to or at any time."""

import json
import multiprocessing
import os
import signal

import keras
import numpy as np

from tf_iresnet.training.checkpoints import Checkpoints

THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


def server():
    """A context of processes that start in milliseconds: they begin with TensorFlow loaded.

    They run on as many threads as a user's run does; the tests' own environment says one.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tf_iresnet.training.train", "matplotlib.figure"])
    before = {name: os.environ.pop(name) for name in THREADS if name in os.environ}
    context.Process(target=int).start()  # what starts the server, which keeps its environment
    os.environ.update(before)
    return context


def train(config, path, kill=None):
    """Trains in `path`, without the pictures, which aren't compared.

    `kill` is None or the number of a call of the system, from 0, and what is then left of a file
    that is being written: the process kills itself in the place of that `fsync`, or after it.
    """
    from tf_iresnet.training import report
    from tf_iresnet.training.train import train_and_evaluate

    report.run_pictures = lambda *_: []
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if kill is not None:
        _kill_in_a_write(*kill)
    train_and_evaluate(config, path)


def _kill_in_a_write(number, left):
    calls, fsync, replace = iter(range(10**9)), os.fsync, os.replace

    def killing_fsync(descriptor):
        if next(calls) == number:
            if "partial" in os.readlink(f"/proc/self/fd/{descriptor}"):
                os.ftruncate(descriptor, int(left * os.fstat(descriptor).st_size))
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    def killing_replace(*paths):
        replace(*paths)
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync, os.replace = killing_fsync, killing_replace


def contents(workdir):
    """All that has to be the same: weights, optimizer, best weights, table and figures."""
    newest = Checkpoints(workdir)._newest_first()[0]
    arrays = {k: v for k, v in dict(np.load(newest)).items() if k != "header.json"}
    state = Checkpoints(workdir).read_state()
    model = keras.models.load_model(workdir.model)
    return {
        **arrays,
        **{f"final/{i}": np.asarray(w) for i, w in enumerate(model.weights)},
        "state": json.dumps({**vars(state), "elapsed": None}),
        "metrics.csv": workdir.metrics.read_bytes(),
        "figures.json": workdir.figures.read_bytes(),
    }


def assert_same(expected, found):
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
