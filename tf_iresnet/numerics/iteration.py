"""The fixed-point iteration itself: Picard's and Anderson's, example by example.

Of no concern to gradients: `fixed_point.solve` gives it those of the implicit function theorem.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

Map = Callable[..., tf.Tensor]


class Solution(NamedTuple):
    """What `solve` found, example by example.

    Attributes:
      value: like `y` (float32 where `y` is of half precision): the x with x + g(x) ≈ y.
      iterations: int32 `[batch]`, evaluations of `g` made for that example, the one at y included.
      residual: `[batch]`, the certified error of `value`: no less than its Euclidean distance to
        the exact solution, up to the rounding inside `g`. L‖y − x − g(x)‖/(1 − L) at the last
        point x where `g` was evaluated; `value` is the Picard step y − g(x) from there.
      converged: bool `[batch]`, whether `residual` ≤ tolerance. False means that the cap was
        reached, that `g` breaks its bound L, or that round-off allows no better (`resolution`).
    """

    value: tf.Tensor
    iterations: tf.Tensor
    residual: tf.Tensor
    converged: tf.Tensor


class Settings(NamedTuple):
    lipschitz: tf.Tensor
    tolerance: tf.Tensor
    max_iterations: int
    memory: int  # 0 for Picard


class _State(NamedTuple):
    """Loop variables; those of one number an example have shape `[batch, 1, …, 1]`."""

    x: tf.Tensor
    residual: tf.Tensor
    size: tf.Tensor  # ‖residual‖
    evaluations: tf.Tensor
    active: tf.Tensor
    plain: tf.Tensor  # whether the next step is Picard's
    secants: tuple  # of pairs (orthonormal change of the residual, matching change of x + residual)


def certified_error(residual_norm: tf.Tensor, lipschitz: tf.Tensor) -> tf.Tensor:
    """‖residual‖/(1 − L): bounds the distance to the solution; infinite unless L < 1."""
    bound = residual_norm / (1 - lipschitz)
    return tf.where(lipschitz < 1, bound, tf.cast(math.inf, bound.dtype))


def descend(g: Map, y: tf.Tensor, image: tf.Tensor, settings: Settings) -> Solution:
    """Solves x + g(x) = y from x = y, where `image` = g(y); carries no gradient."""
    residual = -tf.ensure_shape(image, y.shape)
    size = norm(residual)
    state = _State(
        x=y,
        residual=residual,
        size=size,
        evaluations=tf.ones_like(size, tf.int32),
        active=_unfinished(size, settings),
        plain=tf.ones_like(size, tf.bool),
        secants=((tf.zeros_like(y), tf.zeros_like(y)),) * settings.memory,
    )
    (end,) = tf.while_loop(
        lambda state: tf.reduce_any(state.active),
        lambda state: (_step(g, y, state, settings),),
        (state,),
        maximum_iterations=settings.max_iterations - 1,
    )
    # One more Picard step costs no evaluation, and contracts the error once more.
    error = settings.lipschitz * certified_error(end.size, settings.lipschitz)
    report = (end.evaluations, error, ~_unfinished(end.size, settings))
    flat = (tf.squeeze(t, event_axes(y)) for t in report)
    return Solution(*(tf.stop_gradient(t) for t in (end.x + end.residual, *flat)))


def _step(g: Map, y: tf.Tensor, state: _State, settings: Settings) -> _State:
    """One evaluation of g for every example, which only active ones take notice of."""
    picard = candidate = state.x + state.residual
    for change, step in state.secants:
        candidate -= _inner(change, state.residual) * step
    residual = y - candidate - tf.ensure_shape(g(candidate), y.shape)
    size = norm(residual)
    better = size < state.size
    fast = better & (size <= (1 + settings.lipschitz) / 2 * state.size)
    secants = state.secants
    if secants:
        # Where the step was slow, everything learnt is forgotten, so that a Picard step follows.
        kept = tf.cast(fast, y.dtype)
        new = _secant(state.residual - residual, picard - candidate - residual, secants, kept)
        secants = (new, *((change * kept, step) for change, step in secants[:-1]))
    accepted = state.active & better
    size = tf.where(accepted, size, state.size)
    return _State(
        x=tf.where(accepted, candidate, state.x),
        residual=tf.where(accepted, residual, state.residual),
        size=size,
        evaluations=state.evaluations + tf.cast(state.active, tf.int32),
        active=state.active & (better | ~state.plain) & _unfinished(size, settings),
        plain=~fast,
        secants=secants,
    )


def _unfinished(size: tf.Tensor, settings: Settings) -> tf.Tensor:
    error = settings.lipschitz * certified_error(size, settings.lipschitz)
    return ~((error <= settings.tolerance) & (error < math.inf))  # NaN is unfinished


def _secant(
    change: tf.Tensor, step: tf.Tensor, secants: tuple, kept: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes a pair orthonormal to the others in its first half; 0 if not kept or nothing new."""
    before = _inner(change, change)
    for other_change, other_step in secants:
        overlap = _inner(other_change, change)
        change -= overlap * other_change
        step -= overlap * other_step
    squared = _inner(change, change)
    scale = tf.where(squared > 1e-4 * before, kept * tf.math.rsqrt(squared), 0)
    # A diverged candidate leaves NaN here, which must not reach later steps.
    return tf.math.multiply_no_nan(change, scale), tf.math.multiply_no_nan(step, scale)


def event_axes(y: tf.Tensor) -> list[int]:
    return list(range(1, y.shape.rank))


def _inner(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Inner products over the event, `[batch, 1, …, 1]`."""
    return tf.reduce_sum(a * b, event_axes(a), keepdims=True)


def norm(a: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(_inner(a, a))


def one_per_example(value: object, y: tf.Tensor) -> tf.Tensor:
    """Lays a scalar or `[batch]` out as `[1 or batch, 1, …, 1]`."""
    # Not by tf.cast, which takes a Python number to float32 first.
    value = tf.cast(value, y.dtype) if tf.is_tensor(value) else tf.constant(value, y.dtype)
    return tf.reshape(value, [-1] + [1] * (y.shape.rank - 1))
