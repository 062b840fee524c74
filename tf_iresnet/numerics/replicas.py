"""A batch that lies in parts on the replicas of a `tf.distribute.Strategy`.

Each replica calls these functions with its part, in the function that `Strategy.run` runs, but not
in a `tf.cond`, a `tf.while_loop` or a `tf.function` in it: there TensorFlow lets none wait for the
others. Parts needn't be equally large, and may be empty. With a single replica, or outside of
`Strategy.run`, the part is the whole batch.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
    """The place of `x` `[batch, …]`."""
    context = _context()
    if context is None:
        return Place(None, tf.shape(x)[0])
    counts = together(lambda whole: whole(), tf.shape(x)[:1])
    own = context.replica_id_in_sync_group
    return Place(tf.reduce_sum(counts[:own]), tf.reduce_sum(counts))


def together(function: Callable[..., Any], *parts: tf.Tensor) -> Any:
    """Calls a function once for all replicas, and gives each of them what it returns.

    A variable that it assigns to is set on all of them. For each of `parts` `[batch, …]` it gets a
    function without arguments, which returns that of the whole batch: only where that is called,
    as in a branch of a `tf.cond`, are they brought together.
    """
    context = _context()
    if context is None:
        return function(*(lambda part=part: part for part in parts))

    def for_all(strategy: tf.distribute.Strategy, *parts: Any) -> Any:
        return function(*(lambda part=part: _joined(strategy, part) for part in parts))

    return context.merge_call(for_all, args=parts)


def summed(values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The sums, over all replicas, of what each has."""
    context = _context()
    return list(values) if context is None else context.all_reduce("SUM", list(values))


def when(
    condition: tf.Tensor, function: Callable[..., Any], otherwise: Callable[..., Any], *args: Any
) -> None:
    """Calls one of two functions of `args` on each replica: a `tf.cond` in which they may wait.

    The `condition` has to be the same on all replicas. What the functions return is dropped.
    """

    def branch(call: Callable[[], Any]) -> tf.Tensor:
        call()
        return tf.constant(0)  # both branches have to return the same

    def for_all(strategy: tf.distribute.Strategy, condition: Any, *args: Any) -> tf.Tensor:
        (first, *_) = strategy.experimental_local_results(condition)
        return tf.cond(
            first,
            lambda: branch(lambda: strategy.run(function, args)),
            lambda: branch(lambda: strategy.run(otherwise, args)),
        )

    context = _context()
    if context is None:
        tf.cond(
            condition,
            lambda: branch(lambda: function(*args)),
            lambda: branch(lambda: otherwise(*args)),
        )
    else:
        context.merge_call(for_all, args=(condition, *args))


def is_first() -> tf.Tensor:
    """Whether this replica is the first of all."""
    context = _context()
    return tf.constant(True) if context is None else tf.equal(context.replica_id_in_sync_group, 0)


def over_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether some replicas of a strategy belong to other processes."""
    replicas = strategy.num_replicas_in_sync
    return replicas > 1 and replicas > len(strategy.extended.worker_devices)


def _joined(strategy: tf.distribute.Strategy, parts: Any) -> tf.Tensor:
    own = strategy.experimental_local_results(parts)
    if len(own) == strategy.num_replicas_in_sync:
        # Not by `gather`: in TensorFlow 2.21 it crashes where all parts are empty.
        return tf.concat(own, axis=0)
    return strategy.gather(parts, axis=0)


def _context() -> tf.distribute.ReplicaContext | None:
    """That of this replica, None if there is but one, or outside of `Strategy.run`."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None
