"""The leading singular vectors of a map by conjugate directions: fewer products than passes."""

from typing import Any

import tensorflow as tf

from tf_iresnet.numerics.linear_maps import LinearMap
from tf_iresnet.numerics.map_functions import in_turn

OVERTAKE_MARGIN = 1e-3  # relative; a tenth of the usual tolerance


def ascend(linear_map: LinearMap, vector: tf.Tensor, growth: tf.Tensor, passes: tf.Tensor) -> Any:
    """What `power_iteration._iterate` returns, of convolutions, by conjugate directions."""

    def of_one(linear_map: LinearMap, vector: tf.Tensor) -> tuple[tf.Tensor, ...]:
        scaled, peak = _scaled(linear_map)
        start = linear_map.unit(vector[tf.newaxis])
        image = scaled.adjoint(start)
        pair = leading_pair(scaled, start, image, scaled.apply(image), growth, passes)
        return _unscaled(pair, peak)

    return in_turn(of_one, linear_map, vector, results=3)


def ascend_from_either(
    linear_map: LinearMap,
    vector: tf.Tensor,
    second: tf.Tensor,
    growth: tf.Tensor,
    passes: tf.Tensor,
) -> Any:
    """What `ascend` returns from the better of two vectors, and the second one for the next time.

    A product with W and one with Wᵀ serve both vectors, and are often all that is needed.
    """

    def of_one(
        linear_map: LinearMap, vector: tf.Tensor, second: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        scaled, peak = _scaled(linear_map)
        starts = orthogonal(linear_map, vector, second)
        images = scaled.adjoint(starts)
        backs = scaled.apply(images)
        first, other = zip(*(tf.split(t, 2) for t in (starts, images, backs)), strict=True)
        second_is_longer = overtaken(linear_map, images)
        pairs = list(zip(first, other, strict=True))
        best = [tf.where(second_is_longer, theirs, ours) for ours, theirs in pairs]
        loser, _, back = (tf.where(second_is_longer, ours, theirs) for ours, theirs in pairs)
        loser = tf.where(linear_map.lengths(back) > 0, linear_map.unit(back), loser)
        pair = leading_pair(scaled, best[0], best[1], best[2], growth, passes)
        return *_unscaled(pair, peak), tf.squeeze(loser, 0)

    return in_turn(of_one, linear_map, vector, second, results=4)


def orthogonal(linear_map: LinearMap, vector: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Unit vectors `[*stack, 2, …]`: the first one, and the second made orthogonal to it."""
    axis = linear_map.num_stacked
    first, second = linear_map.unit(tf.expand_dims(vector, axis)), tf.expand_dims(second, axis)
    second = linear_map.unit(second - linear_map.inners(first, second) * first)
    return tf.concat([first, second], axis)


def overtaken(linear_map: LinearMap, images: tf.Tensor) -> tf.Tensor:
    """Whether the second of two images `[*stack, 2, …]` is longer, bool `[*stack, 1, …]`."""
    of_first, of_second = tf.split(linear_map.lengths(images), 2, linear_map.num_stacked)
    return of_second > (1 + OVERTAKE_MARGIN) * of_first


def _scaled(linear_map: LinearMap) -> tuple[LinearMap, tf.Tensor]:
    """The map divided by the largest entry of its kernel, and that entry."""
    peak = linear_map.peak()
    return linear_map.with_kernel(linear_map.kernel / peak), peak


def _unscaled(pair: tuple[tf.Tensor, ...], peak: tf.Tensor) -> tuple[tf.Tensor, ...]:
    sigma, u, v = pair
    return tf.reshape(sigma, tf.shape(peak)) * peak, u, v


def leading_pair(
    linear_map: LinearMap,
    start: tf.Tensor,
    image: tf.Tensor,
    back: tf.Tensor,
    growth: tf.Tensor,
    passes: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where `power_iteration` gets to from a vector, in about the square root of its passes.

    `‖Wv‖` is maximised over the plane of v and a direction that is conjugate to the last one, again
    and again (Polak and Ribière's; Knyazev, 2001, SIAM J. Sci. Comput. 23, calls it locally
    optimal). Ten passes, of one product with W and one with Wᵀ each, get further than twenty of a
    power iteration where there is no gap below the largest singular value.

    Args:
        linear_map: unstacked, its kernel with a largest entry of about 1.
        start: one unit vector `[1, *output_shape]`.
        image: `W start`, `[1, *input_shape]`.
        back: `Wᵀ image`, `[1, *output_shape]`. If it is parallel enough to the start, this is all.
        growth: the relative eigen-residual at which to stop, squared and halved.
        passes: most of them.

    Returns:
        A norm `σ̃ = ⟨u, Wv⟩` `[1, 1, …]`, not above the largest, and the unit vectors u and v it
        belongs to; where the map is 0 or not finite, v is the start.
    """
    inners, squares = linear_map.inners, linear_map.squares

    def at(v: tf.Tensor, image: tf.Tensor, back: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """`WᵀWv − ‖Wv‖²v`, and whether it is too long."""
        squared = squares(image)
        excess = linear_map.lengths(back) - squared
        return back - squared * v, tf.reduce_any(excess > growth * squared)

    def body(count, v, image, residual, direction, active):
        direction -= inners(direction, v) * v
        length = linear_map.lengths(direction)
        w = tf.math.divide_no_nan(direction, length)
        along = linear_map.adjoint(w)
        # The angle between v and the leading eigenvector in the plane of v and w.
        angle = tf.atan2(2 * inners(residual, w), squares(image) - squares(along)) / 2
        cos, sin = tf.cos(angle), tf.sin(angle)
        image = cos * image + sin * along
        turned, v = cos * w - sin * v, cos * v + sin * w
        before, (residual, active) = residual, at(v, image, linear_map.apply(image))
        ratio = tf.math.divide_no_nan(inners(residual, residual - before), squares(before))
        direction = residual + tf.maximum(ratio, 0.0) * length * turned
        vectors = zip((v, image, residual, direction), shapes, strict=True)
        return count + 1, *(tf.ensure_shape(*pair) for pair in vectors), active

    residual, active = at(start, image, back)
    shapes = (start.shape, image.shape, start.shape, start.shape)
    _, v, image, residual, *_ = tf.while_loop(
        lambda count, *others: others[-1] & (count < passes),
        body,
        (1, start, image, residual, residual, active),
    )
    # The norm of Wᵀ at u, and the v that it leads to: a half pass that has been paid for.
    back = residual + squares(image) * v
    length, before = linear_map.lengths(back), linear_map.lengths(image)
    divide = tf.math.divide_no_nan
    return divide(length, before), divide(image, before), tf.where(length > 0, back / length, v)
