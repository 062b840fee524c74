"""What a look at a table's values suggests: identifiers, marks of missing cells, repeated rows."""

import re
from collections.abc import Mapping

import numpy as np

from tf_iresnet.data.tables.cells import plural
from tf_iresnet.data.tables.options import flag
from tf_iresnet.data.tables.repeats import group_rows

_FEWEST_IDENTIFIED = 20  # rows
_IDENTIFIER = re.compile(r"(.*[\W_])?(id|uid|uuid|key|no|nr|index)", re.IGNORECASE)
_SENTINELS = (-9.0, -99.0, -999.0, -9999.0, -99999.0, 99.0, 999.0, 9999.0, 99999.0)

Columns = Mapping[str, np.ndarray]


def note_identifiers(numbers: Columns, notes: list[str]) -> None:
    """Notes columns called id or the like whose whole numbers all differ."""
    for name, x in numbers.items():
        named = len(x) >= _FEWEST_IDENTIFIED and _IDENTIFIER.fullmatch(name)
        if named and (x == np.rint(x)).all() and len(np.unique(x)) == len(x):
            left = flag("exclude", [name])
            notes.append(f"The column {name!r} may be an identifier; {left} leaves it out.")


def note_sentinels(numbers: Columns, notes: list[str]) -> None:
    """Notes numbers that often mean a missing cell and lie far from all others in a column."""
    found = dict[float, list[str]]()
    for name, x in numbers.items():
        for sentinel in _SENTINELS:
            others = x[x != sentinel]
            if 0 < len(others) < len(x):
                low, high = others.min(), others.max()
                with np.errstate(over="ignore"):
                    far = not 2 * low - high <= sentinel <= 2 * high - low
                if far:
                    found.setdefault(sentinel, []).append(name)
    for sentinel, names in found.items():
        means = flag("na_values", [f"{sentinel:g}"])
        notes.append(
            f"{sentinel:g} stands far outside of the other values of {', '.join(names)}; if it "
            f"means missing, type {means}."
        )


def repeated_rows(columns: Columns, numbers: Columns, notes: list[str]) -> np.ndarray | None:
    """Returns groups, int [n], of rows too alike for chance, which have to stay in one part.

    Equal rows are no coincidence if a column of numbers has many different ones. None if there are
    none, or if coarse values explain them.
    """
    groups = group_rows(list(columns.values()))
    if groups is None:
        return None
    rows, distinct = len(groups), int(groups.max()) + 1
    say = f"{plural(rows - distinct, 'row')} of {rows:,} repeat another one"
    if any(len(np.unique(x)) > distinct / 2 for x in numbers.values()):
        notes.append(f"{say}; in the split, equal rows stay in one part.")
        return groups
    notes.append(f"{say}, as coarse values do; the split takes them for different rows.")
    return None
