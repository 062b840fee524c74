"""The cost curves: exponents are those of powers; a sweep leaves rows, a file and a picture."""

import json

import pytest

from comparisons import costs
from comparisons.workloads import Perceptrons


@pytest.mark.parametrize("power", [1, 2])
def test_the_exponent_of_a_power_is_its_own_and_a_fixed_share_lowers_it(power):
    values = [8, 16, 32, 64]
    assert costs.exponent(values, [3.0 * v**power for v in values]) == pytest.approx(power)
    # A share that is fixed or fades counts for less and less: the second half alone is fitted.
    assert 0.8 * power < costs.exponent(values, [8.0 + v**power for v in values]) < power


@pytest.mark.slow
def test_a_sweep_leaves_rows_a_file_and_a_picture(tmp_path, capsys):
    base = Perceptrons(size=3, blocks=2, width=8, batch=5)
    sweeps = {"depth": ("blocks", (2, 4), 1), "batch": ("batch", (5, 10), 1)}
    rows = costs.compare(tmp_path, base, sweeps, rounds=1)
    assert [row["number"] for row in rows] == ["depth", "batch"]
    output = capsys.readouterr().out.splitlines()
    lines = [json.loads(line) for line in output if line.startswith("{")]
    assert [line["value"] for line in lines] == [2, 4, 5, 10]
    assert rows[0]["shortest"] == lines[0]["milliseconds"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"costs.csv", "costs.png"}
