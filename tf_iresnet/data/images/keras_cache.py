"""The arrays behind `keras.datasets`, and what to do where Keras has no copy and no network."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from tf_iresnet.data.errors import DataError

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

Part = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set of `keras.datasets`.

    Args:
        name: of its module.
        shape: (height, width, channels) of an image.
        classes: names of its labels.
        files: path below `datasets` in the directory of Keras → where it is published. An archive
            is kept there under a name of Keras' own, without an ending.
    """

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    files: dict[str, str]


MNIST = Source("mnist", (28, 28, 1), tuple("0123456789"), {"mnist.npz": f"{_TENSORFLOW}mnist.npz"})
FASHION_MNIST = Source(
    "fashion_mnist",
    (28, 28, 1),
    (
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    {
        f"fashion-mnist/{part}-ubyte.gz": f"{_TENSORFLOW}{part}-ubyte.gz"
        for part in (
            "train-labels-idx1",
            "train-images-idx3",
            "t10k-labels-idx1",
            "t10k-images-idx3",
        )
    },
)
CIFAR10 = Source(
    "cifar10",
    (32, 32, 3),
    tuple(_CIFAR10_CLASSES.split()),
    {"cifar-10-batches-py-target_archive": f"{_CIFAR}cifar-10-python.tar.gz"},
)
CIFAR100 = Source(
    "cifar100",
    (32, 32, 3),
    tuple(_CIFAR100_CLASSES.split()),
    {"cifar-100-python-target_archive": f"{_CIFAR}cifar-100-python.tar.gz"},
)


def load(source: Source) -> tuple[Part, Part]:
    """Returns images, uint8 [n, height, width, channels], and labels, int32 [n], of both parts.

    Raises:
        DataError: where Keras has no copy and can't download one, or the copy can't be read.
    """
    import keras

    folder = directory()
    there = [name for name in source.files if (folder / name).exists()]
    try:
        parts = getattr(keras.datasets, source.name).load_data()
    except Exception as error:  # a failed download raises the base class itself
        raise _missing(source, folder, there, error) from error
    train, test = (_images(source, *part) for part in parts)
    return train, test


def directory() -> pathlib.Path:
    """Returns where Keras keeps its data sets: in KERAS_HOME, or ~/.keras."""
    home = pathlib.Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    if not os.access(home, os.W_OK):
        home = pathlib.Path("/tmp/.keras")  # so does Keras
    return home / "datasets"


def _images(source: Source, images: np.ndarray, labels: np.ndarray) -> Part:
    import keras

    if source.shape[-1] == 1:
        images = images[..., None]
    elif keras.config.image_data_format() == "channels_first":  # a setting in keras.json
        images = np.moveaxis(images, 1, -1)
    if images.shape[1:] != source.shape or images.dtype != np.uint8 or not len(images):
        raise DataError(
            f"Expected {source.name} to be uint8 images of shape {source.shape}. "
            f"Received: {images.dtype} of shape {images.shape}. "
            f"Remove {_names(directory(), source.files)} and try again."
        )
    return images, np.asarray(labels).reshape(-1).astype(np.int32)


def _missing(source: Source, folder: pathlib.Path, there: list[str], error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    (name, address), *others = source.files.items()
    advice = f"download {address} and save it as {folder / name}"
    if others:
        names = ", ".join(url.rpartition("/")[2] for url in source.files.values())
        place = (folder / name).parent
        advice = f"download {names} from {address.rpartition('/')[0]} and save them in {place}"
    if there:
        # Keras takes a file whose checksum differs for a broken one, and fetches it anew.
        gone = [name for name in there if not (folder / name).exists()]
        was = f"removed {_names(folder, gone)}" if gone else f"found {_names(folder, there)}"
        reason = f"{reason} (Keras {was}: it uses only the files as they were published)"
    return DataError(
        f"Expected {source.name} in the cache of Keras, or a network to download it from. "
        f"Received: {reason.rstrip('.')}. On a machine with a network {advice}. "
        "(KERAS_HOME, set before Python starts, names another place for the cache.)"
    )


def _names(folder: pathlib.Path, files: Any) -> str:
    return ", ".join(str(folder / name) for name in files)
