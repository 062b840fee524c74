"""The peak memory of a training step, in a process that loads the library of one side alone.

A first step traces and allocates what stays. Then the peak of the resident set during a second step
is taken, less what was resident before the first.
"""

import dataclasses
import importlib
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

from comparisons.workloads import WORKLOADS, Workload


def in_own_process(module: str, request: dict[str, Any]) -> dict[str, float]:
    """Runs a module that reads JSON and prints some as its last line; returns what that says."""
    folders = [str(pathlib.Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    process = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))},
    )
    if process.returncode:
        raise SystemExit("A benchmark process ended early; its message is above.")
    return json.loads(process.stdout.splitlines()[-1])


def measure(side: str, workload: Workload) -> dict[str, float]:
    """Peak memory of a training step beyond the resident set before the first, and its seconds."""
    if side == "normflows":
        model = importlib.import_module("comparisons.normflows_peer").Peer(workload)
    else:
        model = importlib.import_module("comparisons.ours").Ours(workload, memory=side)
    before = resident("VmRSS")
    model.train_step()
    forget_the_peak()
    start = time.perf_counter()
    model.train_step()
    seconds = time.perf_counter() - start
    return {"mebibytes": (resident("VmHWM") - before) / 2**20, "seconds": seconds}


def resident(field: str) -> int:
    """Bytes of this process in memory by Linux: now ("VmRSS"), or at most so far ("VmHWM")."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise OSError(f"Expected {field} in /proc/self/status, which Linux has. Received: none")


def forget_the_peak() -> None:
    """Lets "VmHWM" begin anew."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Measures what standard input asks for, and prints it as the last line."""
    request = json.load(sys.stdin)
    workload = dataclasses.replace(WORKLOADS[request["name"]], **request["fields"])
    print(json.dumps(measure(request["side"], workload)))


if __name__ == "__main__":
    main()
