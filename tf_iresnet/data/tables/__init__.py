"""A user's own table, of numbers and categories, as it is: from text, spreadsheets and arrays."""

import contextlib
import dataclasses
import os
import pathlib
import tempfile
import zipfile

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.tables.array_files import read_array
from tf_iresnet.data.tables.choose import choose
from tf_iresnet.data.tables.columns import RawTable
from tf_iresnet.data.tables.new_rows import arrange
from tf_iresnet.data.tables.options import Names, Options
from tf_iresnet.data.tables.parquet_file import read_parquet
from tf_iresnet.data.tables.table import Layout, Table
from tf_iresnet.data.tables.text_file import read_text
from tf_iresnet.data.tables.text_source import open_source
from tf_iresnet.data.tables.workbook import SEPARATOR, copy_sheet

__all__ = ["Layout", "Table", "TableError", "load_table"]

_TEXT = (".csv", ".tsv", ".txt")
_ENDINGS = (*_TEXT, ".csv.gz", ".tsv.gz", ".txt.gz", ".xlsx", ".parquet", ".npz", ".npy")
_TEXT_OPTIONS = ("separator", "encoding")
_LINE_OPTIONS = ("decimal", "header", "skip_lines")
_SIGNATURES = {b"PAR1": ".parquet", b"\x93NUMPY": ".npy", b"PK\x03\x04": ".npz", b"\x1f\x8b": ".gz"}


def load_table(
    path: str | os.PathLike[str],
    columns: Names = None,
    key: str | None = None,
    *,
    exclude: Names = None,
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    skip_lines: int = 0,
    missing: str = "error",
    na_values: Names = None,
    categories: Names = None,
    split_by: str | None = None,
    split_order: str | None = None,
    like: Layout | Table | None = None,
) -> Table:
    """Reads a table from a .csv, .tsv, .txt, .csv.gz, .xlsx, .parquet, .npz or .npy file.

    What isn't given is found out, and said in the table's notes. A column is one of numbers; or of
    categories if most of its cells are text or truth values. Left out, unless named in
    `columns`: dates, columns that count the rows, texts of which there are too many, columns
    without a cell, constant ones and those that equal another. Nothing is written.

    Memory: 8 bytes per cell of the columns read, and those of six columns more while they are read
    (10⁷ rows of 5 columns: 0.9 GB); for arrays the array itself comes on top. A table that would
    take over half of the machine's memory is refused.

    Args:
        columns: names of the columns to use, in this order, as a list or "a,b"; all if None.
        key: name of the array of an .npz file, or of the sheet of an .xlsx file, with several.
        exclude: names of columns to leave out.
        separator: of cells: one character, "tab" or "space" (any white space).
        decimal: sign of decimals, "." or ",".
        encoding: of text, as Python calls it.
        header: whether the first line names the columns; else they are x0, x1, ….
        skip_lines: number of lines at the top that aren't read.
        missing: "error" refuses a table with missing cells, "drop" leaves their rows out, "impute"
            fills them in with values drawn from the same column.
        na_values: further texts and numbers that mean a missing cell.
        categories: names of columns of numbers that are categories.
        split_by: name of a column by whose values the rows are grouped: a group stays in one part
            of the split. It is no column of the table.
        split_order: name of a column, such as a time, by which the split puts the last rows into
            the test part. It is no column of the table.
        like: the columns and categories of a table to which this one brings new rows: just these
            columns are read, even from a single row, and nothing is left out.

    Raises:
        TableError: for a table that can't be used, naming file, row and column.
        ValueError: for an option that is out of range or doesn't apply to the file.
        ImportError: without pandas (text), openpyxl (.xlsx) or pyarrow (.parquet).
    """
    file = pathlib.Path(path)
    options = Options(
        columns=columns,
        exclude=exclude,
        key=key,
        separator=separator,
        decimal=decimal,
        encoding=encoding,
        header=header,
        skip_lines=skip_lines,
        missing=missing,
        na_values=na_values,
        categories=categories,
        split_by=split_by,
        split_order=split_order,
    )
    layout = like.layout if isinstance(like, Table) else like
    if layout is not None:
        options = options.of_layout(layout)
    try:
        with contextlib.ExitStack() as stack:
            raw = _read(file, options, stack)
            if layout is not None:
                return arrange(file, raw, layout, options)
            return choose(file, raw, options)
    except PermissionError as error:
        advice = "Change the file's permissions."
        raise TableError(file, "a readable file", "permission denied", advice) from error


def _read(file: pathlib.Path, options: Options, stack: contextlib.ExitStack) -> RawTable:
    ending = _check_file(file)
    check_options(file, ending, options)
    notes: list[str] = []
    if ending in (".npy", ".npz"):
        return read_array(file, options, notes)
    if ending == ".parquet":
        return read_parquet(file, options, notes)
    copy = None
    if ending == ".xlsx":
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        copy = copy_sheet(file, options, notes, folder)
        options = dataclasses.replace(options, separator=SEPARATOR)
    return read_text(open_source(file, options, notes, copy), options, notes)


def _check_file(file: pathlib.Path) -> str:
    """Returns the ending in lower case; raises a TableError unless it and the content agree."""
    name = file.name.lower()
    ending = next((e for e in reversed(_ENDINGS) if name.endswith(e)), "")
    if not file.is_file():
        received = "a directory" if file.is_dir() else "no such file"
        advice = f"Check the path; relative ones start in {pathlib.Path.cwd()}."
        raise TableError(file, "a table", received, advice)
    if not ending:
        expected = f"a file that ends in {', '.join(_ENDINGS[:-1])} or {_ENDINGS[-1]}"
        received = repr(file.suffix) if file.suffix else "no ending"
        raise TableError(file, expected, received, "Convert the table to one of these.")
    if not file.stat().st_size:
        raise TableError(file, "a table", "an empty file", "Is this the right file?")
    with open(file, "rb") as stream:
        head = stream.read(8)
    content = next((kind for sign, kind in _SIGNATURES.items() if head.startswith(sign)), "")
    if content == ".npz" and _is_workbook(file):
        content = ".xlsx"
    if content and not ending.endswith(content):
        received = f"the content of one that ends in {content}"
        raise TableError(file, f"a {ending} file", received, f"Rename the file to {content}.")
    return ending


def _is_workbook(file: pathlib.Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return "[Content_Types].xml" in archive.namelist()
    except Exception:  # whatever zipfile raises for a damaged one
        return file.suffix.lower() == ".xlsx"


def check_options(file: pathlib.Path, ending: str, options: Options) -> None:
    """Raises a ValueError for an option that means nothing for a file with this ending."""
    defaults = Options()
    text = ending.startswith(_TEXT)
    for names, applies, where in (
        (_TEXT_OPTIONS, text, "text files"),
        (_LINE_OPTIONS, text or ending == ".xlsx", "text files and .xlsx files"),
        (("key",), ending in (".npz", ".xlsx"), "an .npz or .xlsx file"),
    ):
        for name in names:
            value = getattr(options, name)
            if value != getattr(defaults, name) and not applies:
                expected = f"{name} only with {where}"
                raise ValueError(f"Expected {expected}. Received: {name}={value!r}, {file}.")
