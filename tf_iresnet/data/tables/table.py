"""A user's own table of numbers: read, checked, split, and its scale measured."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.splits import Split, split_by_fractions
from tf_iresnet.data.tables.array_files import read_npy, read_npz, read_parquet
from tf_iresnet.data.tables.csv_file import MISSING, read_csv
from tf_iresnet.data.tables.raw import RawTable

_LARGEST_WHOLE = 2.0**53  # above it float64 skips whole numbers
_FEWEST_TRAINING_ROWS = 10
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
        """Columns of whole numbers whose unit step isn't small beside their spread.

        A density over continuous values can grow without bound on them.
        """
        whole = (self.values == np.rint(self.values)).all(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            coarse = self.values.std(axis=0) < _WIDEST_DISCRETE
        return tuple(c for c, d in zip(self.columns, whole & coarse, strict=True) if d)

    def split(self, seed: int = 0, validation: float = 0.1, test: float = 0.1) -> Split:
        """Returns a random split of the rows, the same for the same seed.

        Args:
            seed: below 2³².
            validation: fraction of the rows, in (0, 1), to choose the best weights by.
            test: fraction of the rows held out to the end.

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
        """Raises an error for training rows [n, d] that can't be standardised in float32.

        Raises:
            TableError: for a column that is constant in these rows, or whose values are so close
                together, for their size, that float32 can't tell them apart.
        """
        for j, column in enumerate(self.columns):
            size = np.abs(train[:, j]).max()
            if np.ptp(train[:, j]) == 0:
                raise TableError(
                    self.path,
                    "values that differ in the training rows",
                    f"{train[0, j]:g} in all of them",
                    "Leave the column out with columns=[…], or choose another seed of the split.",
                    column=column,
                )
            with np.errstate(over="ignore", invalid="ignore"):
                resolution, scale = np.spacing(np.float32(size)), train[:, j].std()
            if not resolution <= 1e-2 * scale:  # catches NaN, of values beyond float32
                raise TableError(
                    self.path,
                    "values that float32 can tell apart",
                    f"values up to {size:g} with a standard deviation of {scale:g}",
                    "Subtract an offset from the column, or change its unit.",
                    column=column,
                )


def load_table(
    path: str | os.PathLike[str], columns: Sequence[str] | None = None, key: str | None = None
) -> Table:
    """Reads a table of numbers from a .csv, .npz, .npy or .parquet file and checks it.

    A CSV file may be separated by commas, semicolons or tabs; if its first line is all numbers it
    has no header, and the columns are called x0, x1, … as those of arrays are. Booleans count as 0
    and 1. Nothing is written.

    Args:
        path: the file.
        columns: names of those to use, in this order; all if None.
        key: of the array in an .npz file that has several.

    Raises:
        TableError: for anything that keeps the table from being used, naming file, row and column
            and saying what to do.
        ImportError: without pandas, for .csv and .parquet.
    """
    raw = _read(pathlib.Path(path), columns, key)
    if len(raw.columns) < 2:
        found = f"only {raw.columns[0]!r}" if raw.columns else "none"
        raise TableError(
            raw.path,
            "at least two columns, which a density of a table needs",
            found,
            "Add a column; the cells of a .csv file are separated by commas, semicolons or tabs.",
        )
    if not len(raw.values):
        raise TableError(raw.path, "rows of numbers", "zero rows", "Is this the right file?")
    _check_cells(raw)
    for j, column in enumerate(raw.columns):
        if np.ptp(raw.values[:, j]) == 0:
            raise TableError(
                raw.path,
                "values that differ",
                f"{raw.values[0, j]:g} in all {len(raw.values)} rows",
                "A constant has no density; leave the column out with columns=[…].",
                column=column,
            )
    return Table(raw.path, raw.values, raw.columns)


def _read(file: pathlib.Path, columns: Sequence[str] | None, key: str | None) -> RawTable:
    suffix = file.suffix.lower()
    if not file.is_file():
        found = "a directory" if file.is_dir() else "no such file"
        raise TableError(
            file, "a table", found, f"Check the path; relative ones start in {pathlib.Path.cwd()}."
        )
    if suffix not in (".csv", ".npz", ".npy", ".parquet"):
        raise TableError(
            file,
            "a file that ends in .csv, .npz, .npy or .parquet",
            repr(suffix) if suffix else "no ending",
            "Convert the table to one of these.",
        )
    if key is not None and suffix != ".npz":
        raise ValueError(f"Expected key only with an .npz file. Received: key={key!r}, {file}.")
    try:
        if not file.stat().st_size:
            raise TableError(file, "a table", "an empty file", "Is this the right file?")
        if suffix == ".npz":
            return read_npz(file, columns, key)
        readers = {".csv": read_csv, ".npy": read_npy, ".parquet": read_parquet}
        return readers[suffix](file, columns)
    except PermissionError as error:
        raise TableError(
            file, "a readable file", "permission denied", "Change the file's permissions."
        ) from error


def _check_cells(raw: RawTable) -> None:
    """Raises TableError for the first cell, in reading order, that isn't a usable number."""
    bad = ~np.isfinite(raw.values)
    if bad.any():
        i, j = np.unravel_index(bad.argmax(), bad.shape)
        row, text = raw.cell(int(i), int(j))
        others = int(bad.sum()) - 1
        more = f" ({others:,} more such cells in the table)" if others else ""
        raise TableError(
            raw.path,
            "a finite number",
            _describe(text) + more,
            _advice(text, bool(bad[:, j].all())),
            row=row,
            column=raw.columns[j],
        )
    too_large = raw.whole & (np.abs(raw.values) > _LARGEST_WHOLE)
    if too_large.any():
        i, j = np.unravel_index(too_large.argmax(), too_large.shape)
        row, text = raw.cell(int(i), int(j))
        raise TableError(
            raw.path,
            "whole numbers below 2**53, which float64 holds exactly",
            text,
            "Leave the column out with columns=[…] if it is an identifier, or change its unit.",
            row=row,
            column=raw.columns[j],
        )


def _describe(text: str) -> str:
    return repr(text) if text.strip() else "an empty cell"


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
        return "Leave the column out with columns=[…], or encode it as numbers."
    return "Correct the cell, or leave the column out with columns=[…]."
