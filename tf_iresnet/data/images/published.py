"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 from the cache of Keras, or downloaded by it."""

import functools
import os
import pathlib

import numpy as np

from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.errors import DataError
from tf_iresnet.data.images.arrays import read_image_arrays
from tf_iresnet.data.images.image_dataset import frame_in_colour, image_dataset
from tf_iresnet.data.splits import Split, random_parts

_TENSORFLOW = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
_FASHION_CLASSES = "T-shirt/top,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"
_FASHION_FILES = "train-labels-idx1 train-images-idx3 t10k-labels-idx1 t10k-images-idx3"

CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": tuple(_FASHION_CLASSES.split(",")),
    "cifar10": tuple(_CIFAR10_CLASSES.split()),
    "cifar100": tuple(_CIFAR100_CLASSES.split()),
}
# Path below `datasets` in Keras' directory → address of publication. Keras keeps an archive there
# under a name of its own, without an ending.
FILES = {
    "mnist": {"mnist.npz": f"{_TENSORFLOW}mnist.npz"},
    "fashion_mnist": {
        f"fashion-mnist/{file}-ubyte.gz": f"{_TENSORFLOW}{file}-ubyte.gz"
        for file in _FASHION_FILES.split()
    },
    "cifar10": {"cifar-10-batches-py-target_archive": f"{_CIFAR}cifar-10-python.tar.gz"},
    "cifar100": {"cifar-100-python-target_archive": f"{_CIFAR}cifar-100-python.tar.gz"},
}


def load_published(
    name: str,
    padded: bool = False,
    validation_size: int = 5000,
    test_size: int | None = None,
    flip: bool = False,
    pad_crop: int = 0,
    path: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Returns a published set of images of 256 levels, with labels.

    Args:
        name: "mnist" or "fashion_mnist", [28, 28, 1]; "cifar10" or "cifar100" with the 100 fine
            labels, [32, 32, 3].
        padded: as in the i-ResNet paper (arXiv 1811.00995), MNIST and Fashion-MNIST become images
            [32, 32, 3] by a frame of two black pixels, with the grey level in three channels. Bits
            per dimension are then those of 3,072 dimensions, most of them easy to predict, and the
            data set's name says so.
        validation_size, test_size: numbers of training images held out and of test images used (all
            if None), which are chosen at random, the same ones for everyone.
        flip, pad_crop: see `image_dataset`.
        path: a copy of your own, an .npz file of arrays x_train, y_train, x_test and y_test or a
            folder of idx files, see `arrays.read_image_arrays`; the cache of Keras if None.
    """
    parts_of = _load_arrays(name) if path is None else _own_arrays(name, pathlib.Path(path))
    (images, labels), (test_images, test_labels) = parts_of
    validation, train = choose("validation_size", validation_size, len(images), len(images) - 1)
    test_size = len(test_images) if test_size is None else test_size
    test, _ = choose("test_size", test_size, len(test_images), len(test_images))
    parts = Split(images[train], images[validation], test_images[test])
    chosen, title = Split(labels[train], labels[validation], test_labels[test]), name
    if padded:
        parts = frame_in_colour(path, parts)
        title += " padded to 32x32x3"
    return image_dataset(title, parts, 256, chosen, CLASSES[name], flip, pad_crop)


load_mnist = functools.partial(load_published, "mnist")
load_fashion_mnist = functools.partial(load_published, "fashion_mnist")
# `padded` isn't an option of colour images.
load_cifar10 = functools.partial(load_published, "cifar10", False)
load_cifar100 = functools.partial(load_published, "cifar100", False)


def choose(option: str, size: int, rows: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers of `size` of `rows` rows, chosen at random, and of the others, ascending.

    At random, because the first half of MNIST's test images is easier than the second. A smaller
    choice is part of a larger one. The error names the `option` that gives the size.
    """
    if not 2 <= size <= most:  # one image has no standard error
        raise ValueError(f"Expected {option} to be 2 to {most} images. Received: {option}={size}.")
    chosen, others = random_parts(rows, [size])
    return np.sort(chosen), np.sort(others)


def _own_arrays(name: str, path: pathlib.Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same as `_load_arrays` from a user's file or folder."""
    arrays = read_image_arrays(path)
    shape, classes = _shape(name), len(CLASSES[name])
    expected = f"training and test images {shape} of {name} with labels 0 to {classes - 1}"
    advice = "Choose the right file, or train on it with --config.data.name=image_arrays."
    received = " and ".join(f"{part} images {x.shape[1:]}" for part, x in arrays.images.items())
    if arrays.images.keys() != {"training", "test"} or not arrays.labels:
        received += "" if arrays.labels else " without labels"
        raise DataError(path, expected, received, advice)
    parts = []
    for part in ("training", "test"):
        images, labels = arrays.images[part], arrays.labels[part]
        if images.shape[1:] != shape:
            raise DataError(path, expected, received, advice)
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
            wrong = f"{labels.dtype} from {labels.min()} to {labels.max()}"
            raise DataError(path, expected, f"labels {wrong}", advice)
        parts.append((images, labels.astype(np.int32)))
    return parts


def _shape(name: str) -> tuple[int, int, int]:
    return (28, 28, 1) if "mnist" in name else (32, 32, 3)


def _load_arrays(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images uint8 [n, height, width, channels] and labels int32 [n], of training and test."""
    import keras

    home = pathlib.Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    if not os.access(home, os.W_OK):
        home = pathlib.Path("/tmp/.keras")  # Keras does the same
    urls = {str(home / "datasets" / file): url for file, url in FILES[name].items()}
    present = [path for path in urls if os.path.exists(path)]
    try:
        loaded = getattr(keras.datasets, name).load_data()
    except Exception as error:  # a failed download raises the base class itself
        raise _no_copy(name, urls, present, error) from error
    shape = _shape(name)
    parts = []
    for images, labels in loaded:
        if shape[-1] == 1:
            images = images[..., None]
        elif keras.config.image_data_format() == "channels_first":  # a setting in keras.json
            images = np.moveaxis(images, 1, -1)
        if images.shape[1:] != shape or images.dtype != np.uint8 or not len(images):
            expected = f"{name} to be uint8 images of shape {shape}"
            received = f"{images.dtype} of shape {images.shape}"
            raise DataError(None, expected, received, f"Remove {', '.join(urls)} and try again.")
        parts.append((images, labels.reshape(-1).astype(np.int32)))
    return parts


def _no_copy(name: str, urls: dict[str, str], present: list[str], error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if present:
        # Keras takes a file whose checksum differs for a broken one, and fetches it anew.
        gone = [path for path in present if not os.path.exists(path)]
        was = f"removed {', '.join(gone)}" if gone else f"found {', '.join(present)}"
        reason += f" (Keras {was}: it uses only the files as they were published)"
    (path, url), *others = urls.items()
    advice = f"download {url} and save it as {path}"
    if others:
        source, names = os.path.dirname(url), ", ".join(map(os.path.basename, urls))
        advice = f"download {names} from {source} and save them in {os.path.dirname(path)}"
    expected = f"{name} in the cache of Keras, or a network to download it from"
    hint = "(KERAS_HOME, set before Python starts, names another place for the cache.)"
    advice = f"On a machine with a network {advice}. {hint}"
    advice += " Or name your own copy by --config.data.path=…."
    return DataError(None, expected, reason.rstrip("."), advice)
