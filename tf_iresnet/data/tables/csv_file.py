"""Reads .csv files with pandas, and again line by line to say what is wrong."""

import contextlib
import csv
import pathlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TextIO

import numpy as np

from tf_iresnet.data.errors import TableError, optional_import
from tf_iresnet.data.tables.table import MISSING, RawTable, select

_DELIMITERS = "\t;,"  # a comma may be a decimal one beside the other two


def read_csv(file: pathlib.Path, wanted: Sequence[str] | None) -> RawTable:
    """Reads UTF-8 lines of cells separated by commas, semicolons or tabs, the first maybe names."""
    delimiter = _sniff(file)
    first, cells = next(_records(file, delimiter), (0, []))
    if not cells:
        raise TableError(file, "a table", "blank lines only", "Is this the right file?")
    header = not all(_is_value(cell) for cell in cells)
    names = [c.strip() for c in cells] if header else [f"x{i}" for i in range(len(cells))]
    chosen = select(file, names, wanted, row=f"line {first}" if header else None)
    frame = _parse(file, delimiter, first if header else 0, len(names))
    values = np.empty((len(frame), len(chosen)))
    whole = np.zeros(len(chosen), bool)
    for j, k in enumerate(chosen if len(frame) else []):
        values[:, j], whole[j] = _to_numbers(frame[k])

    def cell(i: int, j: int) -> tuple[str, str]:
        line, cells = next(islice(_records(file, delimiter), i + header, None))
        return f"line {line}", cells[chosen[j]]

    return RawTable(tuple(names[k] for k in chosen), values, whole, cell)


@contextlib.contextmanager
def _open(file: pathlib.Path) -> Iterator[TextIO]:
    """Opens a file; raises a TableError where it isn't UTF-8 or the csv module can't read it."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            yield stream
    except UnicodeDecodeError as error:
        received = f"byte 0x{error.object[error.start]:02x}, which isn't"
        advice = "Save the file as UTF-8 (Excel: “CSV UTF-8”)."
        raise TableError(file, "text in UTF-8", received, advice) from error
    except csv.Error as error:
        advice = "Save the file again as .csv."
        raise TableError(file, "lines of cells", str(error), advice) from error


def _records(file: pathlib.Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Records that aren't blank, each with the number of its last line, from 1."""
    with _open(file) as stream:
        reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
        for cells in reader:
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield reader.line_num, cells


def _sniff(file: pathlib.Path) -> str:
    """The delimiter that divides the first two lines into the same number of cells, at least 2."""
    for delimiter in _DELIMITERS:
        lengths = [len(cells) for _, cells in islice(_records(file, delimiter), 2)]
        if lengths and lengths[0] > 1 and lengths[0] == lengths[-1]:
            return delimiter
    with _open(file) as stream:
        line = next(filter(str.strip, stream), "")
    return max(reversed(_DELIMITERS), key=line.count)


def _is_value(cell: str) -> bool:
    """Whether a cell could be one of a numeric table rather than a name."""
    word = cell.strip().lower()
    try:
        float(word)
    except ValueError:
        return word in MISSING or word in ("true", "false")
    return True


def _parse(file: pathlib.Path, delimiter: str, skip: int, width: int) -> Any:
    """The rows below the first `skip` lines, a data frame with columns 0, 1, …."""
    with optional_import("pandas", "reads .csv tables"):
        import pandas as pd
    with _open(file) as stream:
        for _ in range(skip):
            next(stream)
        try:
            frame = pd.read_csv(
                stream, sep=delimiter, header=None, skipinitialspace=True, low_memory=False
            )
        except pd.errors.EmptyDataError:
            return pd.DataFrame(columns=range(width))
        except pd.errors.ParserError as error:
            _check_lengths(file, delimiter, width)
            advice = "Is a quotation mark left open?"
            raise TableError(file, "lines of cells", str(error), advice) from error
    # pandas silently fills up short rows, at the end.
    if frame.shape[1] != width or frame.iloc[:, -1].isna().any():
        _check_lengths(file, delimiter, width)
    return frame


def _check_lengths(file: pathlib.Path, delimiter: str, width: int) -> None:
    """Raises a TableError for the first row that hasn't `width` cells."""
    advice = "Complete the row; put cells that contain the delimiter in quotation marks."
    for line, cells in _records(file, delimiter):
        if len(cells) != width:
            expected, received = f"{width} cells, as in the first line", str(len(cells))
            raise TableError(file, expected, received, advice, row=f"line {line}")


def _to_numbers(column: Any) -> tuple[np.ndarray, bool]:
    """A column as float64 [n], NaN for what isn't a number, and whether all were whole."""
    import pandas as pd

    kind = column.dtype.kind
    if kind in "iufb":
        return column.to_numpy(np.float64), kind in "iu"
    # Text, truth values with gaps, or whole numbers that no integer type holds.
    text = column.astype(str).str.strip().replace({"True": "1", "False": "0"})
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
    return numbers, bool((numbers == np.rint(numbers)).all())
