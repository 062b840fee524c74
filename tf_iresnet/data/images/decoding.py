"""A PNG or JPEG file as an image of a given size, and what is refused."""

import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_iresnet.data.errors import DataError
from tf_iresnet.data.images.headers import JPEG, PNG, Header, read_header

CONVERT = "Convert it, or move it elsewhere."
KINDS = {1: "grey", 2: "grey with transparency", 3: "colour", 4: "colour with transparency"}
# By which an image is turned upright, for each EXIF orientation: whether its axes are swapped, and
# which of them are then reversed.
_UPRIGHT: dict[int, tuple[bool, tuple[int, ...]]] = {
    1: (False, ()), 2: (False, (1,)), 3: (False, (0, 1)), 4: (False, (0,)),
    5: (True, ()), 6: (True, (1,)), 7: (True, (0, 1)), 8: (True, (0,)),
}  # fmt: skip


class Decoded(NamedTuple):
    """An image uint8 [size, size, channels], and the header of its file."""

    image: np.ndarray
    header: Header


def decode(
    name: str | os.PathLike[str], contents: bytes, size: int, channels: int | None
) -> Decoded:
    """Returns the central square of an image, averaged down to the size.

    It is turned upright by its EXIF orientation; 16 bits a channel are rounded to 8 after the
    averaging. An image that has the size already keeps its pixels.

    Args:
        name: of the file, which errors begin with.
        channels: 1 or 3; None for what the file has.

    Raises:
        DataError: for what isn't a still image of that size in grey or RGB.
    """
    if not contents.startswith((PNG, JPEG)):
        found = "another kind of file" if contents else "an empty file"
        raise DataError(name, "a PNG or JPEG image", found, CONVERT)
    header = read_header(contents)
    if header.frames > 1:
        received = f"an animation of {header.frames}"
        raise DataError(name, "one image in a file", received, "Save one of them, or move it.")
    if header.components == 4:
        advice = "Convert it to RGB, which needs its colour profile, or move it elsewhere."
        raise DataError(name, "a grey or RGB image", "CMYK", advice)
    levels = _decode(name, contents, channels, deep=header.bits == 16)
    if levels.shape[-1] not in (1, 3):
        advice = "Leave the transparency out with channels=3 or channels=1."
        raise DataError(name, "an image of 1 or 3 channels", KINDS[levels.shape[-1]], advice)
    swapped, reverse = _UPRIGHT[header.orientation]
    if swapped:
        levels = np.swapaxes(levels, 0, 1)
    return Decoded(_square(name, np.flip(levels, reverse), size), header)


def _decode(
    name: str | os.PathLike[str], contents: bytes, channels: int | None, deep: bool
) -> np.ndarray:
    """Levels 0 to 255, uint8 or, of 16 bits, float32 [height, width, channels]."""
    try:
        with tf.device("CPU"):
            if deep:
                levels = tf.io.decode_png(contents, channels or 0, tf.uint16)
                return levels.numpy() / np.float32(257)
            return tf.io.decode_image(contents, channels or 0, expand_animations=False).numpy()
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        reason = " ".join(error.message.split()).partition(" [Op:")[0]
        received = f"one that can't be read ({reason})"
        advice = "Save it again, or move it elsewhere."
        raise DataError(name, "a whole PNG or JPEG image", received, advice) from error


def _square(name: str | os.PathLike[str], image: np.ndarray, size: int) -> np.ndarray:
    """The central square, averaged down to the size, uint8."""
    height, width, _ = image.shape
    side = min(height, width)
    if side < size:
        advice = "Choose a smaller size, or move it elsewhere: pixels made up would be learnt, too."
        raise DataError(name, f"at least {size}x{size} pixels", f"{width}x{height}", advice)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    if side > size:
        with tf.device("CPU"):
            square = tf.image.resize(square, [size, size], method="area").numpy()
    return np.rint(square).astype(np.uint8)


def remarks(headers: list[Header]) -> list[str]:
    """Returns what was done to images of these headers, a sentence each."""
    deep = sum(header.bits == 16 for header in headers)
    turned = sum(header.orientation > 1 for header in headers)
    found = []
    if deep:
        found.append(f"16 bits a channel are rounded to 8 in {deep:,} of the images.")
    if turned:
        found.append(f"{turned:,} of the images are turned upright, as their EXIF data say.")
    return found
