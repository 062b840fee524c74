"""Whether the first of some rows of cells is a header."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from tf_iresnet.data.tables.columns import TRUTH, to_number
from tf_iresnet.data.tables.options import MISSING

_MOSTLY = 0.8  # of a column's cells are numbers in a column of numbers


class Decision(NamedTuple):
    """Whether a row is a header; a note that follows the words "Line 3 "."""

    header: bool
    note: str
    units: bool = False  # whether every cell is text above numbers


def decide(rows: Sequence[Sequence[str]], decimal: str) -> Decision:
    """Decides whether the first of the rows is a header, by what its cells and those below are.

    Text above numbers is a name; a number above numbers is a value, except for whole numbers that
    increase and are unlike those below, such as years.
    """
    first, below = [cell.strip() for cell in rows[0]], rows[1:]
    texts, numbers = [], list[tuple[float, bool]]()
    votes = above_numbers = 0
    for j, cell in enumerate(first):
        column = [row[j].strip() for row in below]
        column = [other for other in column if other.lower() not in MISSING]
        values = [v for v in (to_number(other, decimal) for other in column) if v is not None]
        numeric = bool(values) and len(values) >= _MOSTLY * len(column)
        value = to_number(cell, decimal)
        if cell.lower() in MISSING:
            continue
        if value is not None:
            numbers.append((value, not numeric or _unlike(cell, value, column, values, decimal)))
            votes -= numeric
        elif cell.lower() not in TRUTH:
            texts.append(cell)
            above_numbers += numeric
            repeated = len(column) > 3 and 2 * len(set(column)) <= len(column)
            votes += numeric or (-1 if cell in column else repeated)
    shown = ", ".join(first)[:60]
    values = [value for value, _ in numbers]
    names = values and all(v.is_integer() for v in values) and all(u for _, u in numbers)
    growing = all(a < b for a, b in itertools.pairwise(values))
    alone = len(values) > 1 or bool(texts) or (bool(values) and 1800 <= values[0] <= 2200)
    if names and growing and alone and len(below) > 1 and votes < 0:
        note = (
            f"({shown}) is taken for the header, since its whole numbers are unlike those below; "
            "if it is a row, type --config.data.header=False."
        )
        return Decision(True, note)
    header = votes > 0 or (votes == 0 and bool(texts))
    units = above_numbers == len(texts) > 1 and not numbers
    note = ""
    if texts and not header:
        note = (
            f"({shown}) is taken for a row, since it is like those below, and the columns are "
            "called x0, x1, …; if it is the header, type --config.data.header=True."
        )
    return Decision(header, note, units)


def is_title(cells: Sequence[str], below: Sequence[tuple[int, Sequence[str]]]) -> bool:
    """Whether a row of several cells has text in one alone, and text stands in all those below."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    names = [cell.strip() for cell in below[0][1]]
    return (
        len(filled) == 1 < len(cells) == len(names)
        and to_number(filled[0]) is None
        and all(names)
        and all(to_number(name) is None for name in names)
    )


def _unlike(
    cell: str, value: float, column: Sequence[str], values: Sequence[float], decimal: str
) -> bool:
    """Whether a cell is written otherwise than those below it, or lies far outside of them."""
    pointed = sum(decimal in other or "e" in other.lower() for other in column)
    if not cell.isdigit():
        return False
    if pointed >= 0.9 * len(column):
        return True
    low, high = min(values), max(values)
    margin = 2 * (high - low) + 1
    return len(values) > 2 and not low - margin <= value <= high + margin
