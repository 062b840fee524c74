"""Rows of figures as an aligned table for a console and as a CSV file."""

import csv
import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tabulate

from tf_iresnet.training.workdir import write_atomically

Row = Mapping[str, Any]


class Column(NamedTuple):
    """A column of a table.

    Args:
        title: its heading on the console.
        text: how a row's figures are written there, a format string over the keys of the row.
        keys: the figures that it shows; a row that lacks one of them has nothing there. In the CSV
            file each is a column of its own, to full digits, in the order of the table.
    """

    title: str
    text: str
    keys: tuple[str, ...]


def text(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """Returns the table as text; the first column is set left, the others right.

    Columns that no row has figures for are left out.

    Args:
        columns: in order.
        rows: in order.
    """
    columns = [column for column in columns if any(_has(row, column.keys) for row in rows)]
    cells = [[c.text.format(**row) if _has(row, c.keys) else "" for c in columns] for row in rows]
    return tabulate.tabulate(
        cells,
        [column.title for column in columns],
        disable_numparse=True,  # figures are formatted already
        colalign=["left", *["right"] * (len(columns) - 1)],
    )


def markdown(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Returns a table as Markdown has it, of cells that are text already."""
    return tabulate.tabulate(cells, titles, tablefmt="github", disable_numparse=True)


def write_csv(
    path: str | os.PathLike[str], columns: Sequence[Column], rows: Sequence[Row]
) -> pathlib.Path:
    """Writes the table, to full digits, and returns its path; no reader sees half of it.

    Args:
        path: of the file.
        columns: whose `keys` are the file's columns.
        rows: in order; what one lacks is left empty.
    """
    keys = list(dict.fromkeys(key for column in columns for key in column.keys))
    content = io.StringIO()
    writer = csv.DictWriter(content, keys, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: v for k, v in row.items() if v is not None} for row in rows)
    write_atomically(path, content.getvalue())
    return pathlib.Path(path)


def _has(row: Row, keys: Sequence[str]) -> bool:
    return all(row.get(key) is not None for key in keys)
