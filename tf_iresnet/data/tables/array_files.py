"""Reads .npy, .npz and .parquet files."""

import contextlib
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from tf_iresnet.data.errors import TableError, optional_import
from tf_iresnet.data.tables.table import RawTable, select

_NUMBERS = "biuf"  # kinds of NumPy types: Boolean, integer, unsigned, float
_CONTENTS = {".npy": "a single array", ".npz": "an .npz archive"}


def read_array(file: pathlib.Path, wanted: Sequence[str] | None, key: str | None) -> RawTable:
    """Reads a 2-D array of numbers; `key` is its name in an .npz file that has several."""
    with _readable(file):
        content = np.load(file, allow_pickle=False)
    named = file.suffix.lower()
    found = ".npy" if isinstance(content, np.ndarray) else ".npz"
    if found != named:
        raise TableError(file, _CONTENTS[named], _CONTENTS[found], f"Rename the file to {found}.")
    if found == ".npy":
        return _from_array(file, content, wanted)
    with content, _readable(file):
        arrays = {name: content[name] for name in content.files if key in (None, name)}
    if key is None:
        tables = [name for name, a in arrays.items() if a.ndim == 2 and a.dtype.kind in _NUMBERS]
        if len(tables) != 1:
            types = [f"{name!r} of type {a.dtype}{list(a.shape)}" for name, a in arrays.items()]
            several = f"{len(tables)} ({', '.join(tables)})" if tables else "none"
            received = f"{several} among {', '.join(types) or 'no arrays at all'}"
            advice = "Name the one to use with key=…." if tables else "Save the rows as one array."
            raise TableError(file, "one 2-D array of numbers", received, advice)
        key = tables[0]
    elif key not in arrays:
        known = ", ".join(content.files) or "none"
        raise TableError(file, f"an array {key!r}", f"keys {known}", "Correct key=….")
    return _from_array(file, arrays[key], wanted, f"an array {key!r}")


def read_parquet(file: pathlib.Path, wanted: Sequence[str] | None) -> RawTable:
    """Reads the wanted columns, which must have a numeric or Boolean type."""
    with optional_import("pyarrow", "reads .parquet tables"):
        import pyarrow as pa
        import pyarrow.parquet
    with _readable(file):
        names = pa.parquet.read_schema(file).names
    chosen = select(file, names, wanted)
    with _readable(file):
        table = pa.parquet.read_table(file, columns=[names[k] for k in chosen])
    values = np.empty((table.num_rows, len(chosen)))
    for j, column in enumerate(table.columns):
        kind, types = column.type, pa.types
        numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        if not (numeric or types.is_boolean(kind)):
            received = f"one of type {kind}" + (f", {column[0].as_py()!r}" if len(column) else "")
            advice = "Leave the column out with columns=[…], or encode it as numbers."
            row, name = "row 1" if len(column) else None, table.column_names[j]
            raise TableError(file, "a numeric column", received, advice, row, name)
        values[:, j] = column.cast(pa.float64(), safe=False).to_numpy()
    whole = np.array([pa.types.is_integer(kind) for kind in table.schema.types], bool)

    def cell(i: int, j: int) -> tuple[str, str]:
        value = table.column(j)[i].as_py()
        return f"row {i + 1}", "" if value is None else str(value)

    return RawTable(tuple(table.column_names), values, whole, cell)


@contextlib.contextmanager
def _readable(file: pathlib.Path) -> Iterator[None]:
    """Raises a TableError where NumPy or pyarrow can't read the file."""
    try:
        yield
    except PermissionError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        received = " ".join(str(error).split()).rstrip(".")
        if "allow_pickle" in received:
            received = "Python objects, or a file of another kind"
        expected = f"a readable {file.suffix} file of numbers"
        raise TableError(file, expected, received, "Save it again.") from error


def _from_array(
    file: pathlib.Path, array: np.ndarray, wanted: Sequence[str] | None, name: str = "an array"
) -> RawTable:
    if array.ndim != 2:
        expected, advice = f"{name} of shape [rows, columns]", "Reshape it to two dimensions."
        raise TableError(file, expected, f"shape {array.shape}", advice)
    if array.dtype.kind not in _NUMBERS:
        advice = "Convert it, or leave out what isn't a number, before saving."
        raise TableError(file, f"{name} of real numbers", f"type {array.dtype}", advice)
    names = [f"x{i}" for i in range(array.shape[1])]
    chosen = select(file, names, wanted)
    picked = array if wanted is None else array[:, chosen]
    whole = np.full(len(chosen), array.dtype.kind in "iu")
    columns, values = tuple(names[k] for k in chosen), picked.astype(np.float64)
    return RawTable(columns, values, whole, lambda i, j: (f"row {i + 1}", str(picked[i, j])))
