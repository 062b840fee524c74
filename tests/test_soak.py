"""Training for long and serving for long: memory, threads and traces stay what they were."""

import concurrent.futures
import gc
import pathlib
import re
import threading
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from support.table_run import config_of_table

import tf_iresnet as tfi
from tf_iresnet.training import build, train
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import Workdir

STATUS = pathlib.Path("/proc/self/status")
pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="reads what Linux knows of a process")
CLIENTS, SIZES = 8, 16  # threads; numbers of rows that they ask for
GROWTH = 16.0  # MiB of resident memory, at most


class Use(NamedTuple):
    """What the process holds."""

    memory: float  # MiB, resident
    threads: int
    traces: int

    @classmethod
    def now(cls, traces):
        gc.collect()
        status = STATUS.read_text()
        found = (int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in ("VmRSS", "Threads"))
        return cls(next(found) / 1024, next(found), traces)


def assert_steady(name, warm, end, capsys, growth=GROWTH):
    with capsys.disabled():
        print(f"\n{name}: after warming up {warm}, at the end {end}")
    assert end.memory < warm.memory + growth
    assert (end.threads, end.traces) == (warm.threads, warm.traces)


@pytest.mark.parametrize(
    ("epochs", "epoch_steps"), [(8, 30), pytest.param(40, 2500, marks=pytest.mark.slow)]
)
def test_a_hundred_thousand_steps_of_training(epochs, epoch_steps, tmp_path, monkeypatch, capsys):
    """Of a run with checkpoints, validations, figures for TensorBoard and a table of epochs."""
    config = config_of_table(tmp_path, steps_per_epoch=epoch_steps, epochs=epochs)
    config["model"]["normalization"] = "aol"
    config = train.resolve(config)
    dataset, options = build.make_dataset(config), TrainingOptions(**config["training"])
    model, workdir = build.make_model(config, dataset), Workdir(tmp_path / "run")
    save, step, uses, traced = train.Checkpoints.save, model.train_step, [], []

    def tracing(data):
        traced.append(data)
        return step(data)

    def saving(self, model, state):  # before the first step, and at the end of each epoch
        save(self, model, state)
        if state.step:
            uses.append(Use.now(len(traced)))

    monkeypatch.setattr(model, "train_step", tracing)
    monkeypatch.setattr(train.Checkpoints, "save", saving)
    with workdir.claim(config):
        state = train.fit(model, dataset, options, workdir)
    assert (state.step, len(uses)) == (epochs * epoch_steps, epochs)
    capsys.readouterr()
    assert_steady(f"{state.step:,} steps", uses[epochs // 8], uses[-1], capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["num", "seed", "temperature"])
def test_numbers_that_never_come_twice(name, capsys):
    """TensorFlow keeps each Python number that it made a tensor of: 0.7 KiB, 15 MiB of these."""
    flow = tfi.mlp_flow(1, 1, (2,), seed=0, normalization="aol", log_det="exact")
    flow.build((None, 1))

    def draw(numbers):
        for number in numbers:
            flow._latents(**{"num": 1, "seed": 0, "temperature": 0.5, name: number})

    numbers = range(1, 20_000)
    if name == "temperature":
        numbers = [number / len(numbers) for number in numbers]
    draw(numbers[:500])
    warm = Use.now(0)
    draw(numbers)
    assert_steady(name, warm, Use.now(0), capsys, growth=4.0)


@pytest.mark.parametrize("count", [160, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_hundred_thousand_requests_of_eight_clients(count, tmp_path, capsys):
    """Of batches of any size, all at once; each answer is the one that a single client gets."""
    flow = tfi.mlp_flow(2, 1, (8,), condition_size=1, seed=0, normalization="aol")
    flow.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    random = np.random.default_rng(0)
    x, condition = random.normal(size=(SIZES, 2)), random.normal(size=(SIZES, 1))
    x, condition = x.astype("float32"), condition.astype("float32")
    functions = {
        "log_prob": lambda n: served.log_prob(x[:n], condition[:n]),
        "encode": lambda n: served.encode(x[:n], condition[:n]),
        "decode": lambda n: served.decode(x[:n], condition[:n]),
        "sample": lambda n: served.sample(n, condition[:n], seed=n, temperature=1.0),
    }
    alone = {name: {n: f(n).numpy() for n in range(1, SIZES + 1)} for name, f in functions.items()}
    names, all_there = list(functions), threading.Barrier(CLIENTS)

    def client(requests):
        all_there.wait()
        own = np.random.default_rng(requests)
        for _ in range(requests):
            name, n = names[own.integers(len(names))], int(own.integers(1, SIZES + 1))
            answer = functions[name](n).numpy()
            np.testing.assert_allclose(answer, alone[name][n], rtol=1e-5, atol=1e-5)
        return requests

    def traces():
        return sum(getattr(served, name).experimental_get_tracing_count() for name in functions)

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        warm_up = [max(1, count // 10 // CLIENTS)] * CLIENTS
        assert sum(pool.map(client, warm_up)) == sum(warm_up)
        warm = Use.now(traces())
        assert sum(pool.map(client, [count // CLIENTS] * CLIENTS)) == count
        end = Use.now(traces())
    assert_steady(f"{count:,} requests", warm, end, capsys)
    assert threading.active_count() <= warm.threads
