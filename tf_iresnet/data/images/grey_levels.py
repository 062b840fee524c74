"""From whole grey levels [n, height, width, channels] to a `Dataset` of images."""

from collections.abc import Mapping

import numpy as np

from tf_iresnet.data.dataset import Dataset, Labels, finite_dataset
from tf_iresnet.data.images.augmentation import augmentation

_CHUNK = 1000


def image_dataset(
    name: str,
    parts: Mapping[str, np.ndarray],
    levels: int = 256,
    labels: Labels | None = None,
    flip: bool = False,
    pad_crop: int = 0,
) -> Dataset:
    """Returns images as a data set, each level a cell of width 1: values in [0, levels).

    A density's bits per dimension are then those of the levels themselves (Theis et al.,
    arXiv 1511.01844, section 3.1), whatever its preprocessing.

    Args:
        name: for titles.
        parts: "train", "validation" and "test" → uint8 [n, height, width, channels]. The training
            images are kept in that type; only batches of them become float32.
        levels: number of values of a pixel.
        labels: of the parts, if there are any.
        flip: whether training images are mirrored at random.
        pad_crop: pixels by which training images are shifted at random, 0 for none.

    Raises:
        ValueError: for a `pad_crop` that isn't a number of pixels.
    """
    shape = parts["train"].shape[1:]
    shift, scale = _statistics(parts["train"])
    return finite_dataset(
        name,
        **parts,
        bin_width=np.ones(shape),
        labels=labels,
        augment=augmentation(flip, pad_crop),
        shift=shift,
        scale=scale,
        columns=pixel_names(shape),
        ranges=np.tile(np.array([0, levels], np.float32), (int(np.prod(shape)), 1)),
        levels=levels,
        image_shape=shape,
    )


def pixel_names(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Returns "pixel row,column" or "pixel row,column,channel" for every entry of an image."""
    if shape[-1] == 1:
        shape = shape[:-1]
    return tuple("pixel " + ",".join(map(str, place)) for place in np.ndindex(*shape))


def _statistics(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, float32 [*event], of levels with noise uniform in [0, 1).

    From exact sums, a part of the images at a time: 50,000 colour images of 32×32 pixels would
    take more than a gigabyte as float64.
    """
    total = np.zeros(train.shape[1:], np.int64)
    squares = np.zeros_like(total)
    for start in range(0, len(train), _CHUNK):
        values = train[start : start + _CHUNK].astype(np.int64)
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
    mean = total / len(train)
    variance = np.maximum(squares / len(train) - mean**2, 0)
    return (mean + 0.5).astype(np.float32), np.sqrt(variance + 1 / 12).astype(np.float32)
