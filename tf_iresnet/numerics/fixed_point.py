"""Solve x + g(x) = y for a contractive g, each example to its own certified error.

The residual r(x) = y − x − g(x) proves how far any x is from the solution x*:
‖x − x*‖ ≤ ‖r(x)‖/(1 − L) if Lip(g) ≤ L < 1, however x was found (from Banach's theorem; Behrmann
et al., 2019, arXiv 1811.00995, section 2, give the iteration but no stop). Gradients come from the
implicit function theorem, (I + J)ᵀ u = ū, through the same solver; no iteration is unrolled.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics.acceleration import METHODS, Anderson
from tf_iresnet.numerics.bound_function import BoundFunction
from tf_iresnet.numerics.iteration import Map, Method, Settings, Solution, certified_error, descend
from tf_iresnet.numerics.linalg import event_axes, norm, one_per_example
from tf_iresnet.numerics.structures import at_least_float32

GRADIENT_TOLERANCE = 1e-5  # relative; a loose tolerance on values must not loosen gradients


def solve(
    g: BoundFunction,
    y: tf.Tensor,
    *,
    lipschitz: float | tf.Tensor,
    tolerance: float | tf.Tensor = 1e-5,
    max_iterations: int = 1000,
    method: str | Method = "anderson",
) -> Solution:
    """Solves x + g(x) = y for x, with exact gradients.

    "picard" is x ← y − g(x), "anderson" mixes the last steps (`acceleration.Anderson`), and
    "newton_krylov" solves for the next one with a few Jacobian-vector products
    (`acceleration.NewtonKrylov`). Under any method, a point that does not shrink the residual is
    dropped; after it, and after one that shrinks it by less than (1 + L)/2, a Picard step follows
    and the method forgets what it had learnt: every two evaluations shrink the residual that much.
    A Picard step that doesn't shrink it contradicts L or has met round-off, and ends that example
    unconverged. Examples neither wait for nor influence each other: a finished one never changes.

    Differentiable in `y`, the tensors of `g` and trainable variables that `g` reads, to any order:
    each gradient has its own solve. Other *tensors* that `g` closes over get no gradient: make them
    parameters of `BoundFunction.of`. The adjoint solve runs to the smaller of `tolerance` and 1e-5,
    relative to the incoming gradient; an example for which it doesn't converge gets NaN gradients.
    Only `value` carries gradients. Reverse mode only: within a tf.function TensorFlow takes the
    ForwardAccumulator's tangent of any custom gradient for zero.

    Works in eager mode, `tf.function` and XLA. Half precision, of `y` or in `g`, becomes float32.

    Args:
      g: a contraction to x's shape and dtype; it must treat the examples (axis 0) independently.
      y: `[batch, *event]`, event of any rank.
      lipschitz: bound L on Lip(g) in x, scalar or `[batch]`; no convergence where a tensor is ≥ 1.
      tolerance: on the certified Euclidean error over the event, scalar or `[batch]`. float32 can't
        prove 1e-5 for large events, but `tf.maximum(1e-5, resolution(y, lipschitz))`.
      max_iterations: cap on the evaluations of `g`, at least 1.
      method: "anderson", "picard", "newton_krylov", or a `Method`.

    Raises:
      ValueError: `method` is unknown, a number is out of range, `y` is not a floating-point tensor
        with a batch axis, or `g` changes the shape or dtype.
    """
    y = tf.convert_to_tensor(y)
    _check(y, lipschitz, max_iterations, method)
    y, g = at_least_float32(y), tf.nest.map_structure(at_least_float32, g)
    lipschitz, tolerance = (one_per_example(t, y) for t in (lipschitz, tolerance))
    method = METHODS[method] if isinstance(method, str) else method
    settings = Settings(lipschitz, tolerance, max_iterations, method)
    target, constant = tf.stop_gradient(y), tf.nest.map_structure(tf.stop_gradient, g)
    with tf.GradientTape() as tape:
        image = constant(target)
    if image.dtype != y.dtype or not image.shape.is_compatible_with(y.shape):
        raise ValueError(
            f"Expected g to return {y.shape} {y.dtype.name}, as x. Received: {image.shape} "
            f"{image.dtype.name}. Let g keep the shape and dtype of its first argument."
        )
    found = descend(constant, target, image, settings)
    value = _with_gradient(g, found.value, y, tape.watched_variables(), settings)
    return found._replace(value=value)


def resolution(y: tf.Tensor, lipschitz: float | tf.Tensor) -> tf.Tensor:
    """The certified error, `[batch]`, that rounding in y's dtype leaves within reach.

    16 ε ‖y‖/(1 − L): four layers of 128 units in float32 got to a seventh of it. An estimate, not a
    proof: it takes the values inside `g` to be about as large as `y`.
    """
    y = at_least_float32(y)
    largest = tf.reduce_max(tf.abs(y), event_axes(y), keepdims=True)
    size = largest * norm(tf.math.divide_no_nan(y, largest))  # squares may overflow
    step = 16 * np.finfo(y.dtype.as_numpy_dtype).eps
    return tf.squeeze(certified_error(step * size, one_per_example(lipschitz, y)), event_axes(y))


def guaranteed_iterations(lipschitz: float, initial_residual: float, tolerance: float) -> int:
    """Picard steps after which the certified error is at most `tolerance`, whatever g is.

    The least n with Lⁿ ‖r₀‖/(1 − L) ≤ tolerance (each step multiplies the residual by L or less),
    where `initial_residual` is ‖r₀‖ = ‖y − x₀ − g(x₀)‖, or ‖g(y)‖ when started at y. Raises a
    ValueError unless 0 ≤ L < 1, ‖r₀‖ is finite and tolerance > 0.
    """
    if not (0 <= lipschitz < 1 and 0 <= initial_residual < math.inf and tolerance > 0):
        raise ValueError(
            "Expected 0 <= lipschitz < 1, a finite initial_residual >= 0 and tolerance > 0. "
            f"Received: lipschitz={lipschitz}, initial_residual={initial_residual}, "
            f"tolerance={tolerance}. Nothing is guaranteed for a map that isn't a contraction."
        )
    error = initial_residual / (1 - lipschitz)
    if error <= tolerance:
        return 0
    if lipschitz == 0:
        return 1
    return math.ceil(math.log(tolerance / error) / math.log(lipschitz))


def _with_gradient(
    g: BoundFunction, value: tf.Tensor, y: tf.Tensor, variables: Sequence, settings: Settings
) -> tf.Tensor:
    """`value`, the known solution of x + g(x) = y, as a function of y and of g's tensors.

    The gradient calls this function again, for x and for u, which makes it differentiable in turn.
    """

    def pullback(u: tf.Tensor, x: tf.Tensor, g: BoundFunction) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            image = g(x)
        return tape.gradient(image, x, u, tf.UnconnectedGradients.ZERO)

    def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        x = _with_gradient(g, value, y, variables, settings)
        own = tf.nest.map_structure(tf.identity, g)  # one tensor may be listed twice
        tensors = tf.nest.flatten(own)
        with tf.GradientTape() as outer:
            outer.watch([t for t in tensors if t.dtype.is_floating])
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(x)
                point = tf.identity(x)
            image, transpose, _ = own.linearize(point)
        if inner.gradient(point, x) is None:
            raise NotImplementedError(
                "Expected reverse mode. Received: a ForwardAccumulator around solve <differentiate "
                "a tape.gradient by its output_gradients instead>"
            )
        u = _adjoint(transpose, upstream, settings)
        transposed = BoundFunction.of(pullback, x, g)
        u = _with_gradient(transposed, u, upstream, variables, settings)
        gradients = outer.gradient(image, [*tensors, *variables], -u)
        return u, *(None if d is None else tf.convert_to_tensor(d) for d in gradients)

    @tf.custom_gradient
    def solution(*inputs: tf.Tensor) -> tuple[tf.Tensor, Map]:
        return tf.identity(value), grad

    tensors = [tf.convert_to_tensor(t) for t in (*tf.nest.flatten(g), *variables)]
    return solution(y, *tensors)


def _adjoint(transpose: Map, upstream: tf.Tensor, settings: Settings) -> tf.Tensor:
    """u with u + Jᵀu = upstream, where `transpose` is u ↦ Jᵀu; NaN where that failed."""
    # Gradients may be tiny: solve for one of unit size, so that squares don't underflow.
    scale = tf.reduce_max(tf.abs(upstream), event_axes(upstream), keepdims=True)
    unit = tf.stop_gradient(tf.math.divide_no_nan(upstream, scale))
    floor = one_per_example(resolution(unit, settings.lipschitz), unit)
    relative = tf.minimum(settings.tolerance, GRADIENT_TOLERANCE)
    tolerance = tf.maximum(relative * norm(unit), floor)
    # The problem is linear: Newton's method would differentiate it for nothing.
    method = Anderson() if settings.method.products else settings.method
    settings = settings._replace(tolerance=tolerance, method=method)
    found = descend(transpose, unit, transpose(unit), settings)
    converged = one_per_example(found.converged, unit) > 0
    return tf.stop_gradient(tf.where(converged, scale * found.value, math.nan))


def _check(y: tf.Tensor, lipschitz: object, max_iterations: int, method: object) -> None:
    if not y.dtype.is_floating or y.shape.rank in (None, 0):
        raise ValueError(
            f"Expected y to be a floating-point tensor [batch, *event]. Received: {y.shape} "
            f"{y.dtype.name}. Add the batch axis or cast."
        )
    if not isinstance(method, Method) and method not in METHODS:
        expected = f"Expected method to be one of {sorted(METHODS)} or a Method."
        raise ValueError(f"{expected} Received: method={method!r}")
    if max_iterations < 1:
        raise ValueError(f"Expected max_iterations >= 1. Received: max_iterations={max_iterations}")
    if isinstance(lipschitz, (int, float, np.number)) and not 0 <= lipschitz < 1:
        raise ValueError(
            f"Expected 0 <= lipschitz < 1. Received: lipschitz={lipschitz} <x + g(x) need not be "
            "invertible: lower the coefficient of g's layers>"
        )
