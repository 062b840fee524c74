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
LabelledBatches = Callable[[Any], tuple[tf.Tensor, tf.Tensor]]
Augment = Callable[[tf.Tensor, Any, Any], tf.Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """What each example of a data set shows, as an index into `classes`.

    Args:
        train: int32 [n].
        validation: int32 [m].
        test: int32 [l].
        classes: their names.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    classes: tuple[str, ...]


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
        image_shape: (height, width) or (height, width, channels) of the picture an event is, if
            it is one.
        log_prob: the true log density, [n, *event_shape] → nats [n], where it is known.
        entropy: () → the true entropy in nats, where it is known; takes seconds.
        labels: of training, validation and test examples, where they are known.
        labelled_batches: (batch_size, seed) → a pure function of the step → the batch that
            `train_batches` gives, and its labels, int32 [batch_size]; where they are known.
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
    image_shape: tuple[int, ...] | None = None
    log_prob: Callable[[Any], tf.Tensor] | None = None
    entropy: Callable[[], float] | None = None
    labels: Labels | None = None
    labelled_batches: Callable[[int, int], LabelledBatches] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of what labels stand for; empty where there are no labels."""
        return self.labels.classes if self.labels is not None else ()

    @property
    def event_size(self) -> int:
        """Entries of one example."""
        return int(np.prod(self.event_shape))

    @property
    def bits_per_dim(self) -> bool:
        """Whether results are to be told in bits per dimension rather than in nats."""
        return self.levels is not None


def indexed_batches(
    train: np.ndarray, bin_width: np.ndarray, augment: Augment | None = None
) -> Callable[[int, int], LabelledBatches]:
    """Returns batches of finite data, dequantised anew each time it is seen.

    Args:
        train: [n, *event_shape], exact in float32; kept in its own type.
        bin_width: [*event_shape], as in `Dataset`.
        augment: (rows, seed, step) → rows, applied before dequantisation.

    Returns:
        (batch_size, seed) → a pure function of the step → float32 [batch_size, *event_shape] and
        which rows those are, int32 [batch_size].
    """

    def batches(batch_size: int, seed: int) -> LabelledBatches:
        if batch_size < 1:
            raise ValueError(f"Expected batch_size >= 1. Received: batch_size={batch_size}.")
        with tf.device("CPU"):  # where tf.data gathers from it
            rows = tf.constant(train)

        def batch(step: Any) -> tuple[tf.Tensor, tf.Tensor]:
            indices = epoch_indices(step, batch_size, len(train), seed)
            chosen = tf.gather(rows, indices)
            if augment is not None:
                chosen = augment(chosen, seed, step)
            return dequantize(chosen, bin_width, seed, step), indices

        return batch

    return batches


def finite_dataset(
    name: str,
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    bin_width: np.ndarray,
    labels: Labels | None = None,
    augment: Augment | None = None,
    **known: Any,
) -> Dataset:
    """Returns the data set of rows in memory; validation and test are dequantised once and for all.

    Args:
        name: of the data.
        train: [n, *event_shape], exact in float32; so are the other two.
        validation: [m, *event_shape].
        test: [l, *event_shape].
        bin_width: [*event_shape], as in `Dataset`.
        labels: of the rows.
        augment: what happens to training rows before dequantisation: (rows, seed, step) → rows.
        known: the other fields of `Dataset`.
    """
    bin_width = np.asarray(bin_width, np.float32)
    indexed = indexed_batches(train, bin_width, augment)

    def train_batches(batch_size: int, seed: int) -> Batches:
        batch = indexed(batch_size, seed)
        return lambda step: batch(step)[0]

    return Dataset(
        name=name,
        event_shape=train.shape[1:],
        train_batches=train_batches,
        validation=dequantize(validation, bin_width, VALIDATION, 0).numpy(),
        test=dequantize(test, bin_width, TEST, 0).numpy(),
        bin_width=bin_width,
        labels=labels,
        labelled_batches=None if labels is None else _labelled(indexed, labels.train),
        **known,
    )


def _labelled(
    indexed: Callable[[int, int], LabelledBatches], labels: np.ndarray
) -> Callable[[int, int], LabelledBatches]:
    """The batches of `indexed_batches`, with the labels [n] of their rows in the rows' place."""

    def labelled_batches(batch_size: int, seed: int) -> LabelledBatches:
        batch = indexed(batch_size, seed)
        with tf.device("CPU"):
            targets = tf.constant(labels, tf.int32)

        def labelled(step: Any) -> tuple[tf.Tensor, tf.Tensor]:
            x, indices = batch(step)
            return x, tf.gather(targets, indices)

        return labelled

    return labelled_batches
