"""A user's own folder of photographs as a data set."""

import os
import pathlib
from concurrent import futures

import numpy as np
import tensorflow as tf

from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.errors import DataError
from tf_iresnet.data.images.image_dataset import image_dataset
from tf_iresnet.data.splits import random_split

ENDINGS = (".png", ".jpg", ".jpeg")
OTHER_IMAGES = (".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".avif")
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # how PNG and JPEG files begin
_FEWEST, _FEWEST_TRAINING = 10, 6
_CONVERT = "Convert it, or move it elsewhere."
_KINDS = {1: "grey", 2: "grey with transparency", 3: "colour", 4: "colour with transparency"}


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

    Each image is cropped to its central square and averaged down to the size; one that has the size
    already keeps its pixels. Subfolders are searched, too: if every image lies in one of at least
    two, their names are the classes. Files that aren't images are skipped; nothing is written.

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
    images = rows.select(_read_all(files, size, channels))
    indices, classes = _labels(folder, files)
    labels = rows.select(indices) if classes else None
    return image_dataset(folder.resolve().name, images, 256, labels, classes, flip, pad_crop)


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


def _read_all(files: list[pathlib.Path], size: int, channels: int | None) -> np.ndarray:
    """Images uint8 [n, size, size, channels], read by several threads."""
    with futures.ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda file: _read(file, size, channels), files))
    first = images[0].shape[-1]
    for file, image in zip(files, images, strict=True):
        if image.shape[-1] != first:
            expected = f"a {_KINDS[first]} image, as {files[0]} is"
            received = f"a {_KINDS[image.shape[-1]]} one"
            advice = "Make all of them colour with channels=3 or grey with channels=1."
            raise DataError(file, expected, received, advice)
    return np.stack(images)


def _read(file: pathlib.Path, size: int, channels: int | None) -> np.ndarray:
    contents = file.read_bytes()
    if not contents.startswith(_MAGIC):
        found = "another kind of file" if contents else "an empty file"
        raise DataError(file, "a PNG or JPEG image", found, _CONVERT)
    try:
        with tf.device("CPU"):
            image = tf.io.decode_image(contents, channels or 0, expand_animations=False)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        reason = " ".join(error.message.split()).partition(" [Op:")[0]
        received = f"one that can't be read ({reason})"
        advice = "Save it again, or move it elsewhere."
        raise DataError(file, "a whole PNG or JPEG image", received, advice) from error
    height, width, found = image.shape
    if found not in (1, 3):
        advice = "Leave the transparency out with channels=3 or channels=1."
        raise DataError(file, "an image of 1 or 3 channels", _KINDS[found], advice)
    side = min(height, width)
    if side < size:
        advice = "Choose a smaller size, or move it elsewhere: pixels made up would be learnt, too."
        raise DataError(file, f"at least {size}x{size} pixels", f"{width}x{height}", advice)
    top, left = (height - side) // 2, (width - side) // 2
    with tf.device("CPU"):
        square = image[top : top + side, left : left + side]
        means = tf.image.resize(square, [size, size], method="area")
    return np.rint(means.numpy()).astype(np.uint8)


def _labels(folder: pathlib.Path, files: list[pathlib.Path]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The class of each file, int32 [n], and the names of the classes, which are subfolders."""
    places = [file.relative_to(folder).parts for file in files]
    classes, labels = np.unique([place[0] for place in places], return_inverse=True)
    if len(classes) < 2 or any(len(place) < 2 for place in places):
        classes = classes[:0]
    return labels.astype(np.int32), tuple(classes.tolist())
