"""How far the estimators' cut-off series may be off: reported by them, gathered by who asks.

An estimator is deep inside the layers of a flow, whose methods return log-determinants alone. It
reports its bound here; a context around the call of the flow gathers the bounds of all blocks:

    with truncation.gather() as bounds:
        log_prob = flow(x)
    total = bounds.total()
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import tensorflow as tf


class Bounds:
    """Bounds in nats, one an example or one for all, of the blocks met so far."""

    def __init__(self) -> None:
        self._values: list[tf.Tensor] = []

    def add(self, value: tf.Tensor) -> None:
        self._values.append(tf.stop_gradient(value))

    def total(self, like: tf.Tensor) -> tf.Tensor:
        """Their sum, of the shape of `like`."""
        return tf.add_n([tf.zeros_like(like), *(tf.zeros_like(like) + v for v in self._values)])


_gathering: contextvars.ContextVar[Bounds | None] = contextvars.ContextVar("bounds", default=None)


@contextlib.contextmanager
def gather() -> Iterator[Bounds]:
    """Gathers what is reported inside the `with` block, instead of whoever gathers outside it."""
    bounds = Bounds()
    token = _gathering.set(bounds)
    try:
        yield bounds
    finally:
        _gathering.reset(token)


def gathering() -> bool:
    """Whether anyone asked for bounds."""
    return _gathering.get() is not None


def report(bound: Callable[[], tf.Tensor]) -> None:
    """Adds a bound to those being gathered; computes it only if they are."""
    bounds = _gathering.get()
    if bounds is not None:
        bounds.add(bound())
