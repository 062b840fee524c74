"""A table is aligned on the console and whole, to full digits, in its file."""

import csv

from comparisons import table

COLUMNS = (
    table.Column("model", "{model}", ("model",)),
    table.Column("parameters", "{parameters:,}", ("parameters",)),
    table.Column("bits", "{bits:.2f} ± {error:.2f}", ("bits", "error")),
)
ROWS = [
    {"model": "a Gaussian", "parameters": 12345, "bits": 1 / 3, "error": 0.0123, "more": "x"},
    {"model": "b", "parameters": 1, "bits": None},
]


def test_columns_are_aligned_and_what_a_row_lacks_is_left_blank():
    assert table.text(COLUMNS, ROWS).splitlines() == [
        "model         parameters         bits",
        "----------  ------------  -----------",
        "a Gaussian        12,345  0.33 ± 0.01",
        "b                      1",
    ]


def test_the_file_keeps_every_digit_and_a_column_for_every_figure(tmp_path):
    path = table.write_csv(tmp_path / "table.csv", COLUMNS, ROWS)
    with open(path, newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["model", "parameters", "bits", "error"]
    assert [row["model"] for row in read] == ["a Gaussian", "b"]
    assert float(read[0]["bits"]) == 1 / 3 and read[1]["bits"] == ""
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]
