"""Scikit-learn's handwritten digits: 1,797 images of 8×8 pixels with 17 levels, 0 to 16.

Real data, small enough to learn in minutes.
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
    return _load()[0]


def load_digits() -> Dataset:
    """Returns the digits as vectors, dequantised to [0, 17)⁶⁴, with labels."""
    levels, labels = _load()
    return image_dataset("digits", levels, LEVELS, labels, CLASSES, image_shape=IMAGE_SHAPE)


def load_digits_image(flip: bool = False, pad_crop: int = 0) -> Dataset:
    """Returns the digits as images [8, 8, 1] of 17 levels, with labels, split as `load_digits`.

    For `flip` and `pad_crop` see `image_dataset`; but a mirrored digit is no digit.
    """
    levels, labels = _load()
    images = levels.map(lambda x: x.reshape(-1, *IMAGE_SHAPE, 1))
    return image_dataset("digits_image", images, LEVELS, labels, CLASSES, flip, pad_crop)


def _load() -> tuple[Split, Split]:
    """The levels of the pixels, uint8 [n, 64] per part, and the digits, int32 [n] per part."""
    with optional_import("scikit-learn", "the digits come with"):
        import sklearn.datasets
    levels, labels = sklearn.datasets.load_digits(return_X_y=True)
    train, validation, _ = SIZES.values()
    rows = Split(*random_parts(len(labels), [train, validation]))
    return rows.select(levels.astype(np.uint8)), rows.select(labels.astype(np.int32))
