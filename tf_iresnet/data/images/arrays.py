"""Images in array files: .npz and .npy files, and the idx files that MNIST was published as."""

import gzip
import os
import pathlib
import re
import struct
from collections.abc import Callable, Iterable
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from tf_iresnet.data.errors import DataError
from tf_iresnet.data.folders import is_folder, visible_entries
from tf_iresnet.data.npy import MOST_COMPRESSION, read_npy, read_npz

PARTS = ("training", "validation", "test")
_WORDS = {
    **dict.fromkeys(("train", "training"), "training"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing", "t10k"), "test"),
    **dict.fromkeys(("x", "image", "images", "data"), "images"),
    **dict.fromkeys(("y", "label", "labels", "target", "targets"), "labels"),
}
_NAMES = "x_train, y_train, x_test and y_test, or train_images, train_labels, …, or images, labels"
_SAVE = f"Save images by numpy.savez(path, images=…, labels=…), or under the names {_NAMES}."
_UBYTE = 8  # the type code of unsigned bytes in an idx file

Place = tuple[str, str]  # a part, and "images" or "labels"


class ImageArrays(NamedTuple):
    """Arrays as a file has them.

    Attributes:
        images: uint8 [n, height, width, channels] of each of the `PARTS` that there are; "training"
            is among them, and stands alone where the file doesn't divide the images.
        labels: whole numbers or texts [n] of the same parts; empty if there are none.
        unused: names of arrays that are neither.
    """

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    unused: list[str]


def read_image_arrays(path: str | os.PathLike[str]) -> ImageArrays:
    """Reads an .npz file, an .npy or idx file (.gz or not), or a folder of the latter two.

    What an array holds is told by the words in its name, as in "x_train", "train_images" or
    "train-images-idx3-ubyte.gz"; images without labels may have any name. A single file that isn't
    an archive is read with the one of its labels beside it, if there is one.

    Raises:
        DataError: for anything else, in one line.
    """
    path = pathlib.Path(path)
    if not path.exists():
        advice = f"Check the path; relative ones start in {pathlib.Path.cwd()}."
        raise DataError(path, "a file or folder of image arrays", "none", advice)
    try:
        arrays, unused = _read(path)
    except DataError:
        raise
    except PermissionError as error:
        advice = "Change its permissions."
        raise DataError(path, "something readable", "permission denied", advice) from error
    except Exception as error:  # whatever NumPy, zipfile and gzip raise for a damaged file
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DataError(path, "whole files of arrays", reason, "Save it again.") from error
    images = {
        part: _checked_images(path, name, array)
        for (part, kind), (name, array) in arrays.items()
        if kind == "images"
    }
    labels = {part: arrays[part, "labels"] for part in images if (part, "labels") in arrays}
    if not images or (labels and len(labels) < len(images)) or "training" not in images:
        received = ", ".join(name for name, _ in arrays.values()) or "none"
        expected = "training images, and labels for each part or for none"
        raise DataError(path, expected, received, _SAVE)
    shapes = {part: array.shape[1:] for part, array in images.items()}
    if len(set(shapes.values())) > 1:
        received = ", ".join(f"{part} images of {shape}" for part, shape in shapes.items())
        raise DataError(path, "images of one shape", received, "Make them equal, or name others.")
    checked = {
        part: _checked_labels(path, name, array, len(images[part]))
        for part, (name, array) in labels.items()
    }
    return ImageArrays(images, checked, unused)


def _read(path: pathlib.Path) -> tuple[dict[Place, tuple[str, np.ndarray]], list[str]]:
    """Named arrays by what they hold, and names of others."""
    if path.suffix.lower() == ".npz":
        arrays, names = read_npz(path)
        chosen, unused = _choose(path, names)
        return {place: (name, arrays[name]) for place, name in chosen.items()}, unused
    folder = path if path.is_dir() else path.parent
    readers = {file.name: read for file in _files(path) if (read := _reader(file)) is not None}
    if path.is_dir() and not readers:
        expected = "idx or .npy files of images in the folder"
        received = "none" if not any(folder.glob("*.npz")) else ".npz files"
        raise DataError(path, expected, received, "Name the file itself, or correct the path.")
    if path.is_file():
        if path.name not in readers:
            expected = "an .npz or .npy file, or idx files as MNIST was published"
            received = repr(path.suffix) if path.suffix else "another kind of file"
            raise DataError(path, expected, received, _SAVE)
        readers = {name: readers[name] for name in _with_labels(path.name, readers)}
    chosen, unused = _choose(path, list(readers))
    return {place: (name, readers[name](folder / name)) for place, name in chosen.items()}, unused


def _place(name: str) -> Place | None:
    """What an array of this name holds; None if its name doesn't say."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    found = {_WORDS[word] for word in words if word in _WORDS}
    parts, kinds = found & set(PARTS), found - set(PARTS)
    if not found or len(parts) > 1 or len(kinds) > 1:
        return None
    return next(iter(parts), "training"), next(iter(kinds), "images")


def _choose(path: pathlib.Path, names: Iterable[str]) -> tuple[dict[Place, str], list[str]]:
    """The arrays by what they hold, and the names of others."""
    names, chosen, unused = list(names), dict[Place, str](), list[str]()
    for name in names:
        place = ("training", "images") if len(names) == 1 else _place(name)
        if place is None:
            unused.append(name)
        elif place in chosen:
            expected = f"one array of {place[0]} {place[1]}"
            received = f"{chosen[place]} and {name}"
            raise DataError(path, expected, received, "Keep one of them there.")
        else:
            chosen[place] = name
    parts = {part for part, _ in chosen}
    if len(parts) == 1 and "training" not in parts:  # a test file alone is a set of images, too
        chosen = {("training", kind): name for (_, kind), name in chosen.items()}
    if not chosen:
        raise DataError(path, "arrays of images", ", ".join(unused) or "none", _SAVE)
    return chosen, unused


def _with_labels(name: str, names: Iterable[str]) -> list[str]:
    """The name of a file, and that of the file of its labels if there is one beside it."""
    if (place := _place(name)) is None or place[1] != "images":
        return [name]
    wanted = (_stem(name), (place[0], "labels"))
    return [name, *[other for other in names if (_stem(other), _place(other)) == wanted]]


def _stem(name: str) -> str:
    """What a name has beside the words for images or labels, the number of axes and the ending."""
    words = re.split(r"[^a-z0-9]+", name.lower().removesuffix(".gz"))
    kinds = [word for word, kind in _WORDS.items() if kind in ("images", "labels")]
    return "-".join(w for w in words if w not in kinds and not re.fullmatch(r"idx\d?", w))


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    """The visible files in a folder, or in that of a file. DataError for a link to nothing."""
    if path.is_dir():
        return [path / entry.name for entry in visible_entries(path) if not is_folder(entry)]
    inside = sorted(file for file in path.parent.iterdir() if file.is_file())
    return [file for file in inside if not file.name.startswith(".")]


def _reader(file: pathlib.Path) -> Callable[[pathlib.Path], np.ndarray] | None:
    """What reads a file; None if it is no array."""
    if file.suffix.lower() == ".npy":
        return read_npy
    try:
        with _open(file) as stream:
            head = stream.read(4)
    except (OSError, EOFError):
        return _read_idx if "idx" in file.name.lower() else None  # which then says what is wrong
    found = len(head) == 4 and head[:2] == b"\0\0" and head[2] in range(8, 15) and 0 < head[3] < 5
    return _read_idx if found or "idx" in file.name.lower() else None


def _open(file: pathlib.Path) -> BinaryIO:
    if file.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(file))
    return open(file, "rb")


def _read_idx(file: pathlib.Path) -> np.ndarray:
    """The unsigned bytes of an idx file, with the shape that it states."""
    size = file.stat().st_size * (MOST_COMPRESSION if file.suffix.lower() == ".gz" else 1)
    try:
        with _open(file) as stream:
            zero, kind, axes = struct.unpack(">HBB", stream.read(4))
            if zero or kind != _UBYTE:
                advice = "Download it again, or save the images by numpy.savez."
                raise DataError(file, "an idx file of unsigned bytes", "another kind", advice)
            shape = struct.unpack(f">{axes}I", stream.read(4 * axes))
            entries = 1
            for n in shape:
                entries *= n
            if entries > size:
                raise ValueError(f"the header's {shape} is more than the file holds")
            content = stream.read(entries + 1)
    except (OSError, EOFError, struct.error, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(file, "a whole idx file", str(error), "Download it again.") from error
    if len(content) != entries:
        held = f"{len(content):,}" if len(content) < entries else "more"
        raise DataError(file, f"{entries:,} bytes of an idx file", held, "Download it again.")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _checked_images(path: pathlib.Path, name: str, array: np.ndarray) -> np.ndarray:
    """Images uint8 [n, height, width, channels]."""
    expected = f"images uint8 [n, height, width] or [n, height, width, 1 or 3] in {name}"
    received = f"{array.dtype} of shape {array.shape}"
    if array.dtype != np.uint8:
        advice = "Save levels 0 to 255 by .astype('uint8'), fractions after multiplying by 255."
        raise DataError(path, expected, received, advice)
    shaped = array[..., None] if array.ndim == 3 else array
    if shaped.ndim != 4 or shaped.shape[-1] not in (1, 3) or 0 in shaped.shape:
        advice = "Reshape the array."
        if array.ndim == 4 and array.shape[1] in (1, 3):
            advice = "Put the channels last: numpy.moveaxis(images, 1, -1)."
        raise DataError(path, expected, received, advice)
    return shaped


def _checked_labels(path: pathlib.Path, name: str, array: np.ndarray, count: int) -> np.ndarray:
    """Labels [n], whole numbers or texts."""
    flat = array.reshape(-1) if array.shape == (len(array), 1) else array
    if flat.dtype.kind not in "iuUSb" or flat.shape != (count,):
        expected = f"whole numbers or texts [{count}] in {name}, a label for each image"
        received = f"{array.dtype} of shape {array.shape}"
        raise DataError(path, expected, received, "Save the numbers of the classes.")
    return flat
