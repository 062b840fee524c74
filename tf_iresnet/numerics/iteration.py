"""The search for a fixed point, example by example: when to stop, when to distrust a method.

A `Method` says where to look next. Of no concern to gradients: `fixed_point.solve` gives the
solution those of the implicit function theorem.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Map = Callable[..., tf.Tensor]


class Solution(NamedTuple):
    """What `solve` found for each example; of a model, what each of its solvers did.

    Attributes:
      value: like `y` (float32 where `y` is of half precision): the x with x + g(x) ≈ y. Of a model,
        its inverse.
      evaluations: int32 `[batch]`, of `g` for that example, the one at the start included.
      products: int32 `[batch]`, Jacobian-vector products for that example.
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
    """What an evaluation of `g` at x gave; `[batch, *event]` and, of the size, `[batch, 1, …, 1]`.

    A Picard step leads to `value`.
    """

    value: tf.Tensor  # y − g(x)
    residual: tf.Tensor  # y − g(x) − x
    size: tf.Tensor  # ‖residual‖


class Method:
    """Where to look next. This one is Picard's: at the last point's value.

    Attributes:
      products: Jacobian-vector products made to choose a point.
    """

    products: int = 0

    def memory(self, y: tf.Tensor) -> tuple:
        """What the method knows before the first step: tensors in nested tuples."""
        del y
        return ()

    def evaluate(self, g: Map, x: tf.Tensor) -> tuple[tf.Tensor, Map | None]:
        """g(x) and, for a method that makes products, v ↦ Jv at x."""
        return g(x), None

    def directions(self, old: Point, memory: tuple) -> list[tf.Tensor]:
        """What `correct` needs the new residual's inner products with, `[batch, *event]` each."""
        del old, memory
        return []

    def correct(
        self,
        old: Point,
        new: Point,
        along: list[tf.Tensor],
        memory: tuple,
        useful: tf.Tensor,
        jacobian: Map | None,
    ) -> tuple[tf.Tensor | float, tuple]:
        """What to take off a Picard step, and what is known by then.

        Args:
          old: the best point until then.
          new: the last one.
          along: the inner products of its residual with the `directions`.
          memory: what was known when it was chosen.
          useful: bool `[batch, 1, …, 1]`, the examples for which it is to be trusted. For others,
            whose residual may be NaN, the correction must be 0 and the memory as at the start.
          jacobian: of `evaluate`.
        """
        del old, new, along, useful, jacobian
        return 0.0, memory


class Settings(NamedTuple):
    lipschitz: tf.Tensor
    tolerance: tf.Tensor
    max_iterations: int
    method: Method


class _State(NamedTuple):
    """Loop variables; those of one number an example have shape `[batch, 1, …, 1]`."""

    best: Point
    candidate: tf.Tensor  # where to look next
    evaluations: tf.Tensor
    products: tf.Tensor
    active: tf.Tensor
    plain: tf.Tensor  # whether the candidate is a Picard step
    memory: tuple


def certified_error(residual_norm: tf.Tensor, lipschitz: tf.Tensor) -> tf.Tensor:
    """‖residual‖/(1 − L): bounds the distance to the solution; infinite unless L < 1."""
    bound = residual_norm / (1 - lipschitz)
    return tf.where(lipschitz < 1, bound, tf.cast(math.inf, bound.dtype))


def descend(
    g: Map, y: tf.Tensor, start: tf.Tensor, image: tf.Tensor, settings: Settings
) -> Solution:
    """Solves x + g(x) = y from x = start, where `image` = g(start); carries no gradient."""
    first, _ = _point(y, start, image)
    state = _State(
        best=first,
        candidate=first.value,
        evaluations=tf.ones_like(first.size, tf.int32),
        products=tf.zeros_like(first.size, tf.int32),
        active=_unfinished(first.size, settings),
        plain=tf.ones_like(first.size, tf.bool),
        memory=settings.method.memory(y),
    )
    (end,) = tf.while_loop(
        lambda state: tf.reduce_any(state.active),
        lambda state: (_step(g, y, state, settings),),
        (state,),
        maximum_iterations=settings.max_iterations - 1,
    )
    # One more Picard step costs no evaluation, and contracts the error once more.
    error = settings.lipschitz * certified_error(end.best.size, settings.lipschitz)
    solved = ~_unfinished(end.best.size, settings)
    flat = (tf.squeeze(t, event_axes(y)) for t in (end.evaluations, end.products, error, solved))
    return Solution(*(tf.stop_gradient(t) for t in (end.best.value, *flat)))


def _step(g: Map, y: tf.Tensor, state: _State, settings: Settings) -> _State:
    """One evaluation of g for every example, which only active ones take notice of."""
    method, old = settings.method, state.best
    image, jacobian = method.evaluate(g, state.candidate)
    directions = method.directions(old, state.memory)
    new, along = _point(y, state.candidate, image, directions)
    better = new.size < old.size
    fast = better & (new.size <= (1 + settings.lipschitz) / 2 * old.size)
    accepted = state.active & better
    best = Point(*(tf.where(accepted, *pair) for pair in zip(new, old, strict=True)))
    active = state.active & (better | ~state.plain) & _unfinished(best.size, settings)
    # After a slow step comes one of Picard's, and what was learnt on the way is forgotten.
    useful = active & fast
    correction, memory = method.correct(old, new, along, state.memory, useful, jacobian)
    return _State(
        best=best,
        candidate=best.value - correction,
        evaluations=state.evaluations + tf.cast(state.active, tf.int32),
        products=state.products + method.products * tf.cast(useful, tf.int32),
        active=active,
        plain=~fast,
        memory=memory,
    )


def _point(
    y: tf.Tensor, x: tf.Tensor, image: tf.Tensor, directions: Sequence[tf.Tensor] = ()
) -> tuple[Point, list[tf.Tensor]]:
    """The point at x, and the inner products of its residual with some directions."""
    value = y - tf.ensure_shape(image, y.shape)
    residual = value - x
    squared, *along = inners(residual, [residual, *directions])
    return Point(value, residual, tf.sqrt(squared)), along


def _unfinished(size: tf.Tensor, settings: Settings) -> tf.Tensor:
    error = settings.lipschitz * certified_error(size, settings.lipschitz)
    return ~((error <= settings.tolerance) & (error < math.inf))  # NaN is unfinished


def event_axes(y: tf.Tensor) -> list[int]:
    return list(range(1, y.shape.rank))


def inner(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Inner products over the event, `[batch, 1, …, 1]`."""
    return inners(a, [b])[0]


def inners(a: tf.Tensor, others: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Inner products over the event with each of several, `[batch, 1, …, 1]`, by one sum."""
    # Not by tf.reduce_sum, of which XLA makes three passes on a CPU.
    size = a.shape[1:].num_elements() or tf.reduce_prod(tf.shape(a)[1:])
    products = tf.reshape(tf.concat([a * other for other in others], 0), [-1, size])
    sums = tf.matmul(products, tf.ones([size, 1], a.dtype))
    return tf.split(tf.reshape(sums, [-1] + [1] * (a.shape.rank - 1)), len(others))


def norm(a: tf.Tensor) -> tf.Tensor:
    """Euclidean norms over the event, `[batch, 1, …, 1]`."""
    return tf.sqrt(inner(a, a))


def one_per_example(value: Any, y: tf.Tensor) -> tf.Tensor:
    """Lays a scalar or `[batch]` out as `[1 or batch, 1, …, 1]`."""
    # Not by tf.cast, which takes a Python number to float32 first.
    value = tf.cast(value, y.dtype) if tf.is_tensor(value) else tf.constant(value, y.dtype)
    return tf.reshape(value, [-1] + [1] * (y.shape.rank - 1))
