"""Strategies are made or refused in one line; what workers agree on; batches in parts."""

import contextlib
import dataclasses
import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.data import DataError
from tf_iresnet.training import build, replica_batches, strategies
from tf_iresnet.training.callbacks import Recorder
from tf_iresnet.training.checkpoints import Checkpoints, RunState
from tf_iresnet.training.cluster import read_cluster
from tf_iresnet.training.interruption import Interrupted, Signals
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.strategies import WorkerLost, make_strategy
from tf_iresnet.training.train import train_and_evaluate
from tf_iresnet.training.workdir import RunError, Workdir

CONFIG = {"model": {"num_blocks": 1}, "data": {"name": "toy", "density": "moons"}}
HOSTS = ["a:1", "b:1"]


def cluster(kind="worker", index=0, **jobs):
    jobs = jobs or {"worker": HOSTS}
    return json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize("name", ["two", "", "Mirrored"])
def test_an_unknown_strategy_is_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises(RunError, match="one of one, mirrored, multi_worker, tpu") as error:
        train_and_evaluate({**CONFIG, "training": {}}, tmp_path / "run", strategy=name)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        None, "", "a:1,b:1", "[]", "{}", '{"cluster": {"worker": ["a:1"]}}',
        cluster(index=2), cluster(index=-1), cluster("evaluator"), cluster("chief"),
        cluster("ps", ps=HOSTS), cluster(worker=["a", "b"]), cluster(index=0.5), cluster(index="0"),
        cluster("chief", chief=HOSTS), cluster(worker=HOSTS, ps=["c:1"]), cluster(index=True),
         cluster(worker="a:1"), cluster(worker={"0": "a:1"}),
        *(cluster(worker=["a:1", bad]) for bad in (
            "b:", "b:x", "b:0", "b:65536", ":2", "http://b:1", "b:1/", "b :1", "::1:2", 1, "a:1"
        )),
    ],
)  # fmt: skip
def test_workers_need_to_know_each_other(text, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(RunError, match=r"Expected TF_CONFIG .*train_workers\.py") as error:
        make_strategy("multi_worker")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("host", ["b", "b-1.example.org", "10.0.0.1", "[::1]"])
def test_addresses_of_workers_are_those_of_the_chief_and_the_others(host):
    jobs = {"chief": ["a:1"], "worker": [f"{host}:65535"]}
    assert read_cluster(cluster("chief", **jobs)) == ["a:1", f"{host}:65535"]


@pytest.mark.parametrize(
    "error", [tf.errors.UnknownError, tf.errors.DeadlineExceededError, tf.errors.UnavailableError]
)
def test_a_server_that_does_not_start_or_others_that_do_not_come_are_worth_another_try(
    error, monkeypatch, capsys
):
    def make():
        raise error(None, None, "Could not start\ngRPC server")

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", make)
    monkeypatch.setenv("TF_CONFIG", cluster())
    with pytest.raises(WorkerLost, match=r"workers at a:1, b:1 to start.*not start gRPC") as caught:
        make_strategy("multi_worker")
    assert "\n" not in str(caught.value) and caught.value.status == 75
    assert capsys.readouterr().out == "Waiting for the workers at a:1, b:1 to start.\n"


def test_workers_have_to_find_each_other_before_anything_else(monkeypatch):
    tf.constant(0)
    monkeypatch.setenv("TF_CONFIG", cluster(worker=["localhost:1", "localhost:2"]))
    with pytest.raises(RunError, match="Train in a process of its own"):
        make_strategy("multi_worker")


def test_without_a_tpu_there_is_no_strategy_of_one(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(RunError, match=r"Expected a TPU .* TPU_NAME=local, and this machine has"):
        make_strategy("tpu")


def test_a_tpu_that_is_not_there_is_named_in_one_line(monkeypatch):
    def connect(name):
        raise ValueError(f"no {name}\nanywhere")

    resolver = tf.distribute.cluster_resolver.TPUClusterResolver
    monkeypatch.setattr(resolver, "connect", staticmethod(connect))
    monkeypatch.setenv("TPU_NAME", "mine")
    with pytest.raises(RunError, match="TPU_NAME=mine, and no mine anywhere") as error:
        make_strategy("tpu")
    assert "\n" not in str(error.value)


def test_mirrored_takes_all_devices_and_one_is_enough(monkeypatch):
    assert make_strategy("mirrored").num_replicas_in_sync == 2
    first = tf.config.list_logical_devices("CPU")[:1]
    found = {"GPU": [], "CPU": first}
    monkeypatch.setattr(tf.config, "list_logical_devices", found.get)
    for name in ("mirrored", "one"):
        assert make_strategy(name) is tf.distribute.get_strategy()


@pytest.mark.parametrize(
    ("replicas", "options", "message"),
    [
        (3, {"batch_size": 32}, "multiple of the 3 replicas.*batch_size=32.*Choose 30 or 33"),
        (4, {"batch_size": 2}, "multiple of the 4 replicas.*batch_size=2.*Choose 4"),
        (2, {"jit_compile": True}, "jit_compile on several replicas"),
        (2, {"accumulate_steps": 2}, "accumulate_steps on several replicas"),
    ],
)
def test_what_replicas_can_not_do_is_refused(replicas, options, message, monkeypatch, tmp_path):
    local = types.SimpleNamespace(worker_devices=range(replicas), should_checkpoint=True)
    strategy = types.SimpleNamespace(num_replicas_in_sync=replicas, extended=local)
    monkeypatch.setattr(strategies, "make_strategy", lambda _: strategy)
    with pytest.raises(RunError, match=message) as error:
        train_and_evaluate({**CONFIG, "training": options}, tmp_path / "run", "mirrored")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"batch_size": 32}, {"jit_compile": True}])
def test_what_one_replica_can_do_is_not_refused(options):
    strategies.check_strategy(tf.distribute.get_strategy(), TrainingOptions(**options))


# -- workers, of which a test is one ---------------------------------------------------------------


@pytest.fixture
def others(monkeypatch):
    """A list whose last function says what all agree on, given the values of this worker."""
    said = [lambda *values: list(values)]

    def largest(strategy, *values):
        return said[-1](*values)

    monkeypatch.setattr(strategies, "largest", largest)
    monkeypatch.setattr("tf_iresnet.training.callbacks.largest", largest)
    return said


def test_workers_that_see_other_checkpoints_are_refused(others):
    strategies.expect_same(None, 30, "runs/a")
    others.append(lambda last, minus_first: [last, -0.0])
    with pytest.raises(RunError, match=r"same checkpoint in runs/a.*steps 0 to 45.*share"):
        strategies.expect_same(None, 45, "runs/a")


@pytest.fixture
def gathered(monkeypatch):
    """A list of what the others say, of texts that all workers tell each other."""
    texts = []
    monkeypatch.setattr(strategies, "over_workers", lambda _: True)
    monkeypatch.setattr(
        strategies, "largest", lambda _, *v: [max(map(len, map(str.encode, texts))), *v[1:]]
    )

    def gather(row):
        rows = [np.frombuffer(t.encode().ljust(row.shape[1], b"\0"), np.uint8) for t in texts]
        return np.concatenate([row, *(np.float64(row)[np.newaxis] for row in rows)])

    monkeypatch.setattr(strategies, "_gather", lambda _: gather)
    return texts


def test_texts_of_any_length_are_told_to_all(gathered):
    gathered[:] = ["", "größer" * 500]
    assert strategies.everyones(None, "ours") == ["ours", *gathered]
    assert strategies.everyones(None, "") == ["", *gathered]
    gathered[:] = [""]
    assert strategies.everyones(None, "") == ["", ""]


def test_workers_of_another_config_are_refused_by_the_names_of_what_differs(gathered):
    own = {"data": {"path": "a.csv", "test_path": "b.csv"}, "training": {"epochs": 2, "seed": 0}}
    elsewhere = {"data": {}, "training": own["training"]}
    gathered[:] = [json.dumps(elsewhere).ljust(500)]
    strategies.expect_same_config(None, own)
    gathered += [json.dumps({"data": {}, "training": {"epochs": 1, "seed": 0}})]
    with pytest.raises(RunError, match=r"Received: training\.epochs: 2 → 1, of the first") as error:
        strategies.expect_same_config(None, own)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("changed", ["nothing", "validation", "labels"])
def test_workers_of_other_data_are_refused(changed, gathered, monkeypatch):
    dataset, options, told = data.load("digits_image"), TrainingOptions(batch_size=8), []
    other = dataset.labels.map(lambda part: 9 - part)
    others = {
        "nothing": dataset,
        "validation": dataclasses.replace(dataset, validation=dataset.validation[::-1]),
        "labels": dataclasses.replace(dataset, labels=other),
    }
    with monkeypatch.context() as patch:
        patch.setattr(strategies, "everyones", lambda _, text: told.append(text) or [text])
        strategies.expect_same_data(None, others[changed], options)
    gathered.append(told[-1].ljust(500, "\0"))
    monkeypatch.setattr(strategies, "failing_together", lambda _: contextlib.nullcontext())
    if changed == "nothing":
        return strategies.expect_same_data(None, dataset, options)
    with pytest.raises(RunError, match="Expected the same data in all workers"):
        strategies.expect_same_data(None, dataset, options)


@pytest.mark.parametrize("error", [RunError, DataError, PermissionError])
def test_what_ends_one_worker_ends_all_with_its_text(error, gathered):
    gathered[:] = [""]
    with strategies.failing_together(None):
        pass
    own = (
        DataError("t.csv", "rows", "none", "Add some.") if error is DataError else error("no\nfile")
    )
    with pytest.raises(error), strategies.failing_together(None):
        raise own
    gathered[:] = ["t.csv: no such file"]
    refused = pytest.raises(RunError, match=r"Received: one that can't\. t\.csv: no such file")
    with refused, strategies.failing_together(None):
        pass


def small_model():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    return model


def test_a_signal_to_one_worker_ends_all_after_a_checkpoint(others, tmp_path):
    state, options = RunState(step=3), TrainingOptions(checkpoint_minutes=None)
    checkpoints = Checkpoints(Workdir(tmp_path))
    recorder = Recorder(state, options, checkpoints, Signals())
    recorder.set_model(small_model())
    recorder.model.optimizer.build(recorder.model.trainable_variables)
    recorder.on_train_begin()
    recorder.on_train_batch_end(0)
    assert not checkpoints.run.checkpoints[0].exists()
    others.append(lambda *values: [*values[:-1], 15.0])  # the signal comes last
    with pytest.raises(Interrupted, match="SIGTERM: stopped after step 3") as error:
        recorder.on_train_batch_end(1)
    assert error.value.status == 143
    assert checkpoints.run.checkpoints[0].exists()


def test_a_worker_that_is_not_the_chief_writes_nothing(tmp_path):
    run, model = Workdir(tmp_path / "run", writes=False), small_model()
    with run.claim({}):
        Checkpoints(run).save(model, RunState(rows=[{"epoch": 1}]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("chief", [True, False])
def test_only_the_chief_prints(chief, capsys, monkeypatch):
    monkeypatch.setattr(strategies, "is_chief", lambda _: chief)
    with strategies.one_of_many(tf.distribute.get_strategy()):
        print("said")
    print("after")
    assert capsys.readouterr().out == "said\n" * chief + "after\n"


@pytest.mark.parametrize("several", [True, False])
def test_a_worker_that_is_gone_is_named_in_one_line_with_a_status_of_its_own(several, monkeypatch):
    lost = tf.errors.UnavailableError(None, None, "Connection reset\nby peer")
    monkeypatch.setattr(strategies, "over_workers", lambda _: several)
    expected = pytest.raises(WorkerLost if several else tf.errors.UnavailableError)
    with expected as error, strategies.one_of_many(tf.distribute.get_strategy()):
        raise lost
    if several:
        assert error.value.status == 75
        assert "(UnavailableError)" in str(error.value) and "\n" not in str(error.value)


# -- batches in parts ------------------------------------------------------------------------------


def all_workers(workers, replicas):
    """A strategy of so many workers and replicas of each, that gives the parts of all workers."""

    def parts(make):
        contexts = [
            tf.distribute.InputContext(workers, i, workers * replicas) for i in range(workers)
        ]
        return [list(make(context)) for context in contexts]

    return types.SimpleNamespace(distribute_datasets_from_function=parts)


@pytest.mark.parametrize(
    ("workers", "replicas", "name"),
    [(1, 1, "digits"), (1, 2, "digits"), (2, 1, "digits"), (3, 2, "digits_image")],
)
def test_parts_are_those_of_the_whole_batches_in_the_order_of_rows(workers, replicas, name):
    """Of training and of validation, whose last batch has no row for some; with labels or not."""
    dataset, labelled = data.load(name), name == "digits_image"
    options = TrainingOptions(
        batch_size=12,
        epochs=1,
        steps_per_epoch=5,
        evaluation_batch_size=len(dataset.validation) // 2,
    )
    wholes = [
        list(build.make_batches(dataset, options, 2, labelled)),
        list(build.make_validation_batches(dataset, options, labelled)),
    ]
    assert len(wholes[1]) == replica_batches.validation_steps(dataset, options)
    strategy = all_workers(workers, replicas)
    found = [
        replica_batches.distribute_batches(strategy, dataset, options, 2, labelled),
        replica_batches.distribute_validation(strategy, dataset, options, labelled),
    ]
    for batches, shares in zip(wholes, found, strict=True):
        for step, whole in enumerate(batches):
            own = [
                part for share in shares for part in share[step * replicas : (step + 1) * replicas]
            ]
            columns = [tf.nest.flatten(part) for part in own]
            for expected, *pieces in zip(tf.nest.flatten(whole), *columns, strict=True):
                np.testing.assert_array_equal(np.concatenate(pieces), expected)
        assert all(len(share) == replicas * len(batches) for share in shares)
    for part in found[0][0]:
        assert len(tf.nest.flatten(part)[0]) == 12 // (workers * replicas)
