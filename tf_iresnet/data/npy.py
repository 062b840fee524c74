"""Reads .npy and .npz files; no array is made that the file's size doesn't vouch for."""

import pathlib
import zipfile
from typing import IO

import numpy as np

from tf_iresnet.data.errors import DataError

MOST_COMPRESSION = 1100  # times that deflate makes zeros smaller


def read_npy(file: pathlib.Path, error: type[DataError] = DataError) -> np.ndarray:
    """Returns the array of an .npy file.

    Raises:
        error: for Python objects, which could execute code.
        Exception: whatever NumPy raises for a damaged file.
    """
    with open(file, "rb") as stream:
        return _read(file, stream, file.stat().st_size, error)


def read_npz(
    file: pathlib.Path, key: str | None = None, error: type[DataError] = DataError
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the arrays of an .npz file, or the one of that name only, and the names of all.

    Raises what `read_npy` does, and what zipfile raises for a damaged file.
    """
    with zipfile.ZipFile(file) as archive:
        members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
        arrays = {}
        for name, member in members.items():
            if key in (None, name):
                size = min(member.file_size, MOST_COMPRESSION * (member.compress_size + 1))
                with archive.open(member) as stream:
                    arrays[name] = _read(file, stream, size, error)
    return arrays, list(members)


def _read(file: pathlib.Path, stream: IO[bytes], size: int, error: type[DataError]) -> np.ndarray:
    """The array in a stream of `size` bytes, which its header must not claim to exceed."""
    form = np.lib.format
    version = form.read_magic(stream)
    read = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"the format of NumPy has no version {version}")
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        expected = f"a readable {file.suffix} file of numbers"
        raise error(file, expected, "Python objects", "Save numbers alone.")
    if any(not n >= 0 for n in shape) or len(shape) > 32:
        raise ValueError(f"the header's shape is {shape}")
    entries = 1
    for n in shape:
        entries *= n
    nbytes = entries * dtype.itemsize
    if nbytes > size or max(shape, default=0) > size:
        raise ValueError(f"the header's {shape} of {dtype} is more than the file holds")
    data = stream.read(nbytes)
    if len(data) < nbytes:
        raise ValueError(f"the file ends after {len(data):,} of {nbytes:,} bytes")
    if not entries:
        return np.empty(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
