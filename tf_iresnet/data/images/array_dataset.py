"""Images in a user's array files as a data set."""

import os
import pathlib

import numpy as np

from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.errors import DataError
from tf_iresnet.data.images.arrays import PARTS, ImageArrays, read_image_arrays
from tf_iresnet.data.images.image_dataset import frame_in_colour, image_dataset
from tf_iresnet.data.splits import Split, SplitSeed, random_split

_FEWEST, _FEWEST_TRAINING = 2, 6
_HELD_OUT = 0.1  # of the training images


def load_image_arrays(
    path: str | os.PathLike[str],
    padded: bool = False,
    validation: float | None = None,
    test: float | None = None,
    split_seed: SplitSeed = 0,
    levels: int = 256,
    flip: bool = False,
    pad_crop: int = 0,
) -> Dataset:
    """Returns the images of array files: an .npz or .npy file, or idx files as of MNIST.

    `arrays.read_image_arrays` says which names are understood. Parts that the file has are used as
    they are; those it hasn't are drawn from its training images.

    Args:
        padded: make grey images of 28×28 pixels colour images of 32×32, see `load_published`.
        validation, test: fractions of the training images that are held out, a tenth if None, at
            least 2 images each; only for a part that the file doesn't have.
        split_seed: seed of the random split, below 2³².
        levels: number of values of a pixel; larger values are refused.
        flip, pad_crop: see `image_dataset`.
    """
    path = pathlib.Path(path)
    if not 2 <= levels <= 256:
        raise ValueError(f"Expected levels to be 2 to 256. Received: levels={levels}.")
    arrays = read_image_arrays(path)
    highest = max(int(images.max()) for images in arrays.images.values())
    if highest >= levels:
        advice = f"Type --config.data.levels={highest + 1}, or correct the images."
        raise DataError(path, f"values of pixels below {levels}", f"{highest}", advice)
    images, numbers, drawn = _split(path, arrays, validation, test, split_seed)
    classes, labels = _classes(arrays)
    title = path.resolve().stem
    if padded:
        images, title = frame_in_colour(path, images), f"{title} padded to 32x32x3"
    fewest = max(2, highest + 1)
    notes = [f"Not used, as the names don't say what they are: {', '.join(arrays.unused)}."]
    if highest < levels // 2 and fewest < levels:
        notes.append(
            f"No value is above {highest}: if pixels have no others, type "
            f"--config.data.levels={fewest}, since bits per dimension depend on it."
        )
    return image_dataset(
        title,
        images,
        levels,
        None if labels is None else _of_parts(labels, numbers),
        classes,
        flip,
        pad_crop,
        description=_describe(path, arrays, images, drawn, len(classes)),
        notes=tuple(notes if arrays.unused else notes[1:]),
    )


def _split(
    path: pathlib.Path,
    arrays: ImageArrays,
    validation: float | None,
    test: float | None,
    seed: int,
) -> tuple[Split, Split, list[str]]:
    """The images, which part and rows they are, and the parts that are drawn from training."""
    fractions = {"validation": validation, "test": test}
    for part, fraction in fractions.items():
        if part in arrays.images and fraction is not None:
            received = f"{part}={fraction} for {path}, which has {part} images"
            raise ValueError(f"Expected {part} only for files without that part. {received}.")
    drawn = [part for part in fractions if part not in arrays.images]
    asked = [_HELD_OUT if fractions[part] is None else fractions[part] for part in drawn]
    if any(not fraction > 0 for fraction in asked):  # type: ignore[operator]
        given = ", ".join(f"{part}={x}" for part, x in zip(drawn, asked, strict=True))
        raise ValueError(f"Expected fractions above 0. Received: {given}.")
    count = len(arrays.images["training"])
    rows = {part: np.arange(len(images)) for part, images in arrays.images.items()}
    if drawn:
        first, second = [*asked, 0.0][:2]
        found = random_split(count, first, second, seed, fewest=_FEWEST)  # type: ignore[arg-type]
        rows["training"] = found.train
        rows |= dict(zip(drawn, found[1:], strict=False))
    if len(rows["training"]) < _FEWEST_TRAINING or min(map(len, rows.values())) < _FEWEST:
        expected = f"{_FEWEST_TRAINING} images to train on, and {_FEWEST} in each other part"
        received = ", ".join(f"{len(images)} {part}" for part, images in arrays.images.items())
        raise DataError(path, expected, received, "Add images, or change the fractions.")
    sources = {part: "training" if part in drawn else part for part in PARTS}
    numbers = Split(*((sources[part], rows[part]) for part in PARTS))  # type: ignore[arg-type]
    return _of_parts(arrays.images, numbers), numbers, drawn


def _of_parts(arrays: dict[str, np.ndarray], numbers: Split) -> Split:
    """The rows that pairs of a part and row numbers name; no copy of a whole part."""

    def pick(source: str, rows: np.ndarray) -> np.ndarray:
        return arrays[source] if len(rows) == len(arrays[source]) else arrays[source][rows]

    return Split(*(pick(*number) for number in numbers))


def _classes(arrays: ImageArrays) -> tuple[tuple[str, ...], dict[str, np.ndarray] | None]:
    """Names of the classes, all labels that there are, and the labels as indices into them."""
    if not arrays.labels:
        return (), None
    ends = np.cumsum([len(labels) for labels in arrays.labels.values()])[:-1]
    joined = np.concatenate(list(arrays.labels.values()))
    names, indices = np.unique(joined, return_inverse=True)
    parts = np.split(indices.astype(np.int32), ends)
    return tuple(map(str, names.tolist())), dict(zip(arrays.labels, parts, strict=True))


def _describe(
    path: pathlib.Path, arrays: ImageArrays, images: Split, drawn: list[str], classes: int
) -> tuple[str, ...]:
    height, width, channels = arrays.images["training"].shape[1:]
    count = sum(map(len, arrays.images.values()))
    kind = "grey" if channels == 1 else "colour"
    line = f"{path}: {count:,} {kind} images of {width}x{height} pixels"
    line += f", {classes} classes" if classes else ", without labels"
    sizes = ", ".join(f"{len(part):,} {name}" for part, name in zip(images, PARTS, strict=True))
    sizes += f"; drawn from its training images: {', '.join(drawn)}" if drawn else ""
    return line, f"  images: {sizes}"
