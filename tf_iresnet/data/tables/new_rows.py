"""Rows for a model that is trained: its columns and categories are given, nothing is left out."""

import pathlib
from collections.abc import Sequence

import numpy as np

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.tables.cells import check_cells, listed, missing_cells, plural
from tf_iresnet.data.tables.choose import stack
from tf_iresnet.data.tables.columns import Column, RawTable, to_number
from tf_iresnet.data.tables.options import Options
from tf_iresnet.data.tables.table import Layout, Table


def arrange(file: pathlib.Path, raw: RawTable, like: Layout, options: Options) -> Table:
    """Returns the rows as columns of the layout.

    Raises:
        TableError: for no rows, cells that are wrong or missing, and unknown categories.
    """
    if not raw.rows:
        raise TableError(file, "rows of cells", "zero rows", "Is this the right file?")
    by_name = {column.name: column for column in raw.columns}
    columns = [by_name[name] for name in like.columns]
    for column in columns:
        if column.odd:
            expected = "categories" if column.name in like.categories else "numbers"
            advice = "Is this the right column?"
            raise TableError(file, expected, column.odd, advice, column=column.name)
    keep = np.ones(raw.rows, bool)
    gaps = missing_cells(columns, keep)
    if gaps and options.missing == "drop":
        for column in gaps:
            keep &= ~column.missing()
        count = int(np.count_nonzero(~keep))
        are = "is" if count == 1 else "are"
        say = f"{plural(count, 'row')} with missing cells {are} left out"
        raw.notes.append(f"{say} ({listed(gaps)}).")
    elif gaps:
        i = min(int(column.missing().argmax()) for column in gaps)
        first = next(column for column in gaps if column.missing()[i])
        text = raw.text(i, first.name).strip()
        received = (repr(text) if text else "an empty cell") + f", missing in {listed(gaps)}"
        advice = "Fill the cells in, or remove the rows."
        raise TableError(file, "no missing cells", received, advice, raw.place(i), first.name)
    numbers = [column for column in columns if column.name not in like.categories]
    check_cells(file, raw, numbers, keep, new=True)
    arrays = {}
    for column in columns:
        values = column.numbers
        if column.name in like.categories:
            values = _codes(file, raw, column, like.categories[column.name], keep)
        arrays[column.name] = values[keep]
    categories = {name: tuple(labels) for name, labels in like.categories.items()}
    return Table(str(file), stack(arrays), tuple(like.columns), categories, tuple(raw.notes))


def _codes(
    file: pathlib.Path, raw: RawTable, column: Column, labels: Sequence[str], keep: np.ndarray
) -> np.ndarray:
    """Codes of the known categories; text that is the same number is the same category."""
    known = {label: k for k, label in reversed(list(enumerate(labels)))}
    numbers = {to_number(label): k for label, k in known.items()}
    numbers.pop(None, None)
    found = [known.get(text, numbers.get(to_number(text), -1)) for text in column.labels]
    assert column.codes is not None or not found
    codes = np.full(raw.rows, -1) if column.codes is None else np.array([*found, -1])[column.codes]
    unknown = (codes < 0) & keep
    if unknown.any():
        i = int(unknown.argmax())
        expected = f"one of the {len(labels)} categories {', '.join(labels)}"
        others = int(unknown.sum()) - 1
        received = repr(raw.text(i, column.name)) + (
            f" ({others:,} more such cells)" if others else ""
        )
        advice = "The model knows no others; remove the row, or train with it."
        raise TableError(file, expected, received, advice, raw.place(i), column.name)
    return codes.astype(np.float64)
