"""Copies a sheet of an .xlsx file as text, to be read as other text is."""

import csv
import datetime
import pathlib
from collections.abc import Iterator
from typing import Any

from tf_iresnet.data.errors import TableError, optional_import
from tf_iresnet.data.tables.options import SINGLE, Options
from tf_iresnet.data.tables.text_source import damaged

SEPARATOR = SINGLE  # of cells in the copy
_MOST_ROWS, _MOST_COLUMNS = 2**20, 2**14  # of a sheet, by Excel's own limits


def copy_sheet(
    file: pathlib.Path, options: Options, notes: list[str], folder: pathlib.Path
) -> pathlib.Path:
    """Writes a sheet into `folder`, a line per row, and returns the file's path.

    The sheet is the one that `options.key` names, or the first one that isn't empty.
    """
    with optional_import("openpyxl", "reads .xlsx tables"):
        import openpyxl
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        try:
            return _copy(file, book, options, notes, folder)
        finally:
            book.close()
    except (TableError, PermissionError, ImportError):
        raise
    except Exception as error:  # whatever openpyxl raises for a damaged file
        raise damaged(file, error) from error


def _copy(
    file: pathlib.Path, book: Any, options: Options, notes: list[str], folder: pathlib.Path
) -> pathlib.Path:
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    if options.key is not None and options.key not in sheets:
        received = f"sheets {', '.join(sheets) or 'none'}"
        advice = "Correct --config.data.key=…."
        raise TableError(file, f"a sheet {options.key!r}", received, advice)
    ragged, path = folder / "ragged.csv", folder / "sheet.csv"
    for title, sheet in sheets.items():
        if options.key not in (None, title):
            continue
        width = _write(ragged, sheet)
        if width:
            break
    else:
        expected = "a sheet with cells"
        raise TableError(file, expected, "empty sheets only", "Is this the right file?")
    if len(sheets) > 1 and options.key is None:
        others = ", ".join(other for other in sheets if other != title)
        notes.append(f"The sheet {title!r} is read, not {others}; choose with --config.data.key=….")
    with (
        open(ragged, encoding="utf-8", newline="") as source,
        open(path, "w", encoding="utf-8", newline="") as target,
    ):
        for line in source:
            cells = line.count(SEPARATOR) + 1
            # One-column sheets need no separator; blank rows stay blank.
            target.write(line.rstrip("\n") + SEPARATOR * (width - cells) * (line != "\n") + "\n")
    return path


def _write(path: pathlib.Path, sheet: Any) -> int:
    """Writes the rows without the empty cells at their ends; returns the most cells of a row."""
    width = 0
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=SEPARATOR, lineterminator="\n")
        for cells in _rows(sheet):
            while cells and not cells[-1]:
                cells.pop()
            width = max(width, len(cells))
            writer.writerow(cells)
    return width


def _rows(sheet: Any) -> Iterator[list[str]]:
    sheet.reset_dimensions()  # what the file claims may be any size
    for number, row in enumerate(sheet.iter_rows(values_only=True)):
        if number >= _MOST_ROWS or len(row) > _MOST_COLUMNS:
            raise ValueError(f"a sheet has at most {_MOST_ROWS:,} rows, {_MOST_COLUMNS:,} columns")
        yield [_text(cell) for cell in row]


def _text(cell: Any) -> str:
    """A cell as text without line ends."""
    if cell is None:
        return ""
    if isinstance(cell, datetime.datetime):
        midnight = cell.time() == datetime.time()
        return cell.date().isoformat() if midnight else cell.isoformat(sep=" ")
    text = cell.isoformat() if isinstance(cell, datetime.time) else str(cell)
    return " ".join(text.replace(SEPARATOR, " ").split())
