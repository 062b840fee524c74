"""Random flips and crops of training images, each a pure function of (seed, step).

Unlike `tf.image.stateless_random_flip_left_right` they give the same bits under XLA, and unlike
`tf.image.stateless_random_crop` each image of a batch is cropped at its own place.
"""

import tensorflow as tf

from tf_iresnet.data.dataset import Augment
from tf_iresnet.data.randomness import CROP, FLIP, Seed, Step, bits, stream_seed


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
    """Returns (images, seed, step) → images, which flips, or crops by `pad` > 0; None for neither.

    Raises:
        ValueError: for a pad that isn't a number of pixels.
    """
    if isinstance(pad, bool) or not isinstance(pad, int) or pad < 0:
        raise ValueError(f"Expected pad_crop to be a number of pixels. Received: pad_crop={pad!r}.")
    if not flips and not pad:
        return None

    def augment(images: tf.Tensor, seed: Seed, step: Step) -> tf.Tensor:
        flipped = flip(images, seed, step) if flips else images
        moved = pad_crop(flipped, pad, seed, step) if pad else flipped
        return tf.ensure_shape(moved, images.shape)

    return augment
