"""Workers that start in milliseconds: jobs of scripts/train_workers.py from a forkserver."""

import contextlib
import io
import os
import random
import subprocess
import sys
import threading

import numpy as np
import tensorflow as tf
from support.killed_runs import server

import train_workers
from tf_iresnet.data import DataError
from tf_iresnet.training import report, train
from tf_iresnet.training.cli import USAGE_ERROR
from tf_iresnet.training.interruption import Interrupted
from tf_iresnet.training.workdir import RunError


def work(config, path, strategy, tf_config="", poison=None):
    """Trains in a process of its own, without pictures; exits as the script does.

    `poison` is a row of a step, the first time that it is taken: (step, row) is NaN.
    """
    report.run_pictures = lambda *_: []
    os.environ["TF_CONFIG"] = tf_config
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if poison is not None:
        _poison(*poison)
    try:
        train.train_and_evaluate(config, path, strategy)
    except (RunError, DataError, Interrupted) as error:
        sys.exit(getattr(error, "status", USAGE_ERROR))


def _poison(lost, row):
    times, batches = [], train.build.make_batches

    def spoiled(dataset, options, first_step, labelled, pipeline):
        times.append(first_step)
        first, _ = (i * options.batch_size // pipeline[1] for i in (pipeline[0], 1))

        def spoil(step, x):
            bad = (step == lost) & (tf.range(len(x)) + first == row)
            return tf.where(bad[:, tf.newaxis], np.nan * x, x)

        found = batches(dataset, options, first_step, labelled, pipeline)
        steps = tf.data.Dataset.range(first_step, options.total_steps)
        return found if len(times) > 1 else tf.data.Dataset.zip(steps, found).map(spoil)

    train.build.make_batches = spoiled


class Forked:
    """What a job asks of a `subprocess.Popen`, of a process of the forkserver."""

    def __init__(self, process):
        self.process = process
        process.start()

    def poll(self):
        return self.process.exitcode

    def wait(self, timeout=None):
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("worker", timeout)

    def send_signal(self, signum):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signum)


class Job(train_workers.Job):
    """A job whose command is the arguments of `work`, by a dict; see `jobs`."""

    def start(self, command, index, config):
        arguments = {**command, "tf_config": config}
        return Forked(self.context.Process(target=work, kwargs=arguments))


@contextlib.contextmanager
def jobs(monkeypatch, seconds=None, seed=0):
    """Makes `train_workers.run` start such jobs; yields the kills so far.

    With `seconds`, one of the workers is killed after a random time of at most so long, in each job
    that still runs then.
    """
    kills, chance, context = [], random.Random(seed), server()

    class Killed(Job):
        def wait(self):
            def kill():
                victim = chance.randrange(len(self.processes))
                if None in [process.poll() for process in self.processes]:
                    kills.append(victim)
                    self.processes[victim].send_signal(9)

            timer = threading.Timer(chance.uniform(0.2, 1) * (seconds or 1), kill)
            if seconds is not None:
                timer.start()
            status = super().wait()
            timer.cancel()
            return status

    Killed.context = context
    monkeypatch.setattr(train_workers, "Job", Killed)
    with contextlib.redirect_stdout(io.StringIO()):
        yield kills
