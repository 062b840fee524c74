"""Training batches as a pure function of the step, from rows in memory or from files."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tf_iresnet.data.dequantization import dequantize
from tf_iresnet.data.randomness import epoch_order

Augment = Callable[[tf.Tensor, Any, Any], tf.Tensor]
WHOLE = (0, 1)


class Rows(NamedTuple):
    """Some examples.

    Attributes:
        points: [m, *event].
        widths: of the noise of their cells, [m, *event]; None where it is the same for all rows.
        beside: labels [m] or conditions [m, size]; None without either.
    """

    points: Any
    widths: Any = None
    beside: Any = None


class Examples(Protocol):
    """Training examples, in an endless sequence of epochs, each a new order of all of them."""

    @property
    def size(self) -> int:
        """Number of examples."""

    def reader(self, seed: int) -> Callable[[tf.Tensor], Rows]:
        """Returns a function of positions in that sequence, int64 [m]."""


@dataclasses.dataclass(frozen=True, eq=False)
class Held:
    """Training examples in memory."""

    rows: Rows

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.rows.points)

    def reader(self, seed: int) -> Callable[[tf.Tensor], Rows]:
        """See `Examples`."""
        with tf.device("CPU"):  # where tf.data gathers from it
            held = [None if array is None else tf.constant(array) for array in self.rows]

        def read(positions: tf.Tensor) -> Rows:
            indices = epoch_order(positions, self.size, seed)
            return Rows(*(None if array is None else tf.gather(array, indices) for array in held))

        return read


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """Training examples that are read when a batch needs them.

    Args:
        size: number of examples.
        fetch: (positions int64 [m], seed) → their rows, as arrays. A pure function, from several
            threads.
        like: any rows of the same types and shapes.
        failures: what `fetch` raised, which TensorFlow turns into an error of its own.
    """

    size: int
    fetch: Callable[[np.ndarray, int], Rows]
    like: Rows
    failures: list[Exception] = dataclasses.field(default_factory=list)

    def reader(self, seed: int) -> Callable[[tf.Tensor], Rows]:
        """See `Examples`."""
        present = [array is not None for array in self.like]
        known = [array for array in self.like if array is not None]

        def fetch(positions: np.ndarray) -> Sequence[np.ndarray]:
            try:
                rows = self.fetch(positions, seed)
            except Exception as error:
                self.failures.append(error)
                raise
            return [np.asarray(array) for array in rows if array is not None]

        def read(positions: tf.Tensor) -> Rows:
            types = [tf.as_dtype(array.dtype) for array in known]
            found = tf.numpy_function(fetch, [positions], types, stateful=False)
            found = found if isinstance(found, list) else [found]  # as it is eagerly
            arrays = iter(
                tf.ensure_shape(array, [*positions.shape, *like.shape[1:]])
                for array, like in zip(found, known, strict=True)
            )
            return Rows(*(next(arrays) if there else None for there in present))

        return read


def make_batches(
    examples: Examples, width: np.ndarray, augment: Augment | None, beside: bool
) -> Callable[..., Callable[[Any], Any]]:
    """Returns the `Dataset.train_batches` of examples; with what stands `beside` them if asked for.

    Args:
        width: of the dequantisation noise [*event], where it is that of all cells.
        augment: (points, seed, step) → points, before dequantisation.
    """

    def batches(batch_size: int, seed: int, pipeline: tuple[int, int] = WHOLE) -> Callable:
        first, last = share(batch_size, pipeline)
        read = examples.reader(seed)

        def batch(step: Any) -> Any:
            start = tf.cast(step, tf.int64) * batch_size
            rows = read(start + tf.range(first, last, dtype=tf.int64))
            x, own = rows.points, width if rows.widths is None else rows.widths
            if last - first < batch_size:  # the noise is that of the whole batch's rows
                x, own = (_in_place(part, len(x.shape), first, batch_size) for part in (x, own))
            x = dequantize(x if augment is None else augment(x, seed, step), own, seed, step)
            return (x[first:last], rows.beside) if beside else x[first:last]

        return batch

    return batches


def share(batch_size: int, pipeline: tuple[int, int]) -> tuple[int, int]:
    """Returns the first row, and the one after the last, of a pipeline's part of each batch.

    Args:
        pipeline: its number from 0 on, and how many there are, as `tf.distribute.InputContext` has
            them.

    Raises:
        ValueError: for a batch that can't be divided equally.
    """
    index, count = pipeline
    if batch_size < 1:
        raise ValueError(f"Expected batch_size >= 1. Received: batch_size={batch_size}.")
    if not 0 <= index < count or batch_size % count:
        expected = "Expected a pipeline (index, count), and batch_size a multiple of count."
        raise ValueError(f"{expected} Received: pipeline={pipeline}, batch_size={batch_size}.")
    return index * batch_size // count, (index + 1) * batch_size // count


def _in_place(part: Any, rank: int, first: int, batch_size: int) -> Any:
    """Rows as those of a whole batch, from row `first` on, whose others are 0."""
    if len(part.shape) < rank:
        return part  # the same for all rows
    after = batch_size - first - part.shape[0]
    return tf.pad(part, [[first, after], *[[0, 0]] * (rank - 1)])
