"""Measures tf_iresnet beside normflows, and its own methods beside one another.

    pip install tf_iresnet[bench]
    python scripts/benchmark.py --suite=train_step --suite=first_step --suite=sample
    python scripts/benchmark.py --suite=log_prob --workload=conv64 --workload=conv256
    python scripts/benchmark.py --suite=estimators --suite=inverse --workdir=runs
    python scripts/benchmark.py --suite=latency
    python scripts/benchmark.py --suite=memory --workload=conv64 --workdir=runs
    python scripts/benchmark.py --suite=costs --suite=streams --suite=classifier --workdir=runs
    python scripts/benchmark.py --profile --workload=mlp16

Beside normflows: the same weights, products and true error. Each side lives in a process of its own
and is asked for one measurement at a time, ours and the peer's in turns, so a machine that slows
down slows both. Prints one JSON line per workload with the medians in milliseconds, then a table.

`memory` is the peak of a training step by terms of the series and by what `Repeated` keeps, beside
normflows; `costs` how a step's time grows with depth, width, batch, terms and dimension; `streams`
what data cost that memory doesn't hold; `classifier` the step of an invertible classifier beside
that of a plain residual network in Keras. Suites of our own methods write tables and pictures into
--workdir, and train there what they need: runs/digits is used, if that run is there. --profile
prints where the time of our training step goes and runs nothing else.
"""

import early_interrupt

# isort: split
import functools
import importlib
import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import app, flags

from comparisons.workloads import WORKLOADS, Workload

SUITES = ("train_step", "first_step", "sample", "log_prob")
# Modules of scripts/comparisons with a compare(workdir).
OWN_SUITES = {
    "classifier": "classifier",
    "estimators": "estimators",
    "inverse": "solvers",
    "latency": "latency",
    "memory": "memory",
    "costs": "costs",
    "streams": "streams",
}
TIMES = {"mlp2": 1, "mlp16": 10, "conv64": 5, "conv256": 1}  # calls that make a measurement
TRUE_ERROR = 1e-4  # largest Euclidean error of an inverted example, against float64

SUITE = flags.DEFINE_multi_enum("suite", SUITES, [*SUITES, *OWN_SUITES], "What to measure.")
WORKDIR = flags.DEFINE_string("workdir", "runs/benchmark", "Directory for tables and pictures.")
WORKLOAD = flags.DEFINE_multi_enum("workload", list(WORKLOADS), WORKLOADS, "On which model.")
ROUNDS = flags.DEFINE_integer("rounds", 9, "Measurements of each side.", lower_bound=1)
PROFILE = flags.DEFINE_bool("profile", False, "Print where the time of our training step goes.")
WORKER = flags.DEFINE_enum("worker", None, ["ours", "peer"], "Internal: serve measurements.")


def serve(side: str, workload: Workload) -> None:
    """Answers each line on stdin with a JSON line: a method to time, or a tolerance to try."""
    # Imported here only: a side doesn't load the other's library.
    if side == "ours":
        importlib.import_module("tensorflow_quietly")
    module, name = {"ours": ("ours", "Ours"), "peer": ("normflows_peer", "Peer")}[side]
    model = getattr(importlib.import_module(f"comparisons.{module}"), name)(workload)
    truth = None
    for line in sys.stdin:
        request = json.loads(line)
        if "tolerance" in request:
            model.set_tolerance(request["tolerance"])
        if request["do"] == "error":
            truth = model.truth() if truth is None else truth
            answer = float(np.max(np.linalg.norm(model.invert() - truth, axis=1)))
        else:
            time.sleep(0.5)  # the other side's idle threads may still be spinning
            start = time.perf_counter()
            for _ in range(request.get("times", 1)):
                getattr(model, request["do"])()
            answer = 1e3 * (time.perf_counter() - start) / request.get("times", 1)
        try:
            print(json.dumps(answer), flush=True)
        except BrokenPipeError:  # whoever asked has been interrupted
            os._exit(early_interrupt.STATUS)


class Worker:
    """A side in its own process."""

    def __init__(self, side: str, workload: str):
        command = [sys.executable, __file__, f"--worker={side}", f"--workload={workload}"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C ends this process, and the worker with its input
        )

    def __call__(self, do: str, **request: object) -> float:
        self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("A benchmark process ended early; its message is above.")
        return json.loads(answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def in_turns(sides: list[Worker], rounds: int, do: str, times: int) -> list[float]:
    """The median of each side over interleaved rounds, after two that don't count."""
    taken = [[side(do, times=times) for side in sides] for _ in range(rounds + 2)][2:]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def measure_method(name: str, workload: str, rounds: int) -> dict[str, float]:
    """A method of both sides, such as `train_step`."""
    sides = [Worker("ours", workload), Worker("peer", workload)]
    ours, peer = in_turns(sides, rounds, name, TIMES[workload])
    for side in sides:
        side.close()
    return {"ours_ms": ours, "peer_ms": peer}


def measure_first_step(workload: str, rounds: int) -> dict[str, float]:
    """From the start of the process to the end of its first training step."""
    taken: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(min(rounds, 3)):
        for side, times in taken.items():
            start = time.perf_counter()
            worker = Worker(side, workload)
            worker("train_step")
            times.append(1e3 * (time.perf_counter() - start))
            worker.close()
    return {f"{side}_ms": statistics.median(times) for side, times in taken.items()}


def measure_sample(workload: str, rounds: int) -> dict[str, float]:
    """Inverting a batch of latents, each side at its loosest setting that keeps TRUE_ERROR."""
    sides = {"ours": Worker("ours", workload), "peer": Worker("peer", workload)}
    row: dict[str, float] = {}
    for name, side in sides.items():
        for exponent in range(40):
            tolerance = 10.0 ** (-exponent / 4)
            error = side("error", tolerance=tolerance)
            if error <= TRUE_ERROR:
                break
        row |= {f"{name}_tolerance": tolerance, f"{name}_error": error}
    ours_ms, peer_ms = in_turns(list(sides.values()), rounds, "invert", 2 * TIMES[workload])
    for side in sides.values():
        side.close()
    return {"ours_ms": ours_ms, "peer_ms": peer_ms, **row}


def main(argv: list[str]) -> None:
    del argv
    if WORKER.value:
        serve(WORKER.value, WORKLOADS[WORKLOAD.value[0]])
        return
    if PROFILE.value or set(SUITE.value) & set(OWN_SUITES):
        importlib.import_module("tensorflow_quietly")
    if PROFILE.value:
        step_profile = importlib.import_module("comparisons.step_profile")
        step_profile.compare({name: WORKLOADS[name] for name in WORKLOAD.value}, ROUNDS.value)
        return
    run_own([suite for suite in SUITE.value if suite in OWN_SUITES])
    beside_peer = [suite for suite in SUITE.value if suite in SUITES]
    if beside_peer:
        compare_with_peer(beside_peer)


def run_own(suites: list[str]) -> None:
    """Suites of our own methods; of these only that of memory has a choice of workloads."""
    chosen = WORKLOAD.value if flags.FLAGS["workload"].present else []
    for suite in suites:
        compare = importlib.import_module(f"comparisons.{OWN_SUITES[suite]}").compare
        if not chosen:
            compare(WORKDIR.value)
        elif suite == "memory":
            for name in chosen:
                compare(WORKDIR.value, name)
        else:
            raise app.UsageError(f"--workload has no effect on --suite={suite}; run it by itself.")


def compare_with_peer(suites: list[str]) -> None:
    measures = {
        "train_step": functools.partial(measure_method, "train_step"),
        "first_step": measure_first_step,
        "sample": measure_sample,
        "log_prob": functools.partial(measure_method, "log_prob"),
    }
    rows = []
    for suite in suites:
        for workload in WORKLOAD.value:
            row = {"suite": suite, "workload": workload, **measures[suite](workload, ROUNDS.value)}
            row["ratio"] = row["ours_ms"] / row["peer_ms"]
            rows.append(row)
            print(json.dumps(row), flush=True)
    table = importlib.import_module("comparisons.table")
    columns = (
        table.Column("suite", "{suite}", ("suite",)),
        table.Column("workload", "{workload}", ("workload",)),
        table.Column("ours, ms", "{ours_ms:.1f}", ("ours_ms",)),
        table.Column("peer, ms", "{peer_ms:.1f}", ("peer_ms",)),
        table.Column("ratio", "{ratio:.2f}", ("ratio",)),
    )
    print(f"\n{table.text(columns, rows)}")


if __name__ == "__main__":
    app.run(main)
