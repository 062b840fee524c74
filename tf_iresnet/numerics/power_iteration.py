"""The norm of a linear map by power iteration: an estimate from below that follows training.

A call costs a pass or two, and its value never exceeds the norm; `norms` bounds it from above. The
copies in a stack of maps don't depend on each other.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics.conjugate_directions import (
    ascend,
    ascend_from_either,
    orthogonal,
    overtaken,
)
from tf_iresnet.numerics.linear_maps import LinearMap, Matrix
from tf_iresnet.numerics.map_functions import as_one_graph, in_turn
from tf_iresnet.numerics.structures import at_least_float32

SINGLE = 1  # passes on matrices one by one, which are enough for most steps of training


def power_iteration(
    linear_map: LinearMap,
    vector: tf.Tensor,
    tolerance: float = 1e-2,
    max_iterations: int = 100,
    iterations: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Estimates ‖W‖₂ from a stored right singular vector: `v ← WᵀWv/‖WᵀWv‖`, `σ̃ = ‖Wv‖`.

    Stops on the eigen-residual of a pass, `‖WᵀWv − s²v‖ ≤ tolerance·s²` with `s = ‖Wv‖`, which
    proves s within tolerance/2 of *a* singular value, whatever the size and spectrum. The growth of
    s would not do: without a gap below the largest singular value (a random kernel, a trained one)
    the error after k passes falls like 1/k, the growth like 1/k². Cold starts on 128×128 Gaussian
    kernels were up to 5.4 % low by growth ≤ 1e-3, by this rule at 1e-2 0.6 %. No rule notices a
    larger singular value whose vector the start hardly contains (up to 4 % low, rarely): so start
    from `vector_search.leading_vector` and certify with `norms.upper_bound`. Convolutions, whose
    passes cost most, take fewer of them (`conjugate_directions`), with the same stop.

    The gradient with respect to the kernel is `u vᵀ`, the vectors held constant (Miyato et al.,
    2018, arXiv 1802.05957, section 2.3); a zero kernel gives σ̃ = 0, gradient 0 and the old vector.

    Args:
        linear_map: kernel floating point, finite; any scale.
        vector: `[*stack, *output_shape]`, non-zero, of any length: where an earlier call got to.
        tolerance: relative, on σ̃; not below the square root of the dtype's epsilon.
        max_iterations: cap on the passes, each a product with W and one with Wᵀ.
        iterations: exactly so many passes, whatever the residual (the papers' setting).

    Returns:
        σ̃, `[*stack]`, and the unit vectors it belongs to, which carry no gradient. A ValueError
        for a negative number of passes.
    """
    passes = max_iterations if iterations is None else iterations
    if passes < 0:
        raise ValueError(f"Expected a number of passes >= 0. Received: {passes}. Raise it.")
    linear_map = lifted(linear_map)
    dtype = linear_map.kernel.dtype
    growth = tf.constant(-1.0, dtype) if iterations is not None else _growth(tolerance, dtype)
    of_images = iterations is None and not isinstance(linear_map, Matrix)
    search = ascend if of_images else _iterate
    sigma, u, v = without_gradient(search, linear_map, tf.cast(vector, dtype), growth, passes)
    sigma = _with_gradient(linear_map, sigma, u, v)
    return sigma, tf.squeeze(v, linear_map.num_stacked)


def follow(
    linear_map: LinearMap,
    vector: tf.Tensor,
    second_vector: tf.Tensor,
    tolerance: float = 1e-2,
    max_iterations: int = 100,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns `σ̃` and both new vectors of `swap_if_overtaken`, then `power_iteration`."""
    if isinstance(linear_map, Matrix):
        vector, second = swap_if_overtaken(linear_map, vector, second_vector)
        return *power_iteration(linear_map, vector, tolerance, max_iterations), second
    linear_map = lifted(linear_map)
    dtype = linear_map.kernel.dtype
    starts = (tf.cast(t, dtype) for t in (vector, second_vector))
    sigma, u, v, second = without_gradient(
        ascend_from_either, linear_map, *starts, _growth(tolerance, dtype), max_iterations
    )
    sigma = _with_gradient(linear_map, sigma, u, v)
    return sigma, tf.squeeze(v, linear_map.num_stacked), second


def swap_if_overtaken(
    linear_map: LinearMap, vector: tf.Tensor, second_vector: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Which of two vectors to start `power_iteration` from, and the second one for the next time.

    A vector that has long been the leading one contains next to nothing of another direction, which
    may then grow for tens of steps before passes find it. So a second one is kept: orthogonal to
    the first, with one pass per call, it turns to the second largest singular value and takes over
    when that becomes the largest. (500 steps of a small flow at a rate of 1e-2: the norm was up to
    24 % underestimated without it, half a percent with it.)

    The kernel is finite, of any scale; the vectors `[*stack, *output_shape]` are non-zero.

    Returns:
        `vector`, or `second_vector` if its image is larger by more than the `OVERTAKE_MARGIN` of
        `conjugate_directions`, and the other one after a pass; unit vectors without gradient.
        (Equal singular values, as of an orthogonal kernel, have a gradient each: rounding must not
        choose.)
    """
    linear_map = tf.nest.map_structure(tf.stop_gradient, lifted(linear_map))
    dtype = linear_map.kernel.dtype
    vectors = (tf.stop_gradient(tf.cast(t, dtype)) for t in (vector, second_vector))
    return in_turn(_swapped, linear_map, *vectors, results=2)


def unchanged(
    linear_map: LinearMap,
    stored_vector: tf.Tensor,
    stored_sketch: tf.Tensor,
    sketch: tf.Tensor,
    tolerance: float,
) -> tf.Tensor:
    """Whether the kernel is nearly the one that `stored_vector` was stored for, bool `[*stack]`.

    A vector from before the weights changed may be as good as orthogonal to the direction that
    grew, and no residual would tell. Two sketches tell: their difference is an unbiased estimate of
    ‖ΔW‖² in the Frobenius norm. The norm can't change by more than ‖ΔW‖, that of an operator whose
    kernel has many taps by more than √taps ‖ΔW‖. Divided by the largest entry, nothing overflows.

    Args:
        linear_map: with the kernel as it is.
        stored_vector: `[*stack, *output_shape]`, of length 1, of the kernel as it was.
        stored_sketch, sketch: `probes.kernel_sketch` of either kernel.
        tolerance: change of the norm to allow, relative to the stored vector's image.
    """
    linear_map = tf.nest.map_structure(tf.stop_gradient, lifted(linear_map))
    dtype = linear_map.kernel.dtype
    difference = tf.cast(sketch, dtype) - tf.cast(stored_sketch, dtype)
    difference /= linear_map.peak(keepdims=True)
    axes = range(linear_map.num_stacked, difference.shape.rank)
    taps = np.prod(linear_map.kernel_size, dtype=np.int64)
    change = tf.reduce_sum(tf.square(difference), axes) * (taps / difference.shape[-1])
    image = in_turn(_image_length, linear_map, tf.cast(stored_vector, dtype))
    return tf.stop_gradient(change <= (tolerance * image) ** 2)


def _iterate(linear_map: LinearMap, vector: tf.Tensor, growth: tf.Tensor, passes: tf.Tensor) -> Any:
    """`σ̃`, `u` and `v`, these with an axis of length 1 after the stack's."""
    iterate = functools.partial(_iterate_together, growth=growth, passes=passes)
    return in_turn(iterate, linear_map, vector, results=3)


def _iterate_together(
    linear_map: LinearMap, vector: tf.Tensor, growth: tf.Tensor, passes: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    peak = linear_map.peak()
    scale = 1 / peak[..., None, None]
    start = linear_map.unit(tf.expand_dims(vector, linear_map.num_stacked))

    def one_pass(v: tf.Tensor, active: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = linear_map.adjoint(v * scale)
        back = linear_map.apply(image * scale)
        squared, length = linear_map.squares(image), linear_map.lengths(back)
        v = tf.where(active & (length > 0), back / length, v)
        active &= length - squared > growth * squared
        return tf.ensure_shape(v, start.shape), tf.ensure_shape(active, all_active.shape)

    of_matrices = isinstance(linear_map, Matrix)
    all_active = tf.ones_like(linear_map.squares(start), tf.bool)
    # The papers' fixed number of passes (growth < 0) is taken one by one.
    single = tf.where(growth < 0, passes, tf.minimum(passes, SINGLE)) if of_matrices else passes
    state = tf.while_loop(
        lambda count, _, active: tf.reduce_any(active) & (count < single),
        lambda count, v, active: (count + 1, *one_pass(v, active)),
        (0, start, all_active),
    )
    if of_matrices:
        state = _by_squaring(linear_map.kernel * scale, one_pass, state, passes)
    v = state[1]
    image = linear_map.adjoint(v * scale)
    length = linear_map.lengths(image)
    return tf.reshape(length, tf.shape(peak)) * peak, tf.math.divide_no_nan(image, length), v


def _by_squaring(kernel: tf.Tensor, one_pass: Callable, state: tuple, passes: tf.Tensor) -> tuple:
    """Goes on from (count, v, active), by 2, 4, 8, … passes at once and one that judges the result.

    A stack waits for the copy that takes most passes; so they are only logarithmic in its number.
    """

    def body(count, v, active, power, n):
        power = tf.cond(n > 1, lambda: power, lambda: tf.matmul(kernel, kernel, transpose_a=True))
        power = tf.matmul(power, power)
        power /= tf.maximum(tf.reduce_max(tf.abs(power), [-2, -1], keepdims=True), tiny)
        ahead = tf.matmul(v, power)
        length = tf.norm(ahead, axis=-1, keepdims=True)
        ahead = tf.where(active & (length > 0), tf.math.divide_no_nan(ahead, length), v)
        v, active = one_pass(ahead, active)
        return count + 2 * n + 1, v, active, tf.ensure_shape(power, shape), 2 * n

    none_yet = tf.matmul(state[1], state[1], transpose_a=True)
    shape, tiny = none_yet.shape, np.finfo(kernel.dtype.as_numpy_dtype).tiny
    return tf.while_loop(
        lambda count, v, active, *_: tf.reduce_any(active) & (count < passes),
        body,
        (*state, none_yet, 1),
    )


def _with_gradient(
    linear_map: LinearMap, sigma: tf.Tensor, u: tf.Tensor, v: tf.Tensor
) -> tf.Tensor:
    """`sigma = ⟨u, W v⟩` with its gradient in the kernel; u and v are constants."""

    @tf.custom_gradient
    def norm(_: tf.Tensor) -> Any:
        def grad(upstream: tf.Tensor) -> tf.Tensor:
            ones = [1] * (u.shape.rank - linear_map.num_stacked)
            upstream = tf.reshape(upstream, [*linear_map.stack, *ones])
            return in_turn(lambda one, *uv: one.kernel_gradient(*uv), linear_map, upstream * u, v)

        return tf.identity(sigma), grad

    return norm(linear_map.kernel)


def _swapped(linear_map: LinearMap, vector: tf.Tensor, second: tf.Tensor) -> tuple:
    axis = linear_map.num_stacked
    scale = 1 / linear_map.peak()[..., None, None]
    starts = orthogonal(linear_map, vector, second)
    images = linear_map.adjoint(starts * scale)
    second_is_longer = overtaken(linear_map, images)
    first, second = tf.split(starts, 2, axis)
    loser = tf.where(second_is_longer, first, second)
    back = linear_map.apply(tf.where(second_is_longer, *tf.split(images, 2, axis)) * scale)
    loser = tf.where(linear_map.lengths(back) > 0, linear_map.unit(back), loser)
    return tf.squeeze(tf.where(second_is_longer, second, first), axis), tf.squeeze(loser, axis)


def _growth(tolerance: float, dtype: tf.DType) -> tf.Tensor:
    """The eigen-residual of that tolerance, squared and halved, if rounding lets it be reached."""
    return tf.constant(max(tolerance**2 / 2, 2 * np.finfo(dtype.as_numpy_dtype).eps), dtype)


def _image_length(linear_map: LinearMap, vector: tf.Tensor) -> tf.Tensor:
    """The length of the vector's image relative to the kernel's largest entry."""
    peak = linear_map.peak()
    vector = tf.expand_dims(vector, linear_map.num_stacked) / peak[..., None, None]
    return tf.reshape(linear_map.lengths(linear_map.adjoint(vector)), tf.shape(peak))


def without_gradient(function: Any, linear_map: LinearMap, *tensors: Any) -> Any:
    """Calls a function that holds a loop; the results carry no gradient.

    XLA can't differentiate past a loop without a static bound, even where no gradient flows, nor
    past a gradient of zeros: hence a stop before the loop and one behind it.
    """
    linear_map = tf.nest.map_structure(tf.stop_gradient, linear_map)
    constants = (tf.stop_gradient(tf.convert_to_tensor(t)) for t in tensors)
    return tf.nest.map_structure(tf.stop_gradient, as_one_graph(function, linear_map, *constants))


def lifted(linear_map: LinearMap) -> LinearMap:
    return linear_map.with_kernel(at_least_float32(linear_map.kernel))
