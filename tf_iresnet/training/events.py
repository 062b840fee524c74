"""Event files for TensorBoard, written by TensorFlow, whose errors are its own."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator

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
