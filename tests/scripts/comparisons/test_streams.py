"""The comparison of streams: every data set has a row of numbers, in a process of its own."""

import csv

import pytest

from comparisons import streams


@pytest.mark.slow
def test_every_data_set_has_a_row(tmp_path):
    sizes = {"rows": (20_000,), "images": (3000,)}
    rows = streams.compare(tmp_path, sizes, seconds=0.5)
    assert [(row["kind"], row["examples"]) for row in rows] == [("rows", 20_000), ("images", 3000)]
    assert all(row["peak"] > row["before"] > 100 and row["per_second"] > 100 for row in rows)
    with open(tmp_path / "streams.csv") as file:
        assert [row["kind"] for row in csv.DictReader(file)] == ["rows", "images"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "images_3000", "rows_20000", "streams.csv",
    ]  # fmt: skip
