"""Calls in processes of their own, each by one thread on one core: equal time is equal work."""

import concurrent.futures
import hashlib
import importlib
import json
import os
import pathlib
import queue
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# Nothing but the standard library is imported up here: a process chooses its core before anything
# starts threads.
POOLS = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)


class Run(NamedTuple):
    """A fit: the path of its results, without the ending, and the call that makes them."""

    path: pathlib.Path
    function: str
    argument: dict[str, Any]

    @property
    def results(self) -> pathlib.Path:
        """The file of the results."""
        return self.path.with_name(f"{self.path.name}.json")


def digest(settings: Any) -> str:
    """Returns a text for a path, so that what has changed settings is made anew, alone."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def finish(runs: Iterable[Run], jobs: int = 1) -> None:
    """Calls what hasn't left its results yet, see `call`."""
    missing = [run for run in runs if not run.results.exists()]
    call({run.path: (run.function, run.argument) for run in missing}, jobs)


def train(runs: Mapping[pathlib.Path, Any], jobs: int = 1) -> None:
    """Trains the runs that aren't finished; what each prints goes into a .log beside its workdir.

    Args:
        runs: workdir → config.
        jobs: how many train at the same time, at most one per core.

    Raises:
        RunError: for a workdir of another config, or a training that failed.
    """
    from tf_iresnet.training.train import resolve
    from tf_iresnet.training.workdir import Workdir, to_plain

    run = "tf_iresnet.training.train:train_and_evaluate"
    call(
        {
            path: (run, plain)
            for path, plain in ((path, to_plain(config)) for path, config in runs.items())
            if Workdir(path).finished(resolve(plain)) is None
        },
        jobs,
    )


def call(calls: Mapping[pathlib.Path, tuple[str, Any]], jobs: int = 1) -> None:
    """Calls `function(argument, path)` for each, in a process of its own, one thread on one core.

    Args:
        calls: path → "module:function" and its first argument, as JSON has it. What the function
            prints goes into `path`.log.
        jobs: how many run at the same time, at most one per core.

    Raises:
        RunError: for a process that failed, with its last line.
    """
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [-1] * jobs
    cores: queue.SimpleQueue[int] = queue.SimpleQueue()
    for core in available[:jobs]:
        cores.put(core)

    def one(path: pathlib.Path) -> None:
        core = cores.get()
        try:
            _run(path, *calls[path], core)
        finally:
            cores.put(core)

    with concurrent.futures.ThreadPoolExecutor(min(jobs, len(available))) as pool:
        try:
            list(pool.map(one, calls))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _run(path: pathlib.Path, function: str, argument: Any, core: int) -> None:
    from tf_iresnet.training.workdir import RunError

    print(f"{path}: training", flush=True)
    log = path.with_name(f"{path.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    threads = dict.fromkeys(POOLS, "1")
    folders = [str(pathlib.Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    with open(log, "w") as output:
        process = subprocess.run(
            [sys.executable, "-m", "comparisons.pinned", str(core), function, str(path)],
            input=json.dumps(argument),
            text=True,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(filter(None, folders))},
        )
    if process.returncode:
        last = (log.read_text().splitlines() or [""])[-1]
        raise RunError(f"Expected {path} to be trained. Received: {last} (all of it is in {log}).")


def main() -> None:
    """Calls a function on a core, with the JSON on standard input and a path: the arguments."""
    core, function, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    if core >= 0:
        os.sched_setaffinity(0, {core})
    module, _, name = function.partition(":")
    getattr(importlib.import_module(module), name)(json.load(sys.stdin), path)


if __name__ == "__main__":
    main()
