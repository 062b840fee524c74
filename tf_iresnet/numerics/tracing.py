"""Functions of tensors, traced once for batches of every size, and compiled where that pays."""

import collections
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import record

from tf_iresnet.numerics import parts

# On two cores XLA takes 2 to 4 s to compile an inverse and saves a third to five sixths of a call,
# so that it pays by 4 to 7 s of plain calls (scripts/benchmark.py --suite=latency). Whoever begins
# to compile then spends about twice of what would have been best at most, however many calls are
# still to come.
COMPILATION_SECONDS = 5.0


class Traces:
    """The traced functions of a layer or a model: one for each name, dtype and rank of arguments.

    The first axis of a batch is of unknown length in a trace, so that no other size costs a new
    one. Copies start afresh: a trace belongs to the weights that it reads.
    """

    def __init__(self) -> None:
        self._functions: dict[Any, Callable] = {}
        self._seconds: dict[int, float] = collections.defaultdict(float)  # by size

    def __deepcopy__(self, memo: dict[int, Any]) -> "Traces":
        return Traces()

    def __reduce__(self) -> tuple[Any, ...]:
        return Traces, ()

    def clear(self) -> None:
        """Forgets everything; needed after a change of a Python attribute of a layer."""
        self._functions.clear()
        self._seconds.clear()

    def run(self, name: str, function: Callable, *batches: Any, **others: Any) -> Any:
        """`function(*batches, **others)`: traced in eager mode, in a graph as it is.

        Args:
            name: of the function, for the other calls of it.
            function: of tensors; always the same one for a name.
            *batches: tensors `[batch, …]`, or None.
            **others: tensors of fixed shapes; what isn't a tensor is a constant of the trace.
        """
        return self.prepared(name, function, *batches, **others)()

    def prepared(self, name: str, function: Callable, *batches: Any, **others: Any) -> Callable:
        """What `run` calls, without arguments: in a graph nothing stands before the function."""
        if not _traces():
            return functools.partial(function, *batches, **others)
        return self._traced(name, function, batches, others)

    def run_as(self, name: str, function: Callable, arguments: tuple, specs: tuple) -> Any:
        """`function(*arguments)` on nests of tensors, in eager mode by one trace for `specs`."""
        key = (name, str(specs))
        if key not in self._functions:
            traced = tf.function(function, specs, autograph=False)
            # The one trace itself, since TensorFlow warns of functions that are traced often.
            self._functions[key] = traced.get_concrete_function()
        return self._functions[key](*arguments)

    def run_compiled(
        self, name: str, function: Callable, compiles: bool | None, *batches: Any
    ) -> Any:
        """`run`, by XLA if `compiles`; None compiles once that pays.

        XLA compiles for one number of rows, so that batches are filled up to the next of a few
        numbers. It can't differentiate the loops in here: under a tape nothing is compiled.
        """
        if not _traces():
            return function(*batches)
        rows = int(batches[0].shape[0])
        number = parts.count(rows)
        size = number * filled(-(-rows // number))
        if compiles is None:
            compiles = self._seconds[size] > COMPILATION_SECONDS
        if compiles and not record.could_possibly_record():
            padded = [_filled_up(batch, rows, size) for batch in batches]

            def in_parts(*batches: Any) -> Any:
                compiled = tf.function(function, autograph=False, jit_compile=True)
                return parts.apply(compiled, number, *batches)

            values = self._traced((name, number), in_parts, padded, {})()
            return values[:rows]
        call = self._traced(name, function, batches, {})
        start, traces = time.perf_counter(), len(self._functions)
        values = call()
        values.numpy()  # it may still be running
        if len(self._functions) == traces:  # tracing is no time that compiling would save
            self._seconds[size] += time.perf_counter() - start
        return values

    def _traced(
        self, name: Any, function: Callable, batches: Any, others: dict[str, Any]
    ) -> Callable:
        """A call of the traced function with these arguments."""
        tensors = {key: value for key, value in others.items() if tf.is_tensor(value)}
        constants = {key: value for key, value in others.items() if not tf.is_tensor(value)}
        given = [batch for batch in batches if batch is not None]
        specs = (
            [tf.TensorSpec([None, *batch.shape[1:]], batch.dtype) for batch in given],
            {key: tf.TensorSpec(value.shape, value.dtype) for key, value in tensors.items()},
        )
        missing = tuple(batch is None for batch in batches)

        def positional(given: list[tf.Tensor], tensors: dict[str, tf.Tensor]) -> Any:
            present = iter(given)
            arguments = [None if absent else next(present) for absent in missing]
            return function(*arguments, **tensors, **constants)

        key = f"{name} {missing} {sorted(constants.items())}"
        return lambda: self.run_as(key, positional, (given, tensors), specs)


def _traces() -> bool:
    """Whether calls are to be traced: in eager mode, but not on one of several replicas.

    In a trace no replica may wait for the others.
    """
    return tf.executing_eagerly() and tf.distribute.get_strategy().num_replicas_in_sync == 1


def uncached(number: Any) -> Any:
    """A Python number as an array; anything else as it is.

    TensorFlow keeps every Python number that it has ever made a tensor of, 0.7 KiB for each.
    """
    return np.asarray(number) if isinstance(number, (int, float)) else number


def filled(rows: int) -> int:
    """The number of rows that a batch is filled up to: four steps between powers of two."""
    step = max(1, 1 << max(0, (rows - 1).bit_length() - 3))
    return -(-rows // step) * step


def _filled_up(batch: tf.Tensor | None, rows: int, size: int) -> tf.Tensor | None:
    """The batch with its last row repeated."""
    if batch is None or size == rows:
        return batch
    return tf.gather(batch, tf.minimum(tf.range(size), rows - 1))
