"""The leading singular vector of a map by conjugate directions: fewer products than passes."""

import tensorflow as tf

from tf_iresnet.numerics.linear_maps import LinearMap


def leading_direction(
    linear_map: LinearMap, start: tf.Tensor, growth: tf.Tensor, passes: tf.Tensor
) -> tf.Tensor:
    """Where `power_iteration` gets to from a vector, in about the square root of its passes.

    `‖Wv‖` is maximised over the plane of v and a direction that is conjugate to the last one, again
    and again (Polak and Ribière's; Knyazev, 2001, SIAM J. Sci. Comput. 23, calls it locally
    optimal). Without a gap below the largest singular value, as in training, a power iteration of
    25 passes takes 7 of these, of one product with W and one with Wᵀ each.

    Args:
        linear_map: unstacked, its kernel with a largest entry of about 1.
        start: one unit vector `[1, *output_shape]`.
        growth: the relative eigen-residual at which to stop, squared and halved.
        passes: most of them.

    Returns:
        A unit vector of the same shape: the start where the map is 0 or not finite.
    """
    inners, squares = linear_map.inners, linear_map.squares

    def at(v: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """`WᵀWv − ‖Wv‖²v`, and whether it is too long."""
        back, squared = linear_map.apply(image), squares(image)
        return back - squared * v, tf.reduce_any(
            linear_map.lengths(back) - squared > growth * squared
        )

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
        before, (residual, active) = residual, at(v, image)
        ratio = tf.math.divide_no_nan(inners(residual, residual - before), squares(before))
        direction = residual + tf.maximum(ratio, 0.0) * length * turned
        vectors = zip((v, image, residual, direction), shapes, strict=True)
        return count + 1, *(tf.ensure_shape(*pair) for pair in vectors), active

    image = linear_map.adjoint(start)
    residual, active = at(start, image)
    shapes = (start.shape, image.shape, start.shape, start.shape)
    _, v, image, residual, *_ = tf.while_loop(
        lambda count, *others: others[-1] & (count < passes),
        body,
        (1, start, image, residual, residual, active),
    )
    back = residual + squares(image) * v  # a pass that has been paid for
    length = linear_map.lengths(back)
    return tf.where(length > 0, back / length, start)
