"""Reads .npy, .npz and .parquet files."""

import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np

from tf_iresnet.data.errors import TableError, optional_import
from tf_iresnet.data.tables.raw import RawTable, select

_NUMBERS = "biuf"  # kinds of NumPy types: Boolean, integer, unsigned, float
_CONTENTS = {".npy": "a single array", ".npz": "an .npz archive"}


def read_array(file: pathlib.Path, wanted: Sequence[str] | None, key: str | None) -> RawTable:
    """Reads a 2-D array of numbers; `key` is its name in an .npz file that has several."""
    try:
        content = np.load(file, allow_pickle=False)
        found = ".npy" if isinstance(content, np.ndarray) else ".npz"
        if found != file.suffix.lower():
            advice = f"Rename the file to {found}."
            raise TableError(file, _CONTENTS[file.suffix.lower()], _CONTENTS[found], advice)
        if found == ".npy":
            return _from_array(file, content, wanted)
        with content as archive:
            arrays = {name: archive[name] for name in archive.files if key in (None, name)}
    except (TableError, PermissionError):
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(file, error) from error
    if key is not None:
        if key not in arrays:
            known = ", ".join(content.files) or "none"
            raise TableError(file, f"an array {key!r}", f"keys {known}", "Correct key=….")
        return _from_array(file, arrays[key], wanted, key)
    tables = [name for name, a in arrays.items() if a.ndim == 2 and a.dtype.kind in _NUMBERS]
    if len(tables) != 1:
        types = [f"{name!r} of type {a.dtype}{list(a.shape)}" for name, a in arrays.items()]
        several = f"{len(tables)} ({', '.join(tables)})" if tables else "none"
        raise TableError(
            file,
            "one 2-D array of numbers",
            f"{several} among {', '.join(types) or 'no arrays at all'}",
            "Name the one to use with key=…." if tables else "Save rows and columns as one array.",
        )
    return _from_array(file, arrays[tables[0]], wanted, tables[0])


def read_parquet(file: pathlib.Path, wanted: Sequence[str] | None) -> RawTable:
    """Reads the wanted columns, which must have a numeric or Boolean type."""
    with optional_import("pyarrow", "reads .parquet tables"):
        import pyarrow as pa
        import pyarrow.parquet
    try:
        names = list(pa.parquet.read_schema(file).names)
        chosen = select(file, names, wanted)
        table = pa.parquet.read_table(file, columns=[names[k] for k in chosen])
    except PermissionError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(file, error) from error
    values = np.empty((table.num_rows, len(chosen)))
    for j, column in enumerate(table.columns):
        kind, types = column.type, pa.types
        numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        if not (numeric or types.is_boolean(kind)):
            raise TableError(
                file,
                "a numeric column",
                f"one of type {kind}" + (f", {column[0].as_py()!r}" if len(column) else ""),
                "Leave the column out with columns=[…], or encode it as numbers.",
                row="row 1" if len(column) else None,
                column=table.column_names[j],
            )
        values[:, j] = column.cast(pa.float64(), safe=False).to_numpy()
    whole = np.array([pa.types.is_integer(kind) for kind in table.schema.types], bool)

    def cell(i: int, j: int) -> tuple[str, str]:
        value = table.column(j)[i].as_py()
        return f"row {i + 1}", "" if value is None else str(value)

    return RawTable(str(file), tuple(table.column_names), values, whole, cell)


def _unreadable(file: pathlib.Path, error: Exception) -> TableError:
    received = " ".join(str(error).split()).rstrip(".")
    if "allow_pickle" in received:
        received = "Python objects, or a file of another kind"
    return TableError(file, f"a readable {file.suffix} file of numbers", received, "Save it again.")


def _from_array(
    file: pathlib.Path, array: np.ndarray, wanted: Sequence[str] | None, key: str | None = None
) -> RawTable:
    name = "an array" if key is None else f"an array {key!r}"
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
    columns = tuple(names[k] for k in chosen)

    def cell(i: int, j: int) -> tuple[str, str]:
        return f"row {i + 1}", str(picked[i, j])

    return RawTable(str(file), columns, picked.astype(np.float64), whole, cell)
