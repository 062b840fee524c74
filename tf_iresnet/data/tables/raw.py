"""What a reader of table files hands over, and the error for a table that can't be used."""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from tf_iresnet.data.errors import DataError


class TableError(DataError):
    """What keeps a table from being used, on one line: where, what, and what to do about it.

    Args:
        path: the file.
        expected: what should be there.
        received: what is.
        advice: a sentence.
        row: as a reader of the file would find it, "line 7" or "row 6".
        column: its name.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        expected: str,
        received: str,
        advice: str,
        row: str | None = None,
        column: str | None = None,
    ):
        self.path, self.row, self.column = str(path), row, column
        place = [str(path), row, None if column is None else f"column {column!r}"]
        where = ", ".join(part for part in place if part)
        super().__init__(f"{where}: Expected {expected}. Received: {received}. {advice}")


@dataclasses.dataclass(frozen=True, eq=False)
class RawTable:
    """Columns as they were read, not yet checked.

    Readers parse what they can, quickly, and leave NaN where they can't; only when a cell has to be
    named in an error does `cell` go back for its place and its text.

    Args:
        path: the file.
        columns: the d names.
        values: float64 [n, d], NaN where a cell isn't a number.
        whole: bool [d], whether a column was written as whole numbers.
        cell: (i, j) → the row's name and the cell's text.
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
        path: the file, for messages.
        names: of all its columns.
        wanted: of those to use, in their order; all if None.
        row: of the header, for messages.

    Raises:
        TableError: for a name that is used twice, missing or unknown.
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


def missing_package(package: str, purpose: str) -> ImportError:
    """Returns the error for an optional package that isn't there."""
    return ImportError(
        f"Expected {package}, which {purpose}. Install it with: pip install 'tf_iresnet[examples]'"
    )
