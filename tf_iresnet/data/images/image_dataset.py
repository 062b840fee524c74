"""Images of whole grey levels, uint8 [n, height, width, channels], as a `Dataset`; flips and crops.

Unlike `tf.image.stateless_random_flip_left_right` the flips are the same bits under XLA, and unlike
`tf.image.stateless_random_crop` each image of a batch is cropped at its own place.
"""

import math
import os
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.data.batches import Augment
from tf_iresnet.data.dataset import Dataset, finite_dataset
from tf_iresnet.data.errors import DataError
from tf_iresnet.data.randomness import CROP, FLIP, Seed, Step, bits, stream_seed
from tf_iresnet.data.splits import Split


def image_dataset(
    name: str,
    parts: Split,
    levels: int = 256,
    labels: Split | None = None,
    classes: tuple[str, ...] = (),
    flip: bool = False,
    pad_crop: int = 0,
    image_shape: tuple[int, ...] | None = None,
    **known: Any,
) -> Dataset:
    """Returns images as a data set, each level a cell of width 1: values in [0, levels).

    A density's bits per dimension are then those of the levels themselves, whatever its
    preprocessing (see `dequantization`).

    Args:
        parts: uint8 [n, height, width, channels] each. The training images are kept in that type;
            only batches of them become float32.
        levels: number of values of a pixel.
        name, labels, classes, known: see `Dataset`.
        flip: mirror training images at random.
        pad_crop: pixels by which training images are shifted at random, 0 for none.
        image_shape: (height, width) of images that are given as vectors [n, height · width].
    """
    shape = parts.train.shape[1:]
    image_shape = shape if image_shape is None else image_shape
    side = min(image_shape[:2])
    if isinstance(pad_crop, int) and pad_crop >= side:
        expected = f"Expected pad_crop to be less than the images' {side} pixels a side"
        raise ValueError(f"{expected}. Received: pad_crop={pad_crop!r}.")
    # Columns are "pixel row,column" or "pixel row,column,channel".
    places = np.ndindex(image_shape[:-1] if image_shape[-1] == 1 else image_shape)
    return finite_dataset(
        parts,
        np.ones(shape),
        labels,
        augmentation(flip, pad_crop),
        name=name,
        classes=classes,
        columns=tuple("pixel " + ",".join(map(str, place)) for place in places),
        ranges=np.full((math.prod(shape), 2), (0, levels), np.float32),
        levels=levels,
        image_shape=image_shape,
        **known,
    )


def frame_in_colour(path: str | os.PathLike[str] | None, parts: Split) -> Split:
    """Returns grey images of 28×28 pixels with a black frame of two, in three equal channels.

    Raises:
        DataError: for images of another shape, naming the `path` that they come from.
    """
    shape = parts.train.shape[1:]
    if shape != (28, 28, 1):
        advice = "Leave padded=True out."
        raise DataError(path, "grey images of 28x28 pixels to pad", f"shape {shape}", advice)
    frame = [(0, 0), (2, 2), (2, 2), (0, 0)]
    return parts.map(lambda x: np.repeat(np.pad(x, frame), 3, axis=-1))


def flip(images: tf.Tensor, seed: Seed, step: Step) -> tf.Tensor:
    """Returns images [n, height, width, channels], each mirrored with probability ½."""
    coin = bits([tf.shape(images)[0]], stream_seed(seed, step, FLIP)) % 2
    return tf.where(coin[:, None, None, None] > 0, tf.reverse(images, [2]), images)


def pad_crop(images: tf.Tensor, pad: int, seed: Seed, step: Step) -> tf.Tensor:
    """Returns images [n, height, width, channels], padded by zeros and cropped to their old size.

    The padding is `pad` pixels on every side; all (2·pad + 1)² places of a crop are equally likely.
    """
    count, height, width, _ = tf.unstack(tf.shape(images))
    corner = bits([2, count], stream_seed(seed, step, CROP)) % tf.constant(2 * pad + 1, tf.uint32)
    top, left = tf.unstack(tf.cast(corner, tf.int32)[:, :, None])
    padded = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    rows = tf.gather(padded, top + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(rows, left + tf.range(width), axis=2, batch_dims=1)


def augmentation(flips: bool, pad: int) -> Augment | None:
    """Returns (images, seed, step) → images that flips, or crops by `pad` > 0; None for neither."""
    if isinstance(pad, bool) or not isinstance(pad, int) or pad < 0:
        raise ValueError(f"Expected pad_crop to be a number of pixels. Received: pad_crop={pad!r}.")
    if not flips and not pad:
        return None

    def augment(images: tf.Tensor, seed: Seed, step: Step) -> tf.Tensor:
        flipped = flip(images, seed, step) if flips else images
        moved = pad_crop(flipped, pad, seed, step) if pad else flipped
        return tf.ensure_shape(moved, images.shape)

    return augment
