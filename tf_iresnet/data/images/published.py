"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 from the cache of Keras, or downloaded by it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tf_iresnet.data.dataset import Dataset, Labels
from tf_iresnet.data.images.grey_levels import image_dataset
from tf_iresnet.data.images.keras_cache import CIFAR10, CIFAR100, FASHION_MNIST, MNIST, Source, load

_SPLIT_SEED = 0


def load_mnist(
    padded: bool = False,
    validation_size: int = 5000,
    test_size: int | None = None,
    flip: bool = False,
    pad_crop: int = 0,
) -> Dataset:
    """Returns MNIST: handwritten digits [28, 28, 1] of 256 levels, with labels.

    Args:
        padded: images [32, 32, 3] instead, as in the i-ResNet paper (arXiv 1811.00995): a frame of
            two black pixels, the grey level in three channels. Bits per dimension are then those
            of 3,072 dimensions, most of them easy, and the data set's name says so.
        validation_size: how many of the published training images are kept from training, a
            random choice that is the same for everyone.
        test_size: how many of the published test images are used, chosen likewise; all if None.
        flip: whether training images are mirrored at random.
        pad_crop: pixels by which training images are shifted at random, 0 for none.

    Raises:
        DataError: where there is no copy and none can be downloaded, saying which file goes where.
        ValueError: for a size out of range.
    """
    return _dataset(MNIST, validation_size, test_size, flip, pad_crop, padded)


def load_fashion_mnist(
    padded: bool = False,
    validation_size: int = 5000,
    test_size: int | None = None,
    flip: bool = False,
    pad_crop: int = 0,
) -> Dataset:
    """Returns Fashion-MNIST: pieces of clothing [28, 28, 1] of 256 levels, with labels.

    Args:
        padded, validation_size, test_size, flip, pad_crop: as of `load_mnist`.

    Raises:
        DataError, ValueError: as `load_mnist`.
    """
    return _dataset(FASHION_MNIST, validation_size, test_size, flip, pad_crop, padded)


def load_cifar10(
    validation_size: int = 5000,
    test_size: int | None = None,
    flip: bool = False,
    pad_crop: int = 0,
) -> Dataset:
    """Returns CIFAR-10: photographs [32, 32, 3] of 256 levels, with labels.

    Args:
        validation_size, test_size, flip, pad_crop: as of `load_mnist`.

    Raises:
        DataError, ValueError: as `load_mnist`.
    """
    return _dataset(CIFAR10, validation_size, test_size, flip, pad_crop)


def load_cifar100(
    validation_size: int = 5000,
    test_size: int | None = None,
    flip: bool = False,
    pad_crop: int = 0,
) -> Dataset:
    """Returns CIFAR-100: photographs [32, 32, 3] of 256 levels, with the 100 fine labels.

    Args:
        validation_size, test_size, flip, pad_crop: as of `load_mnist`.

    Raises:
        DataError, ValueError: as `load_mnist`.
    """
    return _dataset(CIFAR100, validation_size, test_size, flip, pad_crop)


def _dataset(
    source: Source,
    validation_size: int,
    test_size: int | None,
    flip: bool,
    pad_crop: int,
    padded: bool = False,
) -> Dataset:
    (images, targets), (test_images, test_targets) = load(source)
    validation, train = choose("validation_size", validation_size, len(images), len(images) - 1)
    test = np.arange(len(test_images))
    if test_size is not None:
        test, _ = choose("test_size", test_size, len(test_images), len(test_images))
    form: Callable[[Any], np.ndarray] = _padded if padded else np.asarray
    parts = {
        "train": form(images[train]),
        "validation": form(images[validation]),
        "test": form(test_images[test]),
    }
    labels = Labels(targets[train], targets[validation], test_targets[test], source.classes)
    name = f"{source.name} padded to 32x32x3" if padded else source.name
    return image_dataset(name, parts, labels=labels, flip=flip, pad_crop=pad_crop)


def choose(option: str, size: int, rows: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns which rows are chosen at random and which are left, both in their order.

    At random, because the published order isn't: the first half of MNIST's test images is the
    easier one. A smaller choice is part of a larger one.

    Args:
        option: what the user calls `size`.
        size: rows to choose.
        rows: in all.
        most: largest size allowed.

    Raises:
        ValueError: for a size below 2, which has no standard error, or above `most`.
    """
    if not 2 <= size <= most:
        raise ValueError(f"Expected {option} to be 2 to {most} images. Received: {option}={size}.")
    order = np.random.RandomState(_SPLIT_SEED).permutation(rows)
    return np.sort(order[:size]), np.sort(order[size:])


def _padded(images: np.ndarray) -> np.ndarray:
    """Images [n, 28, 28, 1] as [n, 32, 32, 3]."""
    framed = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)])
    return np.repeat(framed, 3, axis=-1)
