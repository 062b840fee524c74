"""What a training step keeps: peak memory by terms of the series, beside normflows.

    python scripts/benchmark.py --suite=memory --workload=conv64 --workdir=runs

Each model has a process of its own, in which a first step traces and allocates what stays. Then the
peak of the resident set during a second step is taken, less what was resident before the first.
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

from comparisons import table
from comparisons.workloads import WORKLOADS, Workload

BATCH = 64
TERMS = (4, 10, 20, 40)
SIDES = ("store", "recompute", "invert", "normflows")
COLUMNS = (
    table.Column("terms", "{terms}", ("terms",)),
    *(table.Column(f"{side}, MiB", f"{{{side}:.0f}}", (side,)) for side in SIDES),
    *(table.Column(f"{side}, s", f"{{{side}_s:.1f}}", (f"{side}_s",)) for side in SIDES),
)


def compare(
    workdir: str | os.PathLike[str],
    name: str = "conv256",
    terms: tuple[int, ...] = TERMS,
    sides: tuple[str, ...] = SIDES,
    **changes: Any,
) -> list[dict[str, Any]]:
    """Prints a JSON line per model and a table by terms, which goes to workdir/memory_{name}.csv.

    Args:
        workdir: made if it isn't there.
        name: of the workload.
        terms: of the series.
        sides: memory modes of `Repeated`, or "normflows".
        **changes: fields of the workload other than its batch of 64 and its terms.
    """
    rows = []
    for number in terms:
        row: dict[str, Any] = {"terms": number}
        for side in sides:
            fields = {"batch": BATCH, "terms": number, **changes}
            found = in_own_process(
                "comparisons.memory", {"name": name, "side": side, "fields": fields}
            )
            line = {"suite": "memory", "workload": name, "side": side, "terms": number, **found}
            print(json.dumps(line), flush=True)
            row |= {side: found["mebibytes"], f"{side}_s": found["seconds"]}
        rows.append(row)
    pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
    table.write_csv(pathlib.Path(workdir) / f"memory_{name}.csv", COLUMNS, rows)
    print(f"\n{table.text(COLUMNS, rows)}")
    return rows


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
