"""`Dataset`: batches, held-out data, scale and labels, the same for data of every source."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.data.batches import Augment, Examples, Held, Rows, Stream, make_batches
from tf_iresnet.data.columns import ColumnForm
from tf_iresnet.data.conditions import ConditionColumn
from tf_iresnet.data.dequantization import dequantize_rows
from tf_iresnet.data.randomness import STATISTICS, TEST, VALIDATION
from tf_iresnet.data.splits import Split

Batches = Callable[..., Callable[[Any], Any]]

_CHUNK = 1000  # rows


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Data to train a density on, and what is known about it.

    Args:
        train_batches: (batch_size, seed) → a pure function of the step, scalar integer → float32
            [batch_size, *event_shape], to be mapped over `tf.data.Dataset.range(first, last)`: a
            run resumed at any step sees the batches it would have seen. Each epoch of finite data
            is a new order of its rows. With a third argument, `pipeline` = (index, count), those
            rows of each batch that one of several input pipelines gives.
        validation, test: held-out examples, float32 [n, *event_shape].
        shift, scale: mean and standard deviation of the training data, float32 [*event_shape].
        columns: a name for each entry of an event.
        ranges: float32 [event_size, 2], low and high end of a picture's axis for each entry.
        levels: number of values of a dequantised entry, each a cell of width 1; None if continuous.
        bin_width: float32 [*event_shape], width of the dequantisation noise, the distance between
            neighbouring values; 0 where values are continuous. An atom's cells have another one.
        image_shape: (height, width) or (height, width, channels); None for other data.
        log_prob: the true log density, [n, *event_shape] → nats [n]; None if unknown.
        entropy: () → the true entropy in nats, in some seconds; None if unknown.
        labels: indices into `classes`, int32 [n] per part; None if unknown.
        classes: names of the classes; empty without labels.
        labelled_batches: like `train_batches`, but pairs of a batch and its labels, int32
            [batch_size], or its conditions; None without either.
        training_rows: () → training examples, float32 [n, *event_shape], dequantised once: what
            preprocessing is fitted to. Data without an end, and those not in memory, give some.
        training_size: number of training examples; None for data without an end.
        forms: of a table's columns, which `columns.decode` takes examples back by; empty for other
            data, and for tables whose cells are examples as they are.
        notes: what a reader should know about the data, a sentence each.
        description: what was read of a table, as lines: its rows, columns and their kinds, and the
            sizes of the three parts.
        has_test: whether there is a test part; without one, `test` is the validation part.
        condition: the columns that the density is given; empty for a density of all columns.
        conditions: of each example, float32 [n, condition_size] per part, the training rows' in the
            order of `training_rows`; None where nothing is given.
        stream: where training examples are read when a batch needs them, what reads them; None for
            data in memory. Shift, scale, `labels.train` and `conditions.train` are then those of
            `training_rows`, a sample.
    """

    name: str
    event_shape: tuple[int, ...]
    train_batches: Batches
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
    labels: Split | None = None
    classes: tuple[str, ...] = ()
    labelled_batches: Batches | None = None
    training_rows: Callable[[], np.ndarray] | None = None
    training_size: int | None = None
    forms: tuple[ColumnForm, ...] = ()
    notes: tuple[str, ...] = ()
    description: tuple[str, ...] = ()
    has_test: bool = True
    condition: tuple[ConditionColumn, ...] = ()
    conditions: Split | None = None
    stream: Stream | None = None

    @property
    def event_size(self) -> int:
        """Number of entries of one example."""
        return int(np.prod(self.event_shape))

    @property
    def condition_size(self) -> int | None:
        """Number of entries of a condition; None where nothing is given."""
        return None if self.conditions is None else self.conditions.train.shape[1]

    def describe(self) -> list[str]:
        """What was read, what was found in the columns of a table, and the notes, a line each."""
        forms = [f"{form.name}: {form.describe()}" for form in self.forms]
        return [*self.description, *forms, *self.notes]

    @property
    def bits_per_dim(self) -> bool:
        """Whether results are reported in bits per dimension rather than in nats."""
        return self.levels is not None


def finite_dataset(
    parts: Split,
    bin_width: np.ndarray,
    labels: Split | None = None,
    augment: Augment | None = None,
    cell_widths: Split | None = None,
    conditions: Split | None = None,
    stream: Stream | None = None,
    **known: Any,
) -> Dataset:
    """Returns the data set of rows in memory, or of a stream whose training rows are a sample.

    Training rows are dequantised anew in each batch, validation and test rows once.

    Args:
        parts: rows [n, *event_shape]; uint8 is kept in that type, all others become float32.
        augment: (rows, seed, step) → rows, applied to training batches before dequantisation.
        cell_widths: of the noise, like `parts`, where they differ between cells of a column.
        bin_width, labels, conditions, stream, known: fields of `Dataset`.
    """
    width = bin_width.astype(np.float32)
    if cell_widths is None:
        widths = Split(width, width, width)
    else:
        widths = cell_widths.map(lambda part: part.astype(np.float32))
    shift, scale = _mean_and_deviation(parts.train, widths.train)
    train = parts.train if parts.train.dtype == np.uint8 else parts.train.astype(np.float32)
    beside = conditions
    if labels is not None:
        beside = labels.map(lambda part: part.astype(np.int32))
    own = None if cell_widths is None else widths.train
    held = Held(Rows(train, own, None if beside is None else beside.train))
    examples: Examples = held if stream is None else stream
    return Dataset(
        event_shape=train.shape[1:],
        train_batches=make_batches(examples, width, augment, beside=False),
        validation=dequantize_rows(parts.validation, widths.validation, VALIDATION),
        test=dequantize_rows(parts.test, widths.test, TEST),
        shift=shift,
        scale=scale,
        bin_width=width,
        labels=labels,
        conditions=conditions,
        labelled_batches=beside and make_batches(examples, width, augment, beside=True),
        training_rows=lambda: dequantize_rows(train, widths.train, STATISTICS),
        training_size=examples.size,
        stream=stream,
        **known,
    )


def _mean_and_deviation(x: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, float32 [*event], of rows [n, *event] with uniform noise.

    `width` is that of the noise, of each entry or of each cell.
    """
    each = width.ndim == x.ndim
    noise = np.mean(width, axis=0, dtype=np.float64) if each else width
    mean, squares = x.mean(axis=0, dtype=np.float64) + noise / 2, np.zeros(x.shape[1:])
    # As float64, all of 50,000 colour images of 32×32 pixels would take more than a gigabyte.
    for start in range(0, len(x), _CHUNK):
        part = slice(start, start + _CHUNK)
        own = width[part] if each else width
        squares += ((x[part] + own / 2 - mean) ** 2 + own.astype(np.float64) ** 2 / 12).sum(axis=0)
    return mean.astype(np.float32), np.sqrt(squares / len(x)).astype(np.float32)
