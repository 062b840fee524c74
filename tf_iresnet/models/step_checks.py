"""Steps that would spoil the weights aren't taken, and say why."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def describe(
    loss: tf.Tensor, finite: list[tf.Tensor], names: list[str], batch: dict[str, Any]
) -> tf.Tensor:
    """Says what is known about a step that isn't taken."""
    said = ["Expected a finite loss with finite gradients. Received in step {}: "]
    numbers = [batch["step"]]
    for name in ("x", "y"):
        value = batch[name]
        if value is not None and value.dtype.is_floating:
            rows = tf.math.is_finite(tf.reshape(value, [tf.shape(value)[0], -1]))
            said.append("{} examples of " + name + " with NaN or infinity, ")
            numbers.append(tf.math.count_nonzero(~tf.reduce_all(rows, axis=1)))
    said.append("a loss of {}, and such gradients of: ")
    wrong = tf.boolean_mask(names, tf.logical_not(finite[1:])) if names else tf.constant([""])
    several = tf.where(tf.size(wrong) > 4, ", …", "")
    listed = tf.strings.reduce_join(wrong[:4], separator=", ")
    start = tf.strings.format("".join(said), [*numbers, loss])
    return tf.strings.join([start, listed, several, ". The step was not taken."])


def fail(message: Callable[[], tf.Tensor]) -> tf.Tensor:
    """Fails with a message."""
    with tf.control_dependencies([tf.debugging.Assert(False, [message()])]):
        return tf.constant(False)


def expect_no_accumulation(optimizer: Any) -> None:
    """Raises for what Keras does in a branch, where replicas can't wait for each other."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of one that scales the loss
    value = getattr(optimizer, "gradient_accumulation_steps", None)
    if value is not None:
        raise ValueError(
            "Expected no gradient accumulation on several replicas, where Keras can't do it. "
            f"Received: gradient_accumulation_steps={value}. Leave it out, or train on one device."
        )


@contextlib.contextmanager
def in_plain_words() -> Iterator[None]:
    """Raises failed assertions of this package as Python's errors, without TensorFlow's trace."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(r"assertion failed: \[(Expected .*)\]", str(error))
        if not found:
            raise
        of_numbers = "finite" in found[1]
        raise (FloatingPointError if of_numbers else ValueError)(found[1]) from None


class StopNotFinite(keras.callbacks.Callback):
    """Raises where a step wasn't taken since its loss or gradients weren't finite."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        expect_finite(logs["loss"], f"batch {batch} of epoch {self.epoch}")


def expect_finite(loss: Any, place: str) -> None:
    """Raises for the loss of a compiled step that wasn't taken."""
    if not np.isfinite(float(loss)):
        raise FloatingPointError(
            f"Expected a finite loss with finite gradients. Received: others in {place}. The step "
            "was not taken. On one device, without jit_compile, the message says more."
        )
