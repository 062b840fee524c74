"""Random flips and crops of training images, each a pure function of (seed, step)."""

from collections.abc import Callable

import tensorflow as tf

from tf_iresnet.data.streams import CROP, FLIP, Seed, Step, bits, key

Augmentation = Callable[[tf.Tensor, Seed, Step], tf.Tensor]


def flip(images: tf.Tensor, seed: Seed, step: Step) -> tf.Tensor:
    """Returns the images, each mirrored left to right with probability ½.

    Args:
        images: [n, height, width, channels], any type.
        seed: an int or an int32 pair.
        step: scalar integer.
    """
    coin = bits([tf.shape(images)[0]], key(seed, step, FLIP)) % 2
    return tf.where(coin[:, None, None, None] > 0, tf.reverse(images, [2]), images)


def pad_crop(images: tf.Tensor, pad: int, seed: Seed, step: Step) -> tf.Tensor:
    """Returns the images, each shifted by up to `pad` pixels either way, zeros moving in.

    That is a crop of the old size from the image padded by `pad` zeros on every side, at any of
    the (2·pad + 1)² places alike.

    Args:
        images: [n, height, width, channels], any type.
        pad: pixels.
        seed: an int or an int32 pair.
        step: scalar integer.
    """
    count, height, width, _ = tf.unstack(tf.shape(images))
    corner = bits([2, count], key(seed, step, CROP)) % tf.constant(2 * pad + 1, tf.uint32)
    top, left = tf.unstack(tf.cast(corner, tf.int32)[:, :, None])
    padded = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    rows = tf.gather(padded, top + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(rows, left + tf.range(width), axis=2, batch_dims=1)


def augmentation(flips: bool, pad: int) -> Augmentation | None:
    """Returns the function (images, seed, step) → images that a data set's options ask for.

    Args:
        flips: whether to `flip`.
        pad: of `pad_crop`; 0 for none.

    Returns:
        None where nothing is asked for.

    Raises:
        ValueError: for a pad that isn't a number of pixels.
    """
    if isinstance(pad, bool) or not isinstance(pad, int) or pad < 0:
        raise ValueError(f"Expected pad_crop to be a number of pixels. Received: pad_crop={pad!r}.")
    if not flips and not pad:
        return None

    def augment(images: tf.Tensor, seed: Seed, step: Step) -> tf.Tensor:
        shape = images.shape
        if flips:
            images = flip(images, seed, step)
        if pad:
            images = pad_crop(images, pad, seed, step)
        return tf.ensure_shape(images, shape)

    return augment
