"""A user's own folder of photographs as a data set."""

import os
import pathlib

import numpy as np

from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.errors import DataError
from tf_iresnet.data.images.decoding import CONVERT
from tf_iresnet.data.images.encoded import check_options, encoded_dataset

ENDINGS = (".png", ".jpg", ".jpeg")
OTHER_IMAGES = (".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".avif")


def load_image_folder(
    path: str | os.PathLike[str],
    size: int = 32,
    channels: int | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    split_seed: int = 0,
    flip: bool = False,
    pad_crop: int = 0,
    stream: bool | None = None,
) -> Dataset:
    """Returns the PNG and JPEG files of a folder as images [size, size, channels] of 256 levels.

    Each image is turned upright, cropped to its central square and averaged down to the size; one
    that has the size already keeps its pixels. Animations and CMYK are refused. Subfolders are
    searched, too: if every image lies in one of at least two, their names are the classes. Files
    that aren't images are skipped; nothing is written.

    Args:
        size: pixels a side; no image may be smaller.
        channels: 3 for colour (grey images get three equal channels), 1 for grey (the luma of
            colour images), either without transparency; None for what all images have.
        validation, test: fractions of the images held out, at least 2 images each.
        split_seed: seed of the random split, below 2³².
        flip, pad_crop: see `image_dataset`.
        stream: whether training images are read when a batch needs them, which changes no batch;
            if None, those of more than 2³⁰ bytes in all are. A file that can't be read then ends
            training by its name, and the same command goes on once it is mended.
    """
    check_options(size, channels)
    files = Files(pathlib.Path(path))
    name = files.folder.resolve().name
    labels, classes = files.classes()
    return encoded_dataset(
        path,
        name,
        files,
        size,
        channels,
        (validation, test),
        split_seed,
        labels,
        classes,
        flip,
        pad_crop,
        stream,
    )


class Files:
    """The PNG and JPEG files below a folder, sorted by name; of each its name is in memory."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        names = _find(folder)
        self._names = b"".join(map(os.fsencode, names))
        self._ends = np.cumsum([0, *(len(os.fsencode(name)) for name in names)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _name(self, index: int) -> str:
        return os.fsdecode(self._names[self._ends[index] : self._ends[index + 1]])

    def name(self, index: int) -> pathlib.Path:
        """Path of a file."""
        return self.folder / self._name(index)

    def contents(self, index: int) -> bytes:
        """What is in a file. DataError if it can't be read."""
        try:
            with open(os.path.join(self.folder, self._name(index)), "rb") as file:
                return file.read()
        except OSError as error:
            reason = error.strerror or str(error)
            raise DataError(self.name(index), "a readable file", reason, "Restore it.") from error

    def classes(self) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """The class of each file, int32 [n], and their names: subfolders that all files are in."""
        places = [self._name(index).partition(os.sep) for index in range(len(self))]
        classes = sorted({place[0] for place in places})
        if len(classes) < 2 or not all(place[1] for place in places):
            return None, ()
        numbers = {name: k for k, name in enumerate(classes)}
        return np.array([numbers[place[0]] for place in places], np.int32), tuple(classes)


def _find(folder: pathlib.Path) -> list[str]:
    """Names of PNG and JPEG files, relative to the folder, sorted."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        advice = f"Check the path; relative ones start in {pathlib.Path.cwd()}."
        raise DataError(folder, "a folder of images", found, advice)
    names = list[str]()
    for place, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".")]
        inside = os.path.relpath(place, folder)
        visible = [file for file in files if not file.startswith(".")]
        names += visible if inside == "." else [os.path.join(inside, f) for f in visible]
    names.sort(key=lambda name: name.split(os.sep))
    images = [n for n in names if n.lower().endswith((*ENDINGS, *OTHER_IMAGES))]
    for name in images:
        if name.lower().endswith(OTHER_IMAGES):
            ending = os.path.splitext(name)[1]
            raise DataError(folder / name, "PNG and JPEG images", ending, CONVERT)
    if not images:
        advice = "Add images, or correct the path."
        raise DataError(folder, "at least 10 PNG or JPEG files", "0 in all", advice)
    return images
