"""A batch in parts that run at once: on a few hundred rows XLA keeps to one core of a CPU."""

import os
from collections.abc import Callable

import tensorflow as tf

LEAST_ROWS = 32  # per part: two parts of 32 took 0.6 of the time of one of 64, on two cores


def only_cpus() -> bool:
    """Returns whether there is no accelerator."""
    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())


def count(rows: int) -> int:
    """Returns the number of parts in which to compute a batch: 1 unless there are only CPUs."""
    if not only_cpus():
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, rows // LEAST_ROWS))


def apply(function: Callable, parts: int, *batches: tf.Tensor | None) -> tf.Tensor:
    """Returns `function(*batches)`, computed in equal parts along the first axis, `parts` ≥ 1.

    `batches` are `[rows, …]`, or None, which is passed on; the function maps each row by itself. In
    a graph that isn't compiled, the parts of a compiled function run side by side. The last part is
    filled up with the last row.
    """
    if parts == 1:
        return function(*batches)
    rows = tf.shape(batches[0])[0]
    size = -(-rows // parts)
    indices = tf.minimum(tf.range(parts * size), rows - 1)
    split = [
        [None] * parts if batch is None else tf.split(tf.gather(batch, indices), parts)
        for batch in batches
    ]
    return tf.concat([function(*part) for part in zip(*split, strict=True)], 0)[:rows]
