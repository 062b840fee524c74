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
    """Bounds in nats, one an example or one for all, of the blocks met so far.

    Args:
        lipschitz: bound on every block's branch, where that of a block itself may be less: what a
            certificate found instead of what was aimed at.
    """

    def __init__(self, lipschitz: float = 0.0) -> None:
        self.lipschitz = lipschitz
        self._values: list[tf.Tensor] = []

    def add(self, value: tf.Tensor) -> None:
        self._values.append(tf.stop_gradient(value))

    def total(self, like: tf.Tensor) -> tf.Tensor:
        """Their sum, of the shape of `like`."""
        return tf.add_n([tf.zeros_like(like), *(tf.zeros_like(like) + v for v in self._values)])


_gathering: contextvars.ContextVar[Bounds | None] = contextvars.ContextVar("bounds", default=None)


@contextlib.contextmanager
def gather(lipschitz: float | None = None) -> Iterator[Bounds]:
    """Gathers what is reported inside the `with` block, instead of whoever gathers outside it.

    Args:
        lipschitz: as of `Bounds`; by default that of who gathers outside.
    """
    outside = _gathering.get()
    bounds = Bounds((outside.lipschitz if outside else 0.0) if lipschitz is None else lipschitz)
    token = _gathering.set(bounds)
    try:
        yield bounds
    finally:
        _gathering.reset(token)


def gathering() -> bool:
    """Whether anyone asked for bounds."""
    return _gathering.get() is not None


def report(bound: Callable[[float], tf.Tensor], lipschitz: float = 0.0) -> None:
    """Adds a bound to those being gathered; computes it only if they are.

    Args:
        bound: of a bound on the branch's Lipschitz constant.
        lipschitz: the block's own; the gatherer's counts if it is more.
    """
    bounds = _gathering.get()
    if bounds is not None:
        bounds.add(bound(max(lipschitz, bounds.lipschitz)))
