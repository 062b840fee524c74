"""The largest singular value of a kernel's operator: an estimate from below, a bound from above.

Power iteration is what training runs, a pass or two a step; its value never exceeds the norm.
The bound holds for every kernel and is what a certificate rests on.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics import gram
from tf_iresnet.numerics.operators import MATRIX, Operator

DEGREE = 24  # of the polynomial that looks for larger singular values
LEAD = 1e-3  # by which a rival has to be ahead to take over; a tenth of the usual tolerance
EXACT_UP_TO = 512  # smaller side up to which a float64 SVD costs well under a second


def power_iteration(
    kernel: tf.Tensor,
    vector: tf.Tensor,
    tolerance: float = 1e-2,
    max_iterations: int = 200,
    iterations: int | None = None,
    operator: Operator = MATRIX,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Estimates ‖kernel‖₂ from a stored right singular vector: `v ← WᵀWv/‖WᵀWv‖`, `σ̃ = ‖Wv‖`.

    Stops on the eigen-residual of a pass, `‖WᵀWv − s²v‖ ≤ tolerance·s²` with `s = ‖Wv‖`, which
    proves s within tolerance/2 of *a* singular value. Squared, it is twice the relative growth of
    s in half a pass, but it means the same for every size and spectrum, and growth does not: with
    no gap below the largest singular value (a random kernel, a trained one) the error after k
    passes falls like 1/k and the growth like 1/k². Cold starts on 128×128 Gaussian kernels: growth
    ≤ 1e-3 took 15 passes and left σ̃ up to 5.4 % low; this rule at 1e-2 took 39, 0.6 %; with twenty
    singular values between 0.97 and 1, at most 0.7 %. If nothing changed, one pass decides. No stop
    notices a larger singular value whose vector the start hardly contains (up to 4 % low, rarely):
    so start from `leading_vector` and certify with `upper_bound`.

    The gradient with respect to the kernel is `u vᵀ`, the vectors held constant (Miyato et al.,
    2018, arXiv 1802.05957, section 2.3); a zero kernel gives σ̃ = 0, gradient 0 and the old vector.

    Args:
      kernel: `[inputs, outputs]`, floating point, finite; any scale.
      vector: `[outputs]`, non-zero, of any length: where an earlier call got to.
      tolerance: relative, on σ̃. Rounding limits it to about the square root of the dtype's epsilon.
      max_iterations: at most so many passes, each one product with W and one with Wᵀ.
      iterations: exactly so many passes, whatever the residual (the papers' setting).
      operator: what the kernel stands for: a matrix, or a convolution, whose kernel is
        `[*kernel_size, inputs, outputs]` and whose vector is an image `[*output_size, outputs]`.

    Returns:
      σ̃, a scalar, and the unit vector it belongs to, which carries no gradient.

    Raises:
      ValueError: if `iterations` or `max_iterations` is negative.
    """
    passes = max_iterations if iterations is None else iterations
    if passes < 0:
        raise ValueError(
            f"Expected a number of passes >= 0. Received: {passes}. 0 changes nothing."
        )
    kernel, vector = _lift(kernel), _lift(vector)
    epsilon = np.finfo(kernel.dtype.as_numpy_dtype).eps
    growth = -1.0 if iterations is not None else max(tolerance**2 / 2, 2 * epsilon)
    start, growth = tf.cast(vector, kernel.dtype), tf.cast(growth, kernel.dtype)
    sigma, u, v = _apart(_iterate, operator, kernel, start, growth, passes)
    return operator.pairing(kernel, sigma, u, v), tf.reshape(v, tf.shape(vector))


def contest(
    kernel: tf.Tensor, vector: tf.Tensor, rival: tf.Tensor, operator: Operator = MATRIX
) -> tuple[tf.Tensor, tf.Tensor]:
    """Which of two vectors to start `power_iteration` from, and the rival for the next time.

    A vector that has long been the leading one contains next to nothing of another direction, which
    may then grow for tens of steps before passes find it. So a second one is kept apart: at a right
    angle to the first, one pass a call, it turns to the second largest singular value and takes
    over when that becomes the largest. (500 steps of a small flow at a rate of 1e-2: the norm was
    up to 24 % underestimated without it, half a percent with it.)

    Args:
      kernel: `[inputs, outputs]`, finite; any scale.
      vector: `[outputs]`, non-zero.
      rival: `[outputs]`.
      operator: as of `power_iteration`.

    Returns:
      `vector`, or `rival` if its image is larger by more than `LEAD`, and the other one after a
      pass; unit vectors without gradient. (Equal singular values, as of an orthogonal kernel, have
      a gradient each: rounding must not choose.)
    """
    kernel = tf.stop_gradient(_lift(kernel))
    kernel *= _scale(kernel)
    first, second = (operator.stack(tf.cast(t, kernel.dtype)) for t in (vector, rival))
    first = tf.math.divide_no_nan(first, _norm(first))
    second -= tf.reduce_sum(first * second) * first
    second = tf.math.divide_no_nan(second, _norm(second))
    images = operator.apply(kernel, tf.concat([first, second], operator.axis))
    of_first, of_second = tf.split(images, 2, operator.axis)
    better = _norm(of_second) > (1 + LEAD) * _norm(of_first)
    loser = tf.where(better, first, second)
    back = operator.adjoint(kernel, tf.where(better, of_first, of_second))
    length = _norm(back)
    loser = tf.where(length > 0, tf.math.divide_no_nan(back, length), loser)
    return tuple(
        tf.stop_gradient(tf.reshape(t, tf.shape(vector)))
        for t in (tf.where(better, second, first), loser)
    )


def leading_vector(
    kernel: tf.Tensor,
    vector: tf.Tensor,
    generic: tf.Tensor,
    rounds: int = 1,
    operator: Operator = MATRIX,
) -> tf.Tensor:
    """A start for `power_iteration` that misses no direction: `vector`, or a better one.

    `vector` shows that ‖kernel‖₂ ≥ s = ‖Wv‖ (or the root mean square of the singular values, if
    that is more). Chebyshev's polynomial T on [0, s²] stays within one up to s, and grows to
    cosh(48·√(2ε)) at (1 + ε)s for its degree of 24: to 37 for ε = 0.4 %. So `T(WᵀW)` makes a
    generic vector longer only if there is a larger singular value, and then turns it that way.
    Several are tried, since one may be as good as orthogonal to that very direction.

    Tried on kernels with and without gaps, of up to 512 on a side, from vectors of any singular
    value: power iteration from here ends at most 0.6 % low.

    Args:
      kernel: `[inputs, outputs]`, finite; any scale.
      vector: `[outputs]`, non-zero.
      generic: `[outputs, vectors]`, random.
      rounds: how often to do it, each time to the result of the last one, which comes closer.
      operator: a matrix, or a convolution with an image for a vector and
        `[vectors, *output_size, outputs]` for the generic ones.

    Returns:
      A unit vector of the shape of `vector`. No gradient.
    """
    kernel = _lift(kernel)
    vector, generic = (tf.cast(t, kernel.dtype) for t in (vector, generic))
    kernel, vector, generic = (tf.stop_gradient(t) for t in (kernel, vector, generic))
    if tf.executing_eagerly():  # in one piece: its many small operations would take ten times that
        specs = ((t.dtype, tuple(t.shape)) for t in (kernel, vector, generic))
        function = _traced(_lead, operator, *specs)
        for _ in range(rounds):
            vector = function(kernel, vector, generic)
    else:
        _, vector = tf.while_loop(
            lambda count, _: count < rounds,
            lambda count, vector: (count + 1, _lead(operator, kernel, vector, generic)),
            (0, vector),
        )
    return tf.stop_gradient(vector)


def upper_bound(kernel: np.ndarray | tf.Tensor, iterations: int = 10) -> float:
    """A number that is certainly ≥ ‖kernel‖₂, computed in float64.

    The largest singular value where the smaller side is at most `EXACT_UP_TO`, otherwise
    `gram.gram_iteration` (0.28 % high at worst for 1,024 on the smaller side), plus the rounding of
    either. Infinite for a kernel with an entry that isn't finite. For eager use.

    Args:
      kernel: `[inputs, outputs]`, of the dtype that the layer multiplies with.
      iterations: Gram iterations, where they are needed.

    Raises:
      ValueError: if `kernel` isn't a matrix.
    """
    matrix = np.asarray(kernel, np.float64)
    if matrix.ndim != 2:
        raise ValueError(
            f"Expected a kernel [inputs, outputs]. Received: shape={matrix.shape} <a convolution's "
            "kernel isn't its operator: reshaping it bounds nothing>"
        )
    if not np.all(np.isfinite(matrix)):
        return math.inf
    if matrix.size == 0:
        return 0.0
    if min(matrix.shape) > EXACT_UP_TO:
        epsilon = float(np.finfo(np.float64).eps)
        return float(gram.gram_iteration(tf.constant(matrix), iterations, epsilon))
    # LAPACK's backward error is a modest multiple of ε ‖W‖; this is a generous one.
    rounding = 4 * sum(matrix.shape) * np.finfo(np.float64).eps
    return float(np.linalg.svd(matrix, compute_uv=False)[0] * (1 + rounding))


def _apart(function: Callable, operator: Operator, *args: Any) -> Any:
    """Calls a function that holds a loop; the results carry no gradient."""
    args = tuple(tf.stop_gradient(tf.convert_to_tensor(arg)) for arg in args)
    if tf.executing_eagerly():
        # One trace for all kernels of a dtype: tracing a loop takes longer than running it.
        shapes = operator.traced_for == "shape"
        signature = (
            (arg.dtype, tuple(arg.shape) if shapes else (None,) * arg.shape.rank) for arg in args
        )
        return tf.nest.map_structure(
            tf.stop_gradient, _traced(function, operator, *signature)(*args)
        )
    # In a graph the loop stands by itself: XLA can't differentiate past a function that holds a
    # loop without a static bound, even where no gradient flows. Nor past a gradient of zeros:
    # hence a stop behind the loop, too.
    return tf.nest.map_structure(tf.stop_gradient, function(operator, *args))


@functools.lru_cache
def _traced(function: Callable, operator: Operator, *specs: tuple[tf.DType, tuple]) -> Callable:
    signature = [tf.TensorSpec(shape, dtype) for dtype, shape in specs]
    function = functools.partial(function, operator)
    return tf.function(function, input_signature=signature, autograph=False)


def _iterate(
    operator: Operator, kernel: tf.Tensor, vector: tf.Tensor, growth: tf.Tensor, passes: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    scale = _scale(kernel)

    def body(count: tf.Tensor, v: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image = operator.apply(kernel, v * scale)
        back = operator.adjoint(kernel, image * scale)
        squared, length = 2 * tf.nn.l2_loss(image), _norm(back)
        v = tf.where(length > 0, back / length, v)
        return count + 1, v, length - squared > growth * squared

    v = operator.stack(vector)
    v = tf.math.divide_no_nan(v, _norm(v))
    varying = tf.TensorShape([None, *v.shape[1:]])
    _, v, _ = tf.while_loop(
        lambda count, v, go_on: go_on & (count < passes),
        body,
        (0, v, True),
        shape_invariants=(tf.TensorShape([]), varying, tf.TensorShape([])),
    )
    image = operator.apply(kernel, v * scale)
    length = _norm(image)
    return length / scale, tf.math.divide_no_nan(image, length), v


def _lead(
    operator: Operator, kernel: tf.Tensor, vector: tf.Tensor, generic: tf.Tensor
) -> tf.Tensor:
    kernel, vector = kernel * _scale(kernel), vector / _norm(vector)
    square, start, vector = operator.squared(kernel, vector, generic)
    results, growth = _apart(_chebyshev, operator, square, start, DEGREE)
    growth = tf.reshape(growth, [-1])
    best = tf.argmax(growth)
    result = operator.chosen(kernel, results, best)
    # Eight times its length, at most an eighth of it is of directions that `vector` outdoes.
    return tf.where(growth[best] > 8, result / _norm(result), vector)


def _chebyshev(
    operator: Operator, square: tf.Tensor, start: tf.Tensor, degree: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """T_degree on [0, 1] of `AᵀA`, applied to each vector; how often its length each has got."""

    def body(count: tf.Tensor, before: tf.Tensor, now: tf.Tensor, growth: tf.Tensor) -> tuple:
        following = 4 * operator.multiply(square, now) - 2 * now - before
        step = tf.maximum(tf.ones_like(growth), operator.lengths(following))  # against overflow
        return count + 1, now / step, following / step, growth * step

    start = tf.math.divide_no_nan(start, operator.lengths(start))
    now = 2 * operator.multiply(square, start) - start
    state = (1, start, now, tf.ones_like(operator.lengths(start)))
    _, _, results, growth = tf.while_loop(lambda count, *_: count < degree, body, state)
    return results, growth


def _lift(value: tf.Tensor) -> tf.Tensor:
    value = tf.convert_to_tensor(value)
    return tf.cast(value, tf.float32) if value.dtype.size < 4 else value


def _scale(kernel: tf.Tensor) -> tf.Tensor:
    """One over the largest entry: without it, squares of entries overflow or vanish in float32."""
    tiny = np.finfo(kernel.dtype.as_numpy_dtype).tiny
    return 1 / tf.maximum(tf.reduce_max(tf.abs(kernel)), 4 * tiny)


def _norm(vector: tf.Tensor) -> tf.Tensor:
    """Euclidean norm of all entries (`l2_loss` is one operation; `tf.norm` is four)."""
    return tf.sqrt(2 * tf.nn.l2_loss(vector))


def singular_values(
    kernel: tf.Tensor, operator: Operator, vector_shape: tuple[int, ...]
) -> np.ndarray:
    """All singular values of an operator, from the largest, by the SVD of its dense matrix.

    Args:
      kernel: of the operator.
      operator: what it stands for.
      vector_shape: of a vector of the outputs' space. The matrix has as many columns as that has
        entries, and as many rows as the inputs have.
    """
    if operator == MATRIX:
        return np.linalg.svd(np.asarray(kernel), compute_uv=False)
    basis = tf.eye(math.prod(vector_shape), dtype=kernel.dtype)
    images = operator.apply(kernel, tf.reshape(basis, [-1, *vector_shape]))
    return np.linalg.svd(np.reshape(images, [len(images), -1]), compute_uv=False)
