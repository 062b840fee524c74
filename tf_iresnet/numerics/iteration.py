"""The search for a fixed point, example by example: when to stop, when to distrust a method.

Without gradients: `fixed_point.solve` adds those of the implicit function theorem.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tf_iresnet.numerics.linalg import event_axes, inners

Map = Callable[..., tf.Tensor]


class Solution(NamedTuple):
    """What `solve` found for each example; of a model, what each of its solvers did.

    Attributes:
      value: the x with x + g(x) ≈ y, like `y` (float32 for half precision); a model's inverse.
      evaluations: of `g`, int32 `[batch]`, the one at the start included.
      products: Jacobian-vector products, int32 `[batch]`.
      certified_error: `[batch]`, no less than the Euclidean distance of `value` to the exact
        solution, up to the rounding inside `g`: L‖y − x − g(x)‖/(1 − L) at the last point x where
        `g` was evaluated; `value` is the Picard step y − g(x) from there.
      converged: bool `[batch]`, whether `certified_error` ≤ tolerance. False means that the cap was
        reached, that `g` breaks its bound L, or that round-off allows no better (`resolution`).

    Of a model the last four are `[solvers, batch]`, in the order of the forward pass.
    """

    value: tf.Tensor
    evaluations: tf.Tensor
    products: tf.Tensor
    certified_error: tf.Tensor
    converged: tf.Tensor


class Point(NamedTuple):
    """What an evaluation of `g` at x gave."""

    value: tf.Tensor  # y − g(x), where a Picard step leads; `[batch, *event]`
    residual: tf.Tensor  # y − g(x) − x
    size: tf.Tensor  # ‖residual‖, `[batch, 1, …, 1]`


class Method:
    """Where to look next. This one is Picard's: at the last point's value."""

    products: int = 0  # Jacobian-vector products made to choose a point

    def memory(self, y: tf.Tensor) -> tuple:
        """What the method knows before the first step: tensors in nested tuples."""
        return ()

    def evaluate(self, g: Map, x: tf.Tensor) -> tuple[tf.Tensor, Map | None]:
        """g(x) and, for a method that makes products, v ↦ Jv at x."""
        return g(x), None

    def directions(self, old: Point, memory: tuple) -> list[tf.Tensor]:
        """What `correct` needs the new residual's inner products with, `[batch, *event]` each."""
        return []

    def correct(
        self, old: Point, new: Point, along: list, memory: tuple, useful: tf.Tensor, jacobian: Any
    ) -> tuple[tf.Tensor | float, tuple]:
        """What to take off a Picard step, and what is known by then.

        Args:
          old: the best point until then.
          new: the last one.
          along: the inner products of its residual with the `directions`.
          memory: what was known when it was chosen.
          useful: bool `[batch, 1, …, 1]`, the examples for which it is to be trusted. For others,
            whose residual may be NaN, the correction must be 0 and the memory as at the start.
          jacobian: v ↦ Jv there, or None: see `evaluate`.
        """
        return 0.0, memory


class Settings(NamedTuple):
    lipschitz: tf.Tensor
    tolerance: tf.Tensor
    max_iterations: int
    method: Method

    def error(self, size: tf.Tensor) -> tf.Tensor:
        """Certified after one more Picard step, which costs no evaluation and contracts by L."""
        return self.lipschitz * certified_error(size, self.lipschitz)

    def unfinished(self, size: tf.Tensor) -> tf.Tensor:
        error = self.error(size)
        return ~((error <= self.tolerance) & (error < math.inf))  # NaN is unfinished


def certified_error(residual_norm: tf.Tensor, lipschitz: tf.Tensor) -> tf.Tensor:
    """‖residual‖/(1 − L): bounds the distance to the solution; infinite unless L < 1."""
    bound = residual_norm / (1 - lipschitz)
    return tf.where(lipschitz < 1, bound, tf.cast(math.inf, bound.dtype))


def descend(g: Map, y: tf.Tensor, image: tf.Tensor, settings: Settings) -> Solution:
    """Solves x + g(x) = y from x = y, where `image` = g(y); carries no gradient."""
    lipschitz, _, max_iterations, method = settings

    def step(old, candidate, evaluations, products, active, plain, memory):
        """Evaluates g at every candidate; only active ones count."""
        image, jacobian = method.evaluate(g, candidate)
        new, along = _point(y, candidate, image, method.directions(old, memory))
        better = new.size < old.size
        fast = better & (new.size <= (1 + lipschitz) / 2 * old.size)
        accepted = active & better
        best = Point(*(tf.where(accepted, *pair) for pair in zip(new, old, strict=True)))
        evaluations += tf.cast(active, tf.int32)
        active &= (better | ~plain) & settings.unfinished(best.size)
        # After a slow step comes one of Picard's, and what was learnt on the way is forgotten.
        useful = active & fast
        products += method.products * tf.cast(useful, tf.int32)
        correction, memory = method.correct(old, new, along, memory, useful, jacobian)
        return best, best.value - correction, evaluations, products, active, ~fast, memory

    first, _ = _point(y, y, image)
    active = settings.unfinished(first.size)
    plain = tf.ones_like(first.size, tf.bool)  # whether the candidate is a Picard step
    counts = tf.ones_like(first.size, tf.int32), tf.zeros_like(first.size, tf.int32)
    best, _, evaluations, products, *_ = tf.while_loop(
        lambda old, candidate, evaluations, products, active, *_: tf.reduce_any(active),
        step,
        (first, first.value, *counts, active, plain, method.memory(y)),
        maximum_iterations=max_iterations - 1,
    )
    error, solved = settings.error(best.size), ~settings.unfinished(best.size)
    flat = (tf.squeeze(t, event_axes(y)) for t in (evaluations, products, error, solved))
    return Solution(*(tf.stop_gradient(t) for t in (best.value, *flat)))


def _point(
    y: tf.Tensor, x: tf.Tensor, image: tf.Tensor, directions: Sequence[tf.Tensor] = ()
) -> tuple[Point, list[tf.Tensor]]:
    """The point at x, and the inner products of its residual with some directions."""
    value = y - tf.ensure_shape(image, y.shape)
    residual = value - x
    squared, *along = inners(residual, [residual, *directions])
    return Point(value, residual, tf.sqrt(squared)), along
