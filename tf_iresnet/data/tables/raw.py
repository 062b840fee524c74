"""The columns that readers of table files return, before they are checked."""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from tf_iresnet.data.errors import TableError


@dataclasses.dataclass(frozen=True, eq=False)
class RawTable:
    """Columns as they were read, not yet checked.

    Args:
        path: the file.
        columns: names of the d columns.
        values: float64 [n, d], NaN where a cell isn't a number.
        whole: bool [d], whether a column was written as whole numbers.
        cell: (i, j) → the row's name and the cell's text, read again from the file for an error.
    """

    path: str
    columns: tuple[str, ...]
    values: np.ndarray
    whole: np.ndarray
    cell: Callable[[int, int], tuple[str, str]]


def select(
    path: str | os.PathLike[str],
    names: Sequence[str],
    wanted: Sequence[str] | None,
    row: str | None = None,
) -> list[int]:
    """Returns the positions of the wanted columns.

    Args:
        path: the file, for the error.
        names: names of all columns.
        wanted: names of the columns to use, in this order; all if None.
        row: place of the header, for the error.

    Raises:
        TableError: for a name that is used twice, missing or unknown.
        ValueError: for wanted names that are no list of different ones.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1 and name]
    if repeated:
        places = [str(i + 1) for i, name in enumerate(names) if name == repeated[0]]
        raise TableError(
            path,
            "every column to have a name of its own",
            f"the same name for columns {' and '.join(places)}",
            "Rename one of them.",
            row=row,
            column=repeated[0],
        )
    if wanted is None:
        if "" in names:
            raise TableError(
                path,
                "every column to have a name",
                f"none for column {names.index('') + 1}",
                "Name it, or leave it out with columns=[…]; "
                "pandas writes no such column with to_csv(index=False).",
                row=row,
            )
        return list(range(len(names)))
    if isinstance(wanted, str) or not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(
            f"Expected columns to be a list of different names. Received: columns={wanted!r}."
        )
    for name in wanted:
        if name not in names:
            raise TableError(
                path,
                f"a column named {name!r}",
                f"columns {', '.join(names)}",
                "Correct the name in columns=[…].",
                row=row,
            )
    return [list(names).index(name) for name in wanted]
