"""PNG and JPEG files as images of a given size, and what is refused."""

import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_iresnet.data.errors import DataError, plain_text
from tf_iresnet.data.images.headers import JPEG, PNG, Header, read_header

CONVERT = "Convert it, or move it elsewhere."
KINDS = {1: "grey", 2: "grey with transparency", 3: "colour", 4: "colour with transparency"}
# By which an image is turned upright, for each EXIF orientation: whether its axes are swapped, and
# which of them are then reversed.
_UPRIGHT: dict[int, tuple[bool, tuple[int, ...]]] = {
    1: (False, ()), 2: (False, (1,)), 3: (False, (0, 1)), 4: (False, (0,)),
    5: (True, ()), 6: (True, (1,)), 7: (True, (0, 1)), 8: (True, (0,)),
}  # fmt: skip

Name = str | os.PathLike[str]


class Decoded(NamedTuple):
    """An image uint8 [size, size, channels], and the header of its file."""

    image: np.ndarray
    header: Header


def check(name: Name, contents: bytes) -> Header:
    """Returns the header of a PNG or JPEG file.

    Raises:
        DataError: beginning with the name, for anything but a still image in grey or RGB.
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
    return header


def decode(name: Name, contents: bytes, size: int, channels: int | None) -> Decoded:
    """Returns the central square of an image, averaged down to the size.

    It is turned upright by its EXIF orientation; 16 bits a channel are rounded to 8 after the
    averaging. An image that has the size already keeps its pixels.

    Args:
        name: of the file, which errors begin with.
        channels: 1 or 3; None for what the file has.

    Raises:
        DataError: for what isn't a still image of that size in grey or RGB.
    """
    header = check(name, contents)
    levels = _decode(name, contents, channels, deep=header.bits == 16)
    swapped, reverse = _UPRIGHT[header.orientation]
    upright = np.flip(np.swapaxes(levels, 0, 1) if swapped else levels, reverse)
    height, width, found = upright.shape
    if found not in (1, 3):
        advice = "Leave the transparency out with channels=3 or channels=1."
        raise DataError(name, "an image of 1 or 3 channels", KINDS[found], advice)
    if (side := min(height, width)) < size:
        advice = "Choose a smaller size, or move it elsewhere: pixels made up would be learnt, too."
        raise DataError(name, f"at least {size}x{size} pixels", f"{width}x{height}", advice)
    top, left = (height - side) // 2, (width - side) // 2
    with tf.device("CPU"):
        square = upright[top : top + side, left : left + side]
        return Decoded(_average(square, size).numpy(), header)


def is_plain(header: Header) -> bool:
    """Whether the function of `make_decoder` decodes an image as `decode` does."""
    return header.bits <= 8 and header.orientation == 1


@functools.lru_cache(maxsize=16)
def make_decoder(
    size: int, channels: int | None, found: int
) -> Callable[[list[bytes]], np.ndarray]:
    """Returns a function of plain files [m] → uint8 [m, size, size, found], by several threads.

    It gives what `decode` does, in a tenth of the time for small images; where that raises an
    error, or gives another number of channels than `found`, it raises one of TensorFlow's. It is
    traced once for the same arguments.
    """

    def decode_one(contents: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(contents, channels or 0, expand_animations=False)
        image = tf.ensure_shape(image, [None, None, found])
        height, width = tf.unstack(tf.shape(image)[:2])
        side = tf.minimum(height, width)
        with tf.control_dependencies([tf.debugging.Assert(side >= size, [side])]):
            top, left = (height - side) // 2, (width - side) // 2
        return _average(image[top : top + side, left : left + side], size)

    def decode_all(contents: tf.Tensor) -> tf.Tensor:
        spec = tf.TensorSpec([size, size, found], tf.uint8)
        return tf.map_fn(decode_one, contents, parallel_iterations=32, fn_output_signature=spec)

    with tf.device("CPU"):
        traced = tf.function(decode_all, [tf.TensorSpec([None], tf.string)], autograph=False)
        # The one trace itself, since TensorFlow warns of functions that are traced often.
        decode_in_graph = traced.get_concrete_function()

    def run(contents: list[bytes]) -> np.ndarray:
        with tf.device("CPU"):
            return decode_in_graph(tf.constant(contents, tf.string)).numpy()

    return run


def _decode(name: Name, contents: bytes, channels: int | None, deep: bool) -> np.ndarray:
    """Levels 0 to 255, uint8 or, of 16 bits, float32 [height, width, channels]."""
    try:
        with tf.device("CPU"):
            if deep:
                levels = tf.io.decode_png(contents, channels or 0, tf.uint16)
                return levels.numpy() / np.float32(257)
            return tf.io.decode_image(contents, channels or 0, expand_animations=False).numpy()
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        received = f"one that can't be read ({plain_text(error).rstrip('.')})"
        advice = "Save it again, or move it elsewhere."
        raise DataError(name, "a whole PNG or JPEG image", received, advice) from error


def _average(square: tf.Tensor, size: int) -> tf.Tensor:
    """An image [side, side, channels] averaged down to the size, uint8; exact if it has it."""
    smaller = tf.image.resize(square, [size, size], method="area")
    return tf.cast(tf.round(smaller), tf.uint8)


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
