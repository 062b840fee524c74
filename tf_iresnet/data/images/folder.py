"""A user's own folder of photographs as a data set."""

import array
import os
import pathlib

import numpy as np

from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.errors import DataError
from tf_iresnet.data.folders import FolderFiles
from tf_iresnet.data.images.decoding import CONVERT
from tf_iresnet.data.images.encoded import check_options, encoded_dataset
from tf_iresnet.data.splits import SplitSeed

ENDINGS = (".png", ".jpg", ".jpeg")
OTHER_IMAGES = (".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".avif")


def load_image_folder(
    path: str | os.PathLike[str],
    size: int = 32,
    channels: int | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    split_seed: SplitSeed = 0,
    flip: bool = False,
    pad_crop: int = 0,
    stream: bool | None = None,
) -> Dataset:
    """Returns the PNG and JPEG files of a folder as images [size, size, channels] of 256 levels.

    Each image is turned upright, cropped to its central square and averaged down to the size; one
    that has the size already keeps its pixels. Animations and CMYK are refused. Subfolders are
    searched, too: if every image lies in one of at least two, their names are the classes. Links
    are followed; one to nothing, or to a folder that is searched already, is refused. The notes
    name folders without images. Files with other endings are skipped; nothing is written.

    Args:
        size: pixels a side; no image may be smaller.
        channels: 3 for colour (grey images get three equal channels), 1 for grey (the luma of
            colour images), either without transparency; None for what all images have.
        validation, test: fractions of the images held out, at least 2 images each.
        split_seed: seed of the random split, below 2³².
        flip, pad_crop: see `image_dataset`.
        stream: whether training images are read when a batch needs them, which changes no batch;
            if None, those of more than 2²⁹ bytes in all are. A file that can't be read then ends
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
        files.notes,
    )


class Files:
    """The PNG and JPEG files below a folder, in the order of their names, which are in memory.

    Attributes:
        notes: sentences about folders without such files.
    """

    def __init__(self, folder: pathlib.Path):
        if not folder.is_dir():
            found = "a file" if folder.exists() else "no such folder"
            advice = f"Check the path; relative ones start in {pathlib.Path.cwd()}."
            raise DataError(folder, "a folder of images", found, advice)
        self.folder, self._names, self._ends = folder, bytearray(), array.array("q", [0])
        inside = FolderFiles(folder, self._is_image)
        for name in inside:
            self._names += os.fsencode(name)
            self._ends.append(len(self._names))
        self.notes = inside.notes_on_empty("PNG or JPEG files")
        if not len(self):
            advice = "Add images, or correct the path."
            raise DataError(folder, "at least 10 PNG or JPEG files", "0 in all", advice)

    def _is_image(self, name: str) -> bool:
        """Whether a file is taken, by its ending. DataError for images of other kinds."""
        ending = os.path.splitext(name)[1]
        if ending.lower() in OTHER_IMAGES:
            raise DataError(self.folder / name, "PNG and JPEG images", ending, CONVERT)
        return ending.lower() in ENDINGS

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _name(self, index: int) -> str:
        return os.fsdecode(bytes(self._names[self._ends[index] : self._ends[index + 1]]))

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
        classes, labels = dict[str, int](), np.empty(len(self), np.int32)
        for index in range(len(self)):
            subfolder, within, _ = self._name(index).partition(os.sep)
            if not within:
                return None, ()
            labels[index] = classes.setdefault(subfolder, len(classes))
        return (labels, tuple(classes)) if len(classes) > 1 else (None, ())
