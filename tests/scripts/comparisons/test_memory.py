"""The comparison of memory: a peak is one, and every mode has its column."""

import csv
import importlib.util
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from comparisons import memory, peak


def test_the_peak_is_of_what_was_held_since_it_began_anew():
    before = peak.resident("VmRSS")
    peak.forget_the_peak()
    assert peak.resident("VmHWM") < before + 16 * 2**20
    held = np.ones(2**23)  # 64 MiB
    del held
    assert peak.resident("VmHWM") > before + 48 * 2**20 > peak.resident("VmRSS")


def test_the_process_of_a_side_loads_no_other_library():
    """TensorFlow and torch in one process end it."""
    code = "import sys, comparisons.peak; print({'tensorflow', 'torch'} & set(sys.modules))"
    scripts = pathlib.Path(peak.__file__).parents[1]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=scripts)
    assert done.stdout == "set()\n"


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("normflows"), reason="needs normflows")
def test_the_peer_has_a_peak(tmp_path):
    (row,) = memory.compare(tmp_path, "conv64", (2,), ("normflows",), width=16, blocks=2, size=8)
    assert row["normflows"] > 1


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
