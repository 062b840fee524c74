"""A user's own table of numbers: reading, checks, split."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.splits import Split, split_by_fractions
from tf_iresnet.data.tables.array_files import read_array, read_parquet
from tf_iresnet.data.tables.csv_file import MISSING, read_csv
from tf_iresnet.data.tables.raw import RawTable

_LARGEST_WHOLE = 2.0**53  # above it float64 skips whole numbers
_FEWEST_TRAINING_ROWS = 10
_LEAVE_OUT = "Leave the column out with columns=[…]"
_WIDEST_DISCRETE = 100.0  # a unit step is lost in the noise of wider columns


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table that has passed every check.

    Args:
        path: the file it was read from, for messages.
        values: finite float64 [n, d], no column constant.
        columns: names of the d columns.
    """

    path: str
    values: np.ndarray
    columns: tuple[str, ...]

    @property
    def discrete(self) -> tuple[str, ...]:
        """Columns of whole numbers whose unit step isn't small beside their spread."""
        whole = (self.values == np.rint(self.values)).all(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            coarse = self.values.std(axis=0) < _WIDEST_DISCRETE
        return tuple(c for c, d in zip(self.columns, whole & coarse, strict=True) if d)

    def split(self, seed: int = 0, validation: float = 0.1, test: float = 0.1) -> Split:
        """Returns a random split of the rows, float64 [n, d]; see `splits.split_by_fractions`.

        Raises:
            ValueError: for fractions that aren't positive or leave nothing to train on.
            TableError: for too few rows.
        """
        rows = split_by_fractions(len(self.values), validation, test, seed)
        if min(map(len, rows)) < 1 or len(rows.train) < _FEWEST_TRAINING_ROWS:
            raise TableError(
                self.path,
                f"a row in validation ({validation:g}) and test ({test:g}) each and "
                f"{_FEWEST_TRAINING_ROWS} to train on",
                f"{len(self.values)} rows in all",
                "Provide more rows or change the fractions.",
            )
        return rows.select(self.values)

    def check_scale(self, train: np.ndarray) -> None:
        """Raises a TableError for training rows [n, d] that can't be standardised in float32.

        These are columns that are constant, or whose values are too close together for their size.
        """
        for column, x in zip(self.columns, train.T, strict=True):
            with np.errstate(over="ignore", invalid="ignore"):
                size, scale = np.abs(x).max(), x.std()
                resolution = np.spacing(np.float32(size))
            if np.ptp(x) == 0:
                expected = "values that differ in the training rows"
                received = f"{x[0]:g} in all of them"
                advice = f"{_LEAVE_OUT}, or choose another seed of the split."
            elif not resolution <= 1e-2 * scale:  # catches NaN, of values beyond float32
                expected = "values that float32 can tell apart"
                received = f"values up to {size:g} with a standard deviation of {scale:g}"
                advice = "Subtract an offset from the column, or change its unit."
            else:
                continue
            raise TableError(self.path, expected, received, advice, column=column)


def load_table(
    path: str | os.PathLike[str], columns: Sequence[str] | None = None, key: str | None = None
) -> Table:
    """Reads a table of numbers from a .csv, .npz, .npy or .parquet file and checks it.

    A CSV file may be separated by commas, semicolons or tabs; if its first line is all numbers it
    has no header, and the columns are called x0, x1, … as those of arrays are. Booleans count as 0
    and 1. Nothing is written.

    Args:
        path: the file.
        columns: names of the columns to use, in this order; all if None.
        key: name of the array in an .npz file that has several.

    Raises:
        TableError: for a table that can't be used, naming file, row and column.
        ImportError: without pandas (.csv) or pyarrow (.parquet).
    """
    file = pathlib.Path(path)
    try:
        raw = _read(file, columns, key)
    except PermissionError as error:
        advice = "Change the file's permissions."
        raise TableError(file, "a readable file", "permission denied", advice) from error
    if len(raw.columns) < 2:
        raise TableError(
            file,
            "at least two columns, which a density of a table needs",
            f"only {raw.columns[0]!r}" if raw.columns else "none",
            "Add a column; the cells of a .csv file are separated by commas, semicolons or tabs.",
        )
    if not len(raw.values):
        raise TableError(file, "rows of numbers", "zero rows", "Is this the right file?")
    _check_cells(raw)
    for j in np.flatnonzero(np.ptp(raw.values, axis=0) == 0):
        received = f"{raw.values[0, j]:g} in all {len(raw.values)} rows"
        advice = "A constant has no density; leave the column out with columns=[…]."
        raise TableError(file, "values that differ", received, advice, column=raw.columns[j])
    return Table(raw.path, raw.values, raw.columns)


def _read(file: pathlib.Path, columns: Sequence[str] | None, key: str | None) -> RawTable:
    suffix = file.suffix.lower()
    if not file.is_file():
        received = "a directory" if file.is_dir() else "no such file"
        advice = f"Check the path; relative ones start in {pathlib.Path.cwd()}."
        raise TableError(file, "a table", received, advice)
    if suffix not in (".csv", ".npz", ".npy", ".parquet"):
        expected = "a file that ends in .csv, .npz, .npy or .parquet"
        received = repr(suffix) if suffix else "no ending"
        raise TableError(file, expected, received, "Convert the table to one of these.")
    if key is not None and suffix != ".npz":
        raise ValueError(f"Expected key only with an .npz file. Received: key={key!r}, {file}.")
    if not file.stat().st_size:
        raise TableError(file, "a table", "an empty file", "Is this the right file?")
    if suffix in (".npy", ".npz"):
        return read_array(file, columns, key)
    return (read_csv if suffix == ".csv" else read_parquet)(file, columns)


def _check_cells(raw: RawTable) -> None:
    """Raises a TableError for the first cell, in reading order, that isn't a usable number."""
    not_finite = ~np.isfinite(raw.values)
    not_exact = raw.whole & (np.abs(raw.values) > _LARGEST_WHOLE)
    bad = not_finite if not_finite.any() else not_exact
    if not bad.any():
        return
    i, j = map(int, np.unravel_index(bad.argmax(), bad.shape))
    row, text = raw.cell(i, j)
    if bad is not_finite:
        others = int(bad.sum()) - 1
        expected, received = "a finite number", repr(text) if text.strip() else "an empty cell"
        received += f" ({others:,} more such cells in the table)" if others else ""
        advice = _advice(text, bool(bad[:, j].all()))
    else:
        expected, received = "whole numbers below 2**53, which float64 holds exactly", text
        advice = f"{_LEAVE_OUT} if it is an identifier, or change its unit."
    raise TableError(raw.path, expected, received, advice, row, raw.columns[j])


def _advice(text: str, whole_column: bool) -> str:
    word = text.strip().lower()
    if word in MISSING:
        if whole_column:
            return "The column is empty: leave it out with columns=[…]."
        return "Remove the row, or fill the cell in."
    if re.fullmatch(r"[+-]?\d+,\d*", word):
        return "Write decimals with a point."
    if re.fullmatch(r"[+-]?(inf|infinity|[\d.]+e[+-]?\d+)", word):
        return "Remove the row, or replace the value by a finite one."
    if whole_column:
        return f"{_LEAVE_OUT}, or encode it as numbers."
    return "Correct the cell, or leave the column out with columns=[…]."
