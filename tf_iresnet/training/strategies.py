"""What a run trains on: one device, several, those of several processes, or a TPU.

Workers are processes that train one model together, each on the devices of its machine. They do the
same steps; what could differ between them, clocks and signals, they agree on.
"""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.data import DataError, Dataset
from tf_iresnet.data.errors import plain_text
from tf_iresnet.numerics.replicas import over_workers
from tf_iresnet.training.build import fingerprint
from tf_iresnet.training.cluster import read_cluster
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import Config, RunError, differences

NAMES = ("one", "mirrored", "multi_worker", "tpu")
# Fields of `config.data` in which workers may differ: where a host has the data, of which
# `expect_same_data` makes sure that they are the same.
LOCAL_FIELDS = ("path", "test_path")


class WorkerLost(RunError):
    """Another worker has ended: all have to be started again, and go on from the checkpoint.

    Attributes:
        status: exit status of a process that ends for it, EX_TEMPFAIL.
    """

    status = 75


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Returns the strategy of a name in `NAMES`.

    "one" is the first device; "mirrored" are all GPUs of this machine, or else all logical CPUs,
    and the same as "one" if there is but one; "multi_worker" are those of the workers in TF_CONFIG;
    "tpu" is the TPU that TPU_NAME names, or else that of this machine. Workers have to make it
    before anything else, and wait for each other there. Raises RunError for what isn't there.
    """
    made = {"mirrored": _mirrored, "multi_worker": _multi_worker, "tpu": _tpu}
    if name not in NAMES:
        raise RunError(f"Expected strategy to be one of {', '.join(NAMES)}. Received: {name!r}.")
    return made[name]() if name in made else tf.distribute.get_strategy()


def _mirrored() -> tf.distribute.Strategy:
    gpus, cpus = (tf.config.list_logical_devices(kind) for kind in ("GPU", "CPU"))
    names = [device.name for device in gpus or cpus]
    if len(names) == 1:
        return tf.distribute.get_strategy()
    # Collective operations of CPUs fail for a second strategy of the same process.
    return tf.distribute.MirroredStrategy(
        names, None if gpus else tf.distribute.ReductionToOneDevice()
    )


def _multi_worker() -> tf.distribute.Strategy:
    addresses = read_cluster(os.environ.get("TF_CONFIG", ""))
    named = ", ".join(addresses)
    print(f"Waiting for the workers at {named} to start.", flush=True)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:  # of its server, or of others that never came
        found = plain_text(error)[:200]
        raise WorkerLost(
            f"Expected the port of this worker to be free, and the workers at {named} to start. "
            f"Received: {type(error).__name__}, {found}. Start all of them again once nothing else "
            "uses these ports."
        ) from error
    except RuntimeError as error:
        raise RunError(
            "Expected strategy='multi_worker' before anything else is done with TensorFlow. "
            f"Received: {error}. Train in a process of its own."
        ) from error


def _tpu() -> tf.distribute.Strategy:
    name = os.environ.get("TPU_NAME", "local")
    try:
        if name == "local" and not tf.config.list_physical_devices("TPU"):
            raise ValueError("this machine has none that TensorFlow knows")
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(name)
        return tf.distribute.TPUStrategy(resolver)
    except Exception as error:
        found = plain_text(error)[:200]
        raise RunError(
            f"Expected a TPU for strategy='tpu'. Received: TPU_NAME={name}, and {found}. Set "
            "TPU_NAME, or choose strategy='mirrored' for GPUs."
        ) from error


def check_strategy(strategy: tf.distribute.Strategy, options: TrainingOptions) -> None:
    """Raises RunError for options of training that the replicas of a strategy can't carry out."""
    replicas = strategy.num_replicas_in_sync
    if rest := options.batch_size % replicas:
        near = " or ".join(
            str(size) for size in (options.batch_size - rest, options.batch_size - rest + replicas)
            if size
        )  # fmt: skip
        raise RunError(
            f"Expected config.training.batch_size to be a multiple of the {replicas} replicas. "
            f"Received: batch_size={options.batch_size}. Choose {near}."
        )
    if options.accumulate_steps > 1 and replicas > 1:
        raise RunError(
            "Expected no config.training.accumulate_steps on several replicas, which can't wait "
            f"for each other between parts. Received: accumulate_steps={options.accumulate_steps}. "
            "Choose a smaller batch, or keep less by config.model.memory='recompute'."
        )
    compiles = options.jit_compile is True and not isinstance(strategy, tf.distribute.TPUStrategy)
    if compiles and replicas > 1:
        raise RunError(
            "Expected no config.training.jit_compile on several replicas, which can't wait for "
            "each other in a compiled step. Received: jit_compile=True. Leave it at 'auto'."
        )


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the files of a run: of several workers the first one does."""
    return strategy.extended.should_checkpoint


def largest(strategy: tf.distribute.Strategy, *values: float) -> list[float]:
    """Returns the largest of each value among the workers, which wait for each other here."""
    if not over_workers(strategy):
        return list(values)
    found = _gather(strategy)(tf.constant([values or (0.0,)], tf.float64))
    return np.max(found, axis=0).tolist()


def everyones(strategy: tf.distribute.Strategy, text: str) -> list[str]:
    """Returns the text of the worker of each replica, the chief's first; they wait for each other.

    Zero bytes at the end are dropped.
    """
    if not over_workers(strategy):
        return [text]
    own = text.encode()
    (length,) = largest(strategy, len(own))
    row = np.frombuffer(own.ljust(max(1, int(length)), b"\0"), np.uint8)
    rows = np.asarray(_gather(strategy)(tf.constant([row], tf.float64)))
    return [other.astype(np.uint8).tobytes().rstrip(b"\0").decode() for other in rows]


@contextlib.contextmanager
def failing_together(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Waits for all workers after its block, and ends all if it has ended one of them.

    A worker whose block raises RunError, DataError or OSError raises it; the others RunError with
    its text. In the block they mustn't wait for each other.
    """
    failure: Exception | None = None
    try:
        yield
    except (RunError, DataError, OSError) as error:
        failure = error
    failures = everyones(strategy, "" if failure is None else " ".join(str(failure).split()) or "?")
    if failure is not None:
        raise failure
    for text in filter(None, failures):
        raise RunError(f"Expected all workers to train. Received: one that can't. {text}")


@functools.lru_cache(maxsize=1)
def _gather(strategy: tf.distribute.Strategy) -> Any:
    """A function that gathers rows `[1, n]` of all replicas. Untraced, TensorFlow takes far longer.

    The rows of a worker are the same on all its replicas.
    """

    @tf.function(autograph=False, reduce_retracing=True)
    def gather(row: tf.Tensor) -> tf.Tensor:
        rows = strategy.run(tf.identity, (row,))  # one for each replica, on its device
        return strategy.gather(rows, axis=0)

    return gather


def expect_same(strategy: tf.distribute.Strategy, step: int, workdir: Any) -> None:
    """Waits for all workers. Raises RunError if they aren't at the same step."""
    last, first = largest(strategy, step, -step)
    if last != -first:
        raise RunError(
            f"Expected all workers to find the same checkpoint in {workdir}. Received: those of "
            f"steps {-first:g} to {last:g}. The workdir has to be on a file system that they share."
        )


def expect_same_config(strategy: tf.distribute.Strategy, config: Config) -> None:
    """Waits for all workers. Raises RunError, in all of them, unless they have the same config.

    `LOCAL_FIELDS` of the section `data` may differ.
    """
    local = {name: value for name, value in config["data"].items() if name not in LOCAL_FIELDS}
    first, *others = map(json.loads, everyones(strategy, json.dumps({**config, "data": local})))
    for other in others:
        if changed := differences(first, other):
            named = " and ".join(f"data.{name}" for name in LOCAL_FIELDS)
            raise RunError(
                f"Expected the same config in all workers. Received: {'; '.join(changed)}, of the "
                f"first and of another one. Give all the same flags; only {named} may differ."
            )


def expect_same_data(
    strategy: tf.distribute.Strategy, dataset: Dataset, options: TrainingOptions
) -> None:
    """Waits for all workers. Raises RunError, in all of them, unless they have the same data.

    These are held-out examples, the first training batch and labels; see `build.fingerprint`.
    """
    if not over_workers(strategy):
        return
    with failing_together(strategy):
        labels = hashlib.sha256(b"".join(part.tobytes() for part in dataset.labels or ()))
        own = f"{dataset.training_size} {fingerprint(dataset, options)} {labels.hexdigest()}"
    if len(set(everyones(strategy, own))) > 1:
        raise RunError(
            "Expected the same data in all workers. Received: other values under the name "
            f"{dataset.name}. Copy the data of one host to the others, or give all the same path."
        )


@contextlib.contextmanager
def one_of_many(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Lets only the chief print, and raises WorkerLost where another worker has ended."""
    lost = (
        tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
        tf.errors.InternalError, tf.errors.DeadlineExceededError, tf.errors.UnknownError,
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        if not is_chief(strategy):
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            yield
        except lost as error:
            if not over_workers(strategy):
                raise
            raise WorkerLost(
                "Expected all workers to train on. Received: one that has ended or can't be "
                f"reached ({type(error).__name__}). Start all of them again: the run goes on from "
                "its last checkpoint."
            ) from error
