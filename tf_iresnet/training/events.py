"""Event files for TensorBoard, written by TensorFlow, whose errors are its own."""

import collections
import contextlib
import errno
import functools
import os
import pathlib
import time
from collections.abc import Iterator

import keras
import tensorflow as tf

from tf_iresnet.training.files import writing

_ERRORS = {os.strerror(number): number for number in errno.errorcode}


@contextlib.contextmanager
def writing_events(folder: pathlib.Path) -> Iterator[None]:
    """Turns an error of the system in the writing of events into a RunError that names it."""
    with writing(folder):
        try:
            yield
        except tf.errors.OpError as error:
            for text, number in _ERRORS.items():
                if str(folder) in str(error) and text in str(error):
                    raise OSError(number, text) from error
            raise


class EpochEvents(keras.callbacks.TensorBoard):
    """Figures of each epoch for TensorBoard, and nothing of its steps.

    Keras offers a summary of each step to TensorFlow even where nobody writes it, and TensorFlow
    keeps the numbers in it: see `numerics.tracing.uncached`.
    """

    def __init__(self, folder: pathlib.Path):
        super().__init__(folder, write_graph=False)

    def on_train_batch_end(self, batch, logs=None):
        pass

    def on_test_batch_end(self, batch, logs=None):
        pass


class Seconds:
    """What the seconds of an epoch are spent on, as scalars `seconds/…` for TensorBoard.

    "data" is the wait for batches, "step" training, "validation" and "checkpoint" what they say;
    the rest of an epoch is none of them. Those of an epoch that a process resumes are its own.
    """

    def __init__(self, folder: pathlib.Path | None = None):
        self.folder = folder
        self.spent: dict[str, float] = collections.defaultdict(float)

    @contextlib.contextmanager
    def spent_on(self, name: str) -> Iterator[None]:
        """Adds what the block takes."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.spent[name] += time.monotonic() - start

    @functools.cached_property
    def _writer(self) -> tf.summary.SummaryWriter:
        if self.folder is None:
            return tf.summary.create_noop_writer()
        return tf.summary.create_file_writer(str(self.folder))

    def write(self, epoch: int) -> None:
        """Writes the seconds of an epoch (0, 1, …) to the folder, if there is one; begins anew."""
        with self._writer.as_default(epoch):
            for name, value in self.spent.items():
                tf.summary.scalar(f"seconds/{name}", value)
        self._writer.flush()
        self.spent.clear()
