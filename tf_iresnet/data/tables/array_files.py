"""Reads tables from .npy and .npz files."""

import pathlib

import numpy as np

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.npy import read_npy, read_npz
from tf_iresnet.data.tables.columns import Gatherer, RawTable, check_memory
from tf_iresnet.data.tables.options import Options
from tf_iresnet.data.tables.text_source import damaged

_NUMBERS = "biuf"  # kinds of NumPy types: Boolean, integer, unsigned, float


def read_array(file: pathlib.Path, options: Options, notes: list[str]) -> RawTable:
    """Reads a 2-D array of numbers; `options.key` is its name in an .npz file that has several.

    Memory: 8 bytes per number of the chosen columns, beside the array itself.
    """
    try:
        if file.suffix.lower() == ".npy":
            array, name = read_npy(file, TableError), "an array"
        else:
            array, name = _from_archive(file, options)
    except (TableError, PermissionError):
        raise
    except Exception as error:  # whatever NumPy and zipfile raise for a damaged file
        raise damaged(file, error) from error
    return _from_array(file, array, options, notes, name)


def _from_archive(file: pathlib.Path, options: Options) -> tuple[np.ndarray, str]:
    """The array that the key names, or the only 2-D one."""
    arrays, members = read_npz(file, options.key, TableError)
    key = options.key
    if key is None:
        tables = [name for name, a in arrays.items() if a.ndim == 2 and a.dtype.kind in _NUMBERS]
        if len(tables) != 1:
            types = [f"{name!r} of type {a.dtype}{list(a.shape)}" for name, a in arrays.items()]
            several = f"{len(tables)} ({', '.join(tables)})" if tables else "none"
            received = f"{several} among {', '.join(types) or 'no arrays at all'}"
            advice = "Name the one to use with --config.data.key=…." if tables else (
                "Save the rows as one array.")  # fmt: skip
            raise TableError(file, "one 2-D array of numbers", received, advice)
        key = tables[0]
    elif key not in arrays:
        received = f"keys {', '.join(members) or 'none'}"
        raise TableError(file, f"an array {key!r}", received, "Correct --config.data.key=….")
    return arrays[key], f"an array {key!r}"


def _from_array(
    file: pathlib.Path, array: np.ndarray, options: Options, notes: list[str], name: str
) -> RawTable:
    if array.ndim == 1 and array.dtype.kind in _NUMBERS:
        notes.append("The array has one axis; it is taken for one column.")
        array = array[:, None]
    if array.ndim != 2:
        expected, advice = f"{name} of shape [rows, columns]", "Reshape it to two dimensions."
        raise TableError(file, expected, f"shape {array.shape}", advice)
    if array.dtype.kind not in _NUMBERS:
        advice = "Convert it, or leave out what isn't a number, before saving."
        raise TableError(file, f"{name} of real numbers", f"type {array.dtype}", advice)
    if array.shape[1] > 10**6:
        received = f"shape {array.shape}"
        raise TableError(file, "at most a million columns", received, "Is it to be transposed?")
    names = [f"x{i}" for i in range(array.shape[1])]
    chosen = options.positions(file, names, None)
    check_memory(file, len(array), len(chosen))
    columns = []
    for k in chosen:
        gatherer = Gatherer(options, names[k])
        if array.dtype.kind == "b":
            gatherer.add_texts(array[:, k].astype(np.int64), ["False", "True"])
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                numbers = array[:, k].astype(np.float64)
            gatherer.add_numbers(numbers, array.dtype.kind in "iu")
        columns.append(gatherer.column())
    return RawTable(
        columns,
        place=lambda i: f"row {i + 1}",
        text=lambda i, name: str(array[i, names.index(name)]),
        notes=notes,
        rows=len(array),
    )
