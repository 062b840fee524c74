"""Scikit-learn's handwritten digits: 1,797 images of 8×8 pixels with 17 levels, 0 to 16.

Real data that comes with a package and is small enough to learn in minutes. Without scikit-learn
every function raises an ImportError.
"""

import numpy as np

from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.errors import optional_import
from tf_iresnet.data.images.image_dataset import image_dataset
from tf_iresnet.data.splits import Split, random_parts

LEVELS = 17
IMAGE_SHAPE = (8, 8)
CLASSES = tuple("0123456789")
SIZES = {"train": 1257, "validation": 180, "test": 360}


def load_levels() -> Split:
    """Returns the levels of the pixels, uint8 [n, 64] per part; the split is always the same."""
    return _load("data", np.uint8)


def load_labels() -> Split:
    """Returns which digit each image of `load_levels` shows, int32 [n] per part."""
    return _load("target", np.int32)


def load_digits() -> Dataset:
    """Returns the digits as vectors, dequantised to [0, 17)⁶⁴, with labels."""
    return image_dataset(
        "digits", load_levels(), LEVELS, load_labels(), CLASSES, image_shape=IMAGE_SHAPE
    )


def load_digits_image(flip: bool = False, pad_crop: int = 0) -> Dataset:
    """Returns the digits as images [8, 8, 1] of 17 levels, with labels, split as `load_digits`.

    Args:
        flip: mirror training images at random (no digit is one in a mirror).
        pad_crop: pixels by which training images are shifted at random, 0 for none.
    """
    images = load_levels().map(lambda x: x.reshape(-1, *IMAGE_SHAPE, 1))
    return image_dataset("digits_image", images, LEVELS, load_labels(), CLASSES, flip, pad_crop)


def _load(field: str, dtype: type) -> Split:
    with optional_import("scikit-learn", "the digits come with"):
        import sklearn.datasets
    rows = sklearn.datasets.load_digits()[field].astype(dtype)
    train, validation, _ = SIZES.values()
    return Split(*random_parts(len(rows), [train, validation])).select(rows)
