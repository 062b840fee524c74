"""A user's own folder of photographs as a data set."""

import os
import pathlib
from concurrent import futures

import numpy as np

from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.errors import DataError
from tf_iresnet.data.images.decoding import KINDS, Decoded, decode, remarks
from tf_iresnet.data.images.image_dataset import image_dataset
from tf_iresnet.data.splits import random_split

ENDINGS = (".png", ".jpg", ".jpeg")
OTHER_IMAGES = (".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".avif")
_FEWEST, _FEWEST_TRAINING = 10, 6
_CONVERT = "Convert it, or move it elsewhere."


def load_image_folder(
    path: str | os.PathLike[str],
    size: int = 32,
    channels: int | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    split_seed: int = 0,
    flip: bool = False,
    pad_crop: int = 0,
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
    """
    if size < 2:
        raise ValueError(f"Expected size to be at least 2 pixels. Received: size={size}.")
    if channels not in (None, 1, 3):
        expected = "channels to be 1 (grey), 3 (colour) or None (as the images are)"
        raise ValueError(f"Expected {expected}. Received: channels={channels!r}.")
    folder = pathlib.Path(path)
    files = _find(folder)
    rows = random_split(len(files), validation, test, split_seed, fewest=2)
    if len(files) < _FEWEST or len(rows.train) < _FEWEST_TRAINING:
        expected = f"at least {_FEWEST} PNG or JPEG files, and some of them to train on"
        advice = "Add images, or correct the path."
        raise DataError(folder, expected, f"{len(files)} in all", advice)
    images, notes = _read_all(files, size, channels)
    indices, classes = _labels(folder, files)
    labels = rows.select(indices) if classes else None
    title, parts = folder.resolve().name, rows.select(images)
    return image_dataset(title, parts, 256, labels, classes, flip, pad_crop, notes=tuple(notes))


def _find(folder: pathlib.Path) -> list[pathlib.Path]:
    """PNG and JPEG files below a folder, sorted by name."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        advice = f"Check the path; relative ones start in {pathlib.Path.cwd()}."
        raise DataError(folder, "a folder of images", found, advice)
    inside = sorted(file for file in folder.rglob("*") if file.is_file())
    visible = [f for f in inside if not any(p.startswith(".") for p in f.relative_to(folder).parts)]
    for file in visible:
        if file.suffix.lower() in OTHER_IMAGES:
            raise DataError(file, "PNG and JPEG images", file.suffix, _CONVERT)
    return [file for file in visible if file.suffix.lower() in ENDINGS]


def _read_all(
    files: list[pathlib.Path], size: int, channels: int | None
) -> tuple[np.ndarray, list[str]]:
    """Images uint8 [n, size, size, channels], read by several threads; and remarks on them."""

    def read(file: pathlib.Path) -> Decoded:
        return decode(file, file.read_bytes(), size, channels)

    with futures.ThreadPoolExecutor() as pool:
        found = list(pool.map(read, files))
    images = [image for image, _ in found]
    first = images[0].shape[-1]
    for file, image in zip(files, images, strict=True):
        if image.shape[-1] != first:
            expected = f"a {KINDS[first]} image, as {files[0]} is"
            received = f"a {KINDS[image.shape[-1]]} one"
            advice = "Make all of them colour with channels=3 or grey with channels=1."
            raise DataError(file, expected, received, advice)
    return np.stack(images), remarks([header for _, header in found])


def _labels(folder: pathlib.Path, files: list[pathlib.Path]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The class of each file, int32 [n], and the names of the classes, which are subfolders."""
    places = [file.relative_to(folder).parts for file in files]
    classes, labels = np.unique([place[0] for place in places], return_inverse=True)
    if len(classes) < 2 or any(len(place) < 2 for place in places):
        classes = classes[:0]
    return labels.astype(np.int32), tuple(classes.tolist())
