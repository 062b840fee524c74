"""Cells that are no usable numbers, or are missing: which, how many, and what to do."""

import pathlib
import re
from collections.abc import Iterable, Mapping

import numpy as np

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.tables.columns import Column, RawTable
from tf_iresnet.data.tables.options import flag

_LARGEST_WHOLE = 2.0**53  # above it float64 skips whole numbers


def missing_cells(columns: Iterable[Column], keep: np.ndarray) -> dict[Column, int]:
    """Returns the columns with missing cells in the rows of `keep`, and their numbers."""
    counts = {column: int(np.count_nonzero(column.missing() & keep)) for column in columns}
    return {column: count for column, count in counts.items() if count}


def check_cells(
    file: pathlib.Path,
    raw: RawTable,
    columns: Iterable[Column],
    keep: np.ndarray,
    new: bool = False,
) -> None:
    """Raises a TableError if cells of columns of numbers hold text, or numbers that aren't usable.

    It shows the first of them in reading order, and counts them by column.

    Args:
        new: whether these are rows for a model whose columns can't be changed.
    """
    for kind, find in (("finite", _not_finite), ("exact", _not_exact)):
        bad = {c: find(c) & keep for c in columns if new or not c.is_category()}
        bad = {column: cells for column, cells in bad.items() if cells.any()}
        if bad:
            _raise(file, raw, bad, kind, new)


def _not_finite(column: Column) -> np.ndarray:
    bad = np.isinf(column.numbers)
    return bad if column.codes is None else bad | (column.codes >= 0)


def _not_exact(column: Column) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return column.whole & (np.abs(column.numbers) > _LARGEST_WHOLE)


def _raise(
    file: pathlib.Path, raw: RawTable, bad: Mapping[Column, np.ndarray], kind: str, new: bool
) -> None:
    i = min(int(cells.argmax()) for cells in bad.values())
    column = next(c for c, cells in bad.items() if cells[i])
    text = raw.text(i, column.name)
    counts = {c: int(cells.sum()) for c, cells in bad.items()}
    names = flag("exclude", [c.name for c in bad])
    if kind == "finite":
        expected, received = "a finite number", repr(text)
        if sum(counts.values()) > 1:
            received += f", one of those that aren't in {listed(counts)}"
        advice = "Correct the cell." if new else _advice(text, names)
    else:
        expected, received = "whole numbers below 2**53, which float64 holds exactly", text
        advice = "Change the column's unit."
        if not new:
            advice = (
                f"Leave the column out with {names} if it is an identifier, or change its unit."
            )
    raise TableError(file, expected, received, advice, raw.place(i), column.name)


def _advice(text: str, names: str) -> str:
    word = text.strip().lower()
    if re.fullmatch(r"[+-]?\d*,\d+", word):
        return "If this is a decimal comma, type --config.data.decimal=','; else write a point."
    if re.fullmatch(r"[+-]?\d{1,3}([,' ]\d{3})+(\.\d*)?", word):
        return "Write numbers without thousands separators."
    if re.fullmatch(r"[+-]?(inf|infinity|[\d.]+e[+-]?\d+)", word):
        return f"Remove the row, replace the value by a finite one, or type {names}."
    missing = flag("na_values", [text.strip()])
    return f"Correct the cell; if it means missing, type {missing}; or leave columns out: {names}."


def listed(counts: Mapping[Column, int]) -> str:
    """Returns columns with numbers of cells: 'a' (3), 'b' (1)."""
    return ", ".join(f"{column.name!r} ({count:,})" for column, count in counts.items())


def plural(count: int, noun: str) -> str:
    """Returns a number and a noun: 1 row, 2,000 rows."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
