"""`Dataset`: what training, evaluation and pictures need to know of data, whatever its source."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.data.dequantization import dequantize
from tf_iresnet.data.shuffle import epoch_indices
from tf_iresnet.data.streams import TEST, VALIDATION

Batches = Callable[[Any], tf.Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Data to train a density on, and what is known about it.

    Args:
        name: of the data, for titles.
        event_shape: of one example.
        train_batches: (batch_size, seed) → a pure function of the step, scalar integer → float32
            [batch_size, *event_shape], to be mapped over `tf.data.Dataset.range(first, last)`: a
            run that resumes at any step goes on with the batches it would have seen. Finite data
            comes in a new order each epoch, without replacement.
        validation: float32 [n, *event_shape].
        test: float32 [m, *event_shape].
        shift: float32 [*event_shape], the mean of the training data.
        scale: float32 [*event_shape], its standard deviation: `(x - shift) / scale` has mean 0
            and variance 1.
        columns: a name for each entry of an event, if they have one.
        ranges: float32 [event_size, 2], low and high end of a picture's axis for each entry.
        levels: number of values that a dequantised entry can have, each in a cell of width 1; None
            for continuous data.
        bin_width: float32 [*event_shape], distance of neighbouring values that dequantisation
            has filled with noise; 0 where values are continuous.
        image_shape: (height, width) of the picture an event is, if it is one.
        log_prob: the true log density, [n, *event_shape] → nats [n], where it is known.
        entropy: () → the true entropy in nats, where it is known; takes seconds.
    """

    name: str
    event_shape: tuple[int, ...]
    train_batches: Callable[[int, int], Batches]
    validation: np.ndarray
    test: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    columns: tuple[str, ...]
    ranges: np.ndarray
    levels: int | None = None
    bin_width: np.ndarray | None = None
    image_shape: tuple[int, int] | None = None
    log_prob: Callable[[Any], tf.Tensor] | None = None
    entropy: Callable[[], float] | None = None

    @property
    def event_size(self) -> int:
        """Entries of one example."""
        return int(np.prod(self.event_shape))

    @property
    def bits_per_dim(self) -> bool:
        """Whether results are to be told in bits per dimension rather than in nats."""
        return self.levels is not None


def shuffled_batches(train: np.ndarray, bin_width: np.ndarray) -> Callable[[int, int], Batches]:
    """Returns the `train_batches` of finite data, dequantised anew each time it is seen.

    Args:
        train: [n, *event_shape], exact in float32.
        bin_width: [*event_shape], as in `Dataset`.
    """

    def train_batches(batch_size: int, seed: int) -> Batches:
        if batch_size < 1:
            raise ValueError(f"Expected batch_size >= 1. Received: batch_size={batch_size}.")
        with tf.device("CPU"):  # where tf.data gathers from it
            rows = tf.constant(train)

        def batch(step: Any) -> tf.Tensor:
            chosen = tf.gather(rows, epoch_indices(step, batch_size, len(train), seed))
            return dequantize(chosen, bin_width, seed, step)

        return batch

    return train_batches


def finite_dataset(
    name: str,
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    bin_width: np.ndarray,
    **known: Any,
) -> Dataset:
    """Returns the data set of rows in memory; validation and test are dequantised once and for all.

    Args:
        name: of the data.
        train: [n, *event_shape], exact in float32; so are the other two.
        validation: [m, *event_shape].
        test: [l, *event_shape].
        bin_width: [*event_shape], as in `Dataset`.
        known: the other fields of `Dataset`.
    """
    bin_width = np.asarray(bin_width, np.float32)
    return Dataset(
        name=name,
        event_shape=train.shape[1:],
        train_batches=shuffled_batches(train, bin_width),
        validation=dequantize(validation, bin_width, VALIDATION, 0).numpy(),
        test=dequantize(test, bin_width, TEST, 0).numpy(),
        bin_width=bin_width,
        **known,
    )
