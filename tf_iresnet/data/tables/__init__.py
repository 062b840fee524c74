"""A user's own table of numbers, from a .csv, .npz, .npy or .parquet file."""

import os
import pathlib
from collections.abc import Sequence

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.tables.array_files import read_array, read_parquet
from tf_iresnet.data.tables.csv_file import read_csv
from tf_iresnet.data.tables.table import RawTable, Table, check

__all__ = ["Table", "TableError", "load_table"]


def load_table(
    path: str | os.PathLike[str], columns: Sequence[str] | None = None, key: str | None = None
) -> Table:
    """Reads a table of numbers from a .csv, .npz, .npy or .parquet file and checks it.

    Commas, semicolons or tabs separate the cells of a CSV file. If its first line is all numbers it
    has no header, and the columns are called x0, x1, … as those of arrays are. Booleans count as 0
    and 1. Nothing is written.

    Args:
        columns: names of the columns to use, in this order; all if None.
        key: name of the array in an .npz file that has several.

    Raises:
        TableError: for a table that can't be used, naming file, row and column.
        ImportError: without pandas (.csv) or pyarrow (.parquet).
    """
    file = pathlib.Path(path)
    try:
        raw = _read(file, columns, key)
    except PermissionError as error:
        advice = "Change the file's permissions."
        raise TableError(file, "a readable file", "permission denied", advice) from error
    return check(file, raw)


def _read(file: pathlib.Path, columns: Sequence[str] | None, key: str | None) -> RawTable:
    suffix = file.suffix.lower()
    if not file.is_file():
        received = "a directory" if file.is_dir() else "no such file"
        advice = f"Check the path; relative ones start in {pathlib.Path.cwd()}."
        raise TableError(file, "a table", received, advice)
    if suffix not in (".csv", ".npz", ".npy", ".parquet"):
        expected = "a file that ends in .csv, .npz, .npy or .parquet"
        received = repr(suffix) if suffix else "no ending"
        raise TableError(file, expected, received, "Convert the table to one of these.")
    if key is not None and suffix != ".npz":
        raise ValueError(f"Expected key only with an .npz file. Received: key={key!r}, {file}.")
    if not file.stat().st_size:
        raise TableError(file, "a table", "an empty file", "Is this the right file?")
    if suffix in (".npy", ".npz"):
        return read_array(file, columns, key)
    return (read_csv if suffix == ".csv" else read_parquet)(file, columns)
