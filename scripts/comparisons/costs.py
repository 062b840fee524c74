"""What a training step costs by depth, width, batch, terms and dimension, and how that grows.

    python scripts/benchmark.py --suite=costs --workdir=runs

One number of a residual flow of perceptrons grows at a time. The exponent is the slope of
`ln time` over `ln number` from the second half of the sweep. Where theory says linear, or quadratic
in the width of hidden layers, a fixed share of the step lets it come out smaller. Times are those
of all cores, so that neither their number nor other work on the machine has a say in the exponents;
on an accelerator, they would be the host's.
"""

import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from comparisons import table
from comparisons.ours import Ours
from comparisons.workloads import Perceptrons, Workload
from tf_iresnet.training import plots
from tf_iresnet.training.workdir import write_atomically

BASE = Perceptrons(size=16, blocks=8, width=128, batch=512)
# Of each number: the field, its values, and the exponent by theory.
SWEEPS: dict[str, tuple[str, Sequence[int], int]] = {
    "depth": ("blocks", (4, 8, 16, 32, 64), 1),
    "width": ("width", (64, 128, 256, 512, 1024), 2),
    "batch": ("batch", (256, 512, 1024, 2048, 4096), 1),
    "terms": ("terms", (4, 8, 16, 32, 64), 1),
    "dimension": ("size", (64, 128, 256, 512, 1024), 1),
}
COLUMNS = (
    table.Column("number", "{number}", ("number",)),
    table.Column("values", "{smallest} to {largest}", ("smallest", "largest")),
    table.Column("CPU ms", "{shortest:.0f} to {longest:.0f}", ("shortest", "longest")),
    table.Column("exponent", "{exponent:.2f}", ("exponent",)),
    table.Column("by theory", "{theory}", ("theory",)),
)


def compare(
    workdir: str | os.PathLike[str],
    base: Workload = BASE,
    sweeps: dict[str, tuple[str, Sequence[int], int]] | None = None,
    rounds: int = 3,
) -> list[dict[str, Any]]:
    """Prints a JSON line per step measured and a table; writes costs.csv and costs.png.

    Args:
        workdir: made if it isn't there.
        base: the workload of which one number changes.
        sweeps: see `SWEEPS`, the default.
        rounds: steps of which the one of least CPU time counts, since other work only adds.
    """
    rows, panels = [], {}
    for number, (field, values, theory) in (SWEEPS if sweeps is None else sweeps).items():
        times = []
        for value in values:
            changes: dict[str, Any] = {field: value}
            times.append(step_milliseconds(dataclasses.replace(base, **changes), rounds))
            line = {"suite": "costs", "number": number, "value": value, "milliseconds": times[-1]}
            print(json.dumps(line), flush=True)
        found = exponent(values, times)
        rows.append(
            {
                "number": number,
                "smallest": values[0],
                "largest": values[-1],
                "shortest": times[0],
                "longest": times[-1],
                "exponent": found,
                "theory": theory,
            }
        )
        expected = [times[-1] * (value / values[-1]) ** theory for value in values]
        panels[f"{number}: exponent {found:.2f}, {theory} by theory"] = {
            "measured": (list(values), times),
            "by theory": (list(values), expected),
        }
    root = pathlib.Path(workdir)
    root.mkdir(parents=True, exist_ok=True)
    table.write_csv(root / "costs.csv", COLUMNS, rows)
    picture = plots.curves(panels, "value", "training step, CPU ms", log_x=True)
    for plot in picture.axes:
        plot.set_xscale("log", base=2)  # whose ticks are the values
    write_atomically(root / "costs.png", plots.png(picture))
    print(f"\n{table.text(COLUMNS, rows)}\nTimes by number: {root / 'costs.png'}")
    return rows


def step_milliseconds(workload: Workload, rounds: int) -> float:
    """CPU time of the shortest of so many training steps, after two that don't count."""
    ours, times = Ours(workload), []
    for _ in range(rounds + 2):
        start = time.process_time()
        ours.train_step()
        times.append(1e3 * (time.process_time() - start))
    return min(times[2:])


def exponent(values: Sequence[int], times: Sequence[float]) -> float:
    """The slope of `ln time` over `ln value`, by least squares over the second half."""
    half = min(len(values) // 2, len(values) - 2)  # at least two of them
    return float(np.polyfit(np.log(values[half:]), np.log(times[half:]), 1)[0])
