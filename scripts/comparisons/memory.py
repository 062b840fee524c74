"""What a training step keeps: peak memory by terms of the series, beside normflows.

    python scripts/benchmark.py --suite=memory --workload=conv64 --workdir=runs

Each model has a process of its own, see `peak`.
"""

import json
import os
import pathlib
from typing import Any

from comparisons import peak, table

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
            request = {"name": name, "side": side, "fields": fields}
            found = peak.in_own_process("comparisons.peak", request)
            line = {"suite": "memory", "workload": name, "side": side, "terms": number, **found}
            print(json.dumps(line), flush=True)
            row |= {side: found["mebibytes"], f"{side}_s": found["seconds"]}
        rows.append(row)
    pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
    table.write_csv(pathlib.Path(workdir) / f"memory_{name}.csv", COLUMNS, rows)
    print(f"\n{table.text(COLUMNS, rows)}")
    return rows
