"""The comparison of memory: a peak is one, and every mode has its column."""

import csv
import json

import numpy as np
import pytest

from comparisons import memory


def test_the_peak_is_of_what_was_held_since_it_began_anew():
    before = memory.resident("VmRSS")
    memory.forget_the_peak()
    assert memory.resident("VmHWM") < before + 16 * 2**20
    held = np.ones(2**23)  # 64 MiB
    del held
    assert memory.resident("VmHWM") > before + 48 * 2**20 > memory.resident("VmRSS")


@pytest.mark.slow
def test_less_is_kept_the_less_is_stored(tmp_path, capsys):
    sides = ("store", "recompute", "invert")
    small = {"width": 64, "blocks": 12, "size": 8}
    rows = memory.compare(tmp_path, "conv64", (2,), sides, **small)
    assert [row["terms"] for row in rows] == [2]
    assert rows[0]["store"] > 1.5 * rows[0]["recompute"] and rows[0]["invert"] > 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[:1] == "{"]
    assert [line["side"] for line in printed] == list(sides)
    with open(tmp_path / "memory_conv64.csv") as file:
        (row,) = csv.DictReader(file)
    assert float(row["store"]) == rows[0]["store"]
