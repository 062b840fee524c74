"""Images of whole grey levels, uint8 [n, height, width, channels], as a `Dataset`."""

import numpy as np

from tf_iresnet.data.dataset import Dataset, finite_dataset
from tf_iresnet.data.images.augmentation import augmentation
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
) -> Dataset:
    """Returns images as a data set, each level a cell of width 1: values in [0, levels).

    A density's bits per dimension are then those of the levels themselves (Theis et al.,
    arXiv 1511.01844, section 3.1), whatever its preprocessing.

    Args:
        name: title of the data.
        parts: uint8 [n, height, width, channels] each. The training images are kept in that type;
            only batches of them become float32.
        levels: number of values of a pixel.
        labels: class of each image, int32 [n] per part, as an index into `classes`.
        classes: names of the classes.
        flip: mirror training images at random.
        pad_crop: pixels by which training images are shifted at random, 0 for none.
        image_shape: (height, width) of images that are given as vectors [n, height · width].

    Raises:
        ValueError: for a `pad_crop` that isn't a number of pixels.
    """
    shape = parts.train.shape[1:]
    image_shape = shape if image_shape is None else image_shape
    return finite_dataset(
        name,
        parts,
        bin_width=np.ones(shape),
        labels=labels,
        classes=classes,
        augment=augmentation(flip, pad_crop),
        columns=pixel_names(image_shape),
        ranges=np.tile(np.array([0, levels], np.float32), (int(np.prod(shape)), 1)),
        levels=levels,
        image_shape=image_shape,
    )


def pixel_names(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Returns "pixel row,column" or "pixel row,column,channel" for every entry of an image."""
    if shape[-1] == 1:
        shape = shape[:-1]
    return tuple("pixel " + ",".join(map(str, place)) for place in np.ndindex(*shape))
