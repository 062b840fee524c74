"""Scikit-learn's digits as images, on the split of the flat ones."""

from tf_iresnet.data import digits
from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.images.grey_levels import image_dataset


def load_digits_image(flip: bool = False, pad_crop: int = 0) -> Dataset:
    """Returns scikit-learn's digits as images [8, 8, 1] of 17 levels, with labels.

    Args:
        flip: whether training images are mirrored at random (no digit is, in a mirror).
        pad_crop: pixels by which training images are shifted at random, 0 for none.

    Raises:
        ImportError: without scikit-learn.
    """
    parts = digits.load_digits()
    shape = (*digits.IMAGE_SHAPE, 1)
    images = {name: part.reshape(-1, *shape) for name, part in parts.items()}
    return image_dataset(
        "digits_image", images, digits.LEVELS, digits.load_labels(), flip, pad_crop
    )
