"""A table of numbers: the columns that a reader returns, their checks, the split."""

import dataclasses
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.splits import Split, random_split

MISSING = frozenset(["", "nan", "na", "n/a", "null", "none", "<na>", "nat", "?", "-"])
_LARGEST_WHOLE = 2.0**53  # above it float64 skips whole numbers
_FEWEST_TRAINING_ROWS = 10
_LEAVE_OUT = "Leave the column out with columns=[…]"
_WIDEST_DISCRETE = 100.0  # a unit step is lost in the noise of wider columns


class RawTable(NamedTuple):
    """Columns as they were read from a file; `cell(i, j)` is a row's name and a cell's text."""

    columns: tuple[str, ...]
    values: np.ndarray  # float64 [n, d], NaN where a cell isn't a number
    whole: np.ndarray  # bool [d], whether a column was written as whole numbers
    cell: Callable[[int, int], tuple[str, str]]


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table that has passed every check.

    Args:
        path: the file it was read from.
        values: finite float64 [n, d], no column constant.
        categories: texts by code of the columns that hold categories.
        notes: what a reader should know about it, a sentence each.
    """

    path: str
    values: np.ndarray
    columns: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def discrete(self) -> tuple[str, ...]:
        """Columns of whole numbers whose unit step isn't small beside their spread."""
        whole = (self.values == np.rint(self.values)).all(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            coarse = self.values.std(axis=0) < _WIDEST_DISCRETE
        return tuple(c for c, d in zip(self.columns, whole & coarse, strict=True) if d)

    def split(self, seed: int = 0, validation: float = 0.1, test: float = 0.1) -> Split:
        """Returns a random split of the rows, float64 [n, d]; see `splits.random_split`.

        Raises:
            ValueError: for fractions that aren't positive or leave nothing to train on.
            TableError: for too few rows.
        """
        rows = random_split(len(self.values), validation, test, seed)
        if min(map(len, rows)) < 1 or len(rows.train) < _FEWEST_TRAINING_ROWS:
            held_out = f"validation ({validation:g}) and test ({test:g})"
            expected = f"a row in {held_out} each and {_FEWEST_TRAINING_ROWS} to train on"
            received = f"{len(self.values)} rows in all"
            advice = "Provide more rows or change the fractions."
            raise TableError(self.path, expected, received, advice)
        return rows.select(self.values)

    def check_scale(self, train: np.ndarray) -> None:
        """Raises a TableError for a column of the training rows [n, d] that can't be standardised.

        It is constant, or its values are too close together for their size in float32.
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


def select(
    file: pathlib.Path, names: list[str], wanted: Sequence[str] | None, row: str | None = None
) -> list[int]:
    """Returns the positions of the wanted columns in `names`, which `row` of the file holds."""
    for name, count in Counter(names).items():
        if count > 1 and name:
            places = " and ".join(str(i + 1) for i, other in enumerate(names) if other == name)
            expected = "every column to have a name of its own"
            received = f"the same name for columns {places}"
            raise TableError(file, expected, received, "Rename one of them.", row, name)
    if wanted is None:
        if "" in names:
            received = f"none for column {names.index('') + 1}"
            pandas = "pandas writes no such column with to_csv(index=False)"
            advice = f"Name it, or leave it out with columns=[…]; {pandas}."
            raise TableError(file, "every column to have a name", received, advice, row)
        return list(range(len(names)))
    if isinstance(wanted, str) or not wanted or len(set(wanted)) < len(wanted):
        expected = "columns to be a list of different names"
        raise ValueError(f"Expected {expected}. Received: columns={wanted!r}.")
    for name in wanted:
        if name not in names:
            received, advice = f"columns {', '.join(names)}", "Correct the name in columns=[…]."
            raise TableError(file, f"a column named {name!r}", received, advice, row)
    return [names.index(name) for name in wanted]


def check(file: pathlib.Path, raw: RawTable) -> Table:
    """Returns the table; raises a TableError for one that a density can't be trained on."""
    if len(raw.columns) < 2:
        expected = "at least two columns, which a density of a table needs"
        received = f"only {raw.columns[0]!r}" if raw.columns else "none"
        advice = "Add a column; commas, semicolons or tabs separate the cells of a .csv file."
        raise TableError(file, expected, received, advice)
    if not len(raw.values):
        raise TableError(file, "rows of numbers", "zero rows", "Is this the right file?")
    _check_cells(file, raw)
    for j in np.flatnonzero(np.ptp(raw.values, axis=0) == 0):
        received = f"{raw.values[0, j]:g} in all {len(raw.values)} rows"
        advice = "A constant has no density; leave the column out with columns=[…]."
        raise TableError(file, "values that differ", received, advice, column=raw.columns[j])
    return Table(str(file), raw.values, raw.columns)


def _check_cells(file: pathlib.Path, raw: RawTable) -> None:
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
    raise TableError(file, expected, received, advice, row, raw.columns[j])


def _advice(text: str, whole_column: bool) -> str:
    word = text.strip().lower()
    if word in MISSING and whole_column:
        return "The column is empty: leave it out with columns=[…]."
    if word in MISSING:
        return "Remove the row, or fill the cell in."
    if re.fullmatch(r"[+-]?\d+,\d*", word):
        return "Write decimals with a point."
    if re.fullmatch(r"[+-]?(inf|infinity|[\d.]+e[+-]?\d+)", word):
        return "Remove the row, or replace the value by a finite one."
    if whole_column:
        return f"{_LEAVE_OUT}, or encode it as numbers."
    return "Correct the cell, or leave the column out with columns=[…]."
