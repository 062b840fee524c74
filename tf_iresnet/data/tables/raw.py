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
    """Returns the positions of the wanted columns among `names`; `path` and `row` are for errors.

    Raises:
        TableError: for a name that is used twice, missing or unknown.
        ValueError: for wanted names that are no list of different ones.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1 and name]
    if repeated:
        places = " and ".join(str(i + 1) for i, name in enumerate(names) if name == repeated[0])
        expected, received = "every column to have a name of its own", "the same name for columns "
        advice = "Rename one of them."
        raise TableError(path, expected, received + places, advice, row, repeated[0])
    if wanted is None:
        if "" in names:
            received = f"none for column {names.index('') + 1}"
            advice = (
                "Name it, or leave it out with columns=[…]; "
                "pandas writes no such column with to_csv(index=False)."
            )
            raise TableError(path, "every column to have a name", received, advice, row)
        return list(range(len(names)))
    if isinstance(wanted, str) or not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(
            f"Expected columns to be a list of different names. Received: columns={wanted!r}."
        )
    for name in wanted:
        if name not in names:
            received, advice = f"columns {', '.join(names)}", "Correct the name in columns=[…]."
            raise TableError(path, f"a column named {name!r}", received, advice, row)
    return [list(names).index(name) for name in wanted]
