"""Images as PNG or JPEG files, or records of such, held in memory or read when they are needed."""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tf_iresnet.data.batches import Rows, Stream
from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.errors import DataError
from tf_iresnet.data.images.decoding import KINDS, check, decode, is_plain, make_decoder, remarks
from tf_iresnet.data.images.headers import Header
from tf_iresnet.data.images.image_dataset import image_dataset
from tf_iresnet.data.randomness import epoch_order
from tf_iresnet.data.splits import Split, random_split

MEMORY = 2**29  # bytes of images that are held, and of each part that is held out
SAMPLE = 10_000  # training images that statistics of streamed images are of
_FEWEST, _FEWEST_TRAINING = 10, 6
_CHUNK = 256  # files that are in memory at a time
_THREADS = 8  # that wait for files
_RESTORE = (
    "Restore it, or put another image in its place, and run the same command again: to add or "
    "remove images would change the split."
)
_PARTS = ("training", "validation", "test")


class Encoded(Protocol):
    """Files or records by number."""

    def __len__(self) -> int:
        """Number of images."""

    def name(self, index: int) -> Any:
        """What an image is called in messages."""

    def contents(self, index: int) -> bytes:
        """The bytes of a PNG or JPEG file."""


class Reader:
    """Reads images of one size and kind, several at once.

    Args:
        images: at least one.
        size: pixels a side; no image may be smaller.
        channels: 3 or 1; None for those of the first image, which all have to have.
    """

    def __init__(self, images: Encoded, size: int, channels: int | None):
        self._images, self._size, self._channels = images, size, channels
        self._pool = futures.ThreadPoolExecutor(_THREADS, "images")
        self.shape = decode(images.name(0), images.contents(0), size, channels).image.shape
        self._decode = make_decoder(size, channels, self.shape[-1])

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, list[Header]]:
        """Returns images uint8 [m, size, size, channels] by number, and their headers."""
        images, headers = np.empty((len(rows), *self.shape), np.uint8), list[Header]()
        for start in range(0, len(rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            images[part], found = self._read(rows[part].tolist())
            headers += found
        return images, headers

    def _read(self, numbers: list[int]) -> tuple[np.ndarray, list[Header]]:
        parts = [numbers[k::_THREADS] for k in range(_THREADS)]
        contents = [b""] * len(numbers)
        for k, found in enumerate(self._pool.map(self._contents, parts)):
            contents[k::_THREADS] = found
        headers = [
            check(self._images.name(n), content)
            for n, content in zip(numbers, contents, strict=True)
        ]
        plain = [k for k, header in enumerate(headers) if is_plain(header)]
        images = np.empty((len(numbers), *self.shape), np.uint8)
        try:
            images[plain] = self._decode([contents[k] for k in plain])
        except tf.errors.OpError:  # one by one, which names the image that can't be decoded
            plain = []
        for k in sorted(set(range(len(numbers))) - set(plain)):
            images[k] = self._image(numbers[k], contents[k])
        return images, headers

    def _contents(self, numbers: list[int]) -> list[bytes]:
        return [self._images.contents(number) for number in numbers]

    def _image(self, number: int, contents: bytes) -> np.ndarray:
        """One image. DataError if it is of another kind than the first."""
        name = self._images.name(number)
        image = decode(name, contents, self._size, self._channels).image
        if image.shape != self.shape:
            expected = f"a {KINDS[self.shape[-1]]} image, as {self._images.name(0)} is"
            advice = "Make all of them colour with channels=3 or grey with channels=1."
            raise DataError(name, expected, f"a {KINDS[image.shape[-1]]} one", advice)
        return image


def check_options(size: int, channels: int | None) -> None:
    """Raises a ValueError for a size or number of channels that there can't be."""
    if size < 2:
        raise ValueError(f"Expected size to be at least 2 pixels. Received: size={size}.")
    if channels not in (None, 1, 3):
        expected = "channels to be 1 (grey), 3 (colour) or None (as the images are)"
        raise ValueError(f"Expected {expected}. Received: channels={channels!r}.")


def encoded_dataset(
    path: str | os.PathLike[str],
    name: str,
    images: Encoded,
    size: int,
    channels: int | None,
    fractions: tuple[float, float],
    split_seed: int,
    labels: np.ndarray | None,
    classes: tuple[str, ...],
    flip: bool,
    pad_crop: int,
    stream: bool | None,
    notes: Sequence[str] = (),
) -> Dataset:
    """Returns encoded images as a data set, see `load_image_folder`.

    Batches are the same, bit by bit, whether the images are held in memory or streamed. Streamed,
    an image costs the few bytes of its number, name and label.

    Args:
        path: that errors name.
        fractions: of the images in the validation and the test part.
        labels: int32 [n]; None without `classes`.
        stream: None for what takes more than `MEMORY`.
        notes: sentences about what was found.
    """
    count = len(images)
    rows = random_split(count, *fractions, split_seed, fewest=2)
    if count < _FEWEST or len(rows.train) < _FEWEST_TRAINING or not len(rows.test):
        expected = f"at least {_FEWEST} images, some of them to train on, and some held out"
        advice = "Add images, correct the path, or change the fractions."
        raise DataError(path, expected, f"{count} in all", advice)
    reader = Reader(images, size, channels)
    streamed = count * np.prod(reader.shape) > MEMORY if stream is None else stream
    held, source, found = rows, None, list(notes)
    if streamed:
        most = max(2, MEMORY // (4 * int(np.prod(reader.shape))))  # as float32
        held = Split(rows.train[:SAMPLE], rows.validation[:most], rows.test[:most])
        source = _stream(reader, rows.train, None if labels is None else labels[rows.train])
        found.append(
            f"Training images are read when they are needed; their mean and deviation are those "
            f"of {len(held.train):,}."
        )
        for part, all_rows, used in zip(_PARTS, rows, held, strict=True):
            if part != "training" and len(used) < len(all_rows):
                found.append(f"Of {len(all_rows):,} {part} images {len(used):,} are used.")
    parts, headers = zip(*(reader.read(part) for part in held), strict=True)
    sizes = [len(rows.train), *map(len, held[1:])]
    return image_dataset(
        name,
        Split(*parts),
        256,
        None if labels is None else held.select(labels),
        classes,
        flip,
        pad_crop,
        stream=source,
        notes=(*found, *remarks([header for part in headers for header in part])),
        description=(
            f"{path}: {count:,} images, of which the parts have "
            + ", ".join(f"{n:,} {part}" for n, part in zip(sizes, _PARTS, strict=True)),
        ),
    )


def _stream(reader: Reader, numbers: np.ndarray, labels: np.ndarray | None) -> Stream:
    """The images of these numbers, in the order that they would have in memory."""

    @functools.lru_cache(maxsize=4)
    def order(seed: int) -> Callable[[tf.Tensor], tf.Tensor]:
        # As a graph: hundreds of small operations would take longer than the images.
        signature = [tf.TensorSpec([None], tf.int64)]
        with tf.device("CPU"):
            traced = tf.function(lambda p: epoch_order(p, len(numbers), seed), signature)
            # The one trace itself, since TensorFlow warns of functions that are traced often.
            return traced.get_concrete_function()

    def fetch(positions: np.ndarray, seed: int) -> Rows:
        with tf.device("CPU"):
            rows = order(seed)(tf.constant(positions)).numpy()
        try:
            images, _ = reader.read(numbers[rows])
        except DataError as error:
            raise error.advising(_RESTORE) from error
        return Rows(images, None, None if labels is None else labels[rows])

    like = Rows(np.empty((0, *reader.shape), np.uint8), None, labels)
    return Stream(len(numbers), fetch, like)
