"""A batch that lies in parts on the replicas of a `tf.distribute.Strategy`.

What these functions say of it is the same on every replica, and what one replica with the whole
batch would find. They send something between replicas, which TensorFlow allows in the function
that `Strategy.run` runs, but not in a `tf.cond` or a `tf.while_loop` in it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


class Place(NamedTuple):
    """Where the examples of this replica stand in the batch of all replicas.

    Attributes:
        first: how many come before, those of the replicas before this one; None if it is alone.
        total: how many there are on all replicas.
    """

    first: tf.Tensor | None
    total: tf.Tensor


def place(x: tf.Tensor) -> Place:
    """The place of `x` `[batch, …]`; parts needn't be equally large, and may be empty."""
    context, rows = _context(), tf.shape(x)[0]
    if context is None:
        return Place(None, rows)
    counts = context.all_gather(rows[tf.newaxis], axis=0)
    return Place(tf.reduce_sum(counts[: context.replica_id_in_sync_group]), tf.reduce_sum(counts))


def whole_batch(parts: Sequence[tf.Tensor], only_first: tf.Tensor) -> list[tf.Tensor]:
    """The parts `[batch, …]` of all replicas, joined, from this replica's.

    `only_first`, a scalar that replicas agree on, says that nobody will read the result: then only
    one example of each is sent. (TensorFlow 2.21 crashes where all parts are empty.)
    """
    context = _context()
    if context is None:
        return [*parts]
    sent = tf.cond(only_first, lambda: [part[:1] for part in parts], lambda: [*parts])
    return context.all_gather(sent, axis=0)


def _context() -> tf.distribute.ReplicaContext | None:
    """That of this replica, None if there is but one, or outside of `Strategy.run`."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None
