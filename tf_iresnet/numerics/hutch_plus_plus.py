"""Hutch++ (Meyer et al., arXiv 2010.09649, algorithm 1): the trace of a function of a Jacobian."""

import math
from collections.abc import Callable

import tensorflow as tf

from tf_iresnet.numerics import krylov, probes
from tf_iresnet.numerics.log_functions import LogFunction
from tf_iresnet.numerics.products import Function


def trace(
    product: Function,
    x: tf.Tensor,
    count: int,
    steps: int,
    seed: tf.Tensor,
    function: LogFunction,
    lipschitz: float,
) -> tuple[tf.Tensor, Callable[[float], tf.Tensor]]:
    """`tr f(J)` from `3·count` probes an example.

    Args:
        product: `w ↦ Jᵀw` for `count` copies of the batch.
        x: `[batch, *event]`.
        count: columns of the sketch, and probes of what it leaves.
        steps: products for each.
        seed: int32 `[2]`.
        function: `f`.
        lipschitz: bound on `‖J‖₂`.

    Returns:
        The trace `[batch]`, and what bounds, given one on `‖J‖₂`, what it lacks for `steps`.
    """
    size = math.prod(x.shape[1:])
    count = min(count, size)
    steps = min(steps, size)
    seeds = probes.fold_in(seed, 0), probes.fold_in(seed, 1)

    def columns(flat: tf.Tensor) -> tf.Tensor:  # [count·batch, *event] → [batch, d, count]
        return tf.transpose(tf.reshape(flat, [count, -1, size]), [1, 2, 0])

    def rows(matrix: tf.Tensor) -> tf.Tensor:  # and back
        shape = tf.concat([[-1], tf.shape(x)[1:]], 0)
        return tf.reshape(tf.transpose(matrix, [2, 0, 1]), shape)

    def space(probe: tf.Tensor) -> krylov.KrylovSpace:
        return krylov.span(product, probe, steps, None, function, lipschitz)

    sketch = krylov.applied(space(probes.draw("gaussian", x, count, seeds[0])), function, lipschitz)
    basis, _ = tf.linalg.qr(columns(sketch))
    rest = columns(probes.draw("rademacher", x, count, seeds[1]))
    rest -= tf.matmul(basis, tf.matmul(basis, rest, transpose_a=True))
    spaces = space(rows(basis)), space(rows(rest))

    def combine(large: tf.Tensor, small: tf.Tensor) -> tf.Tensor:
        large, small = (tf.reshape(t, [count, -1]) for t in (large, small))
        return tf.reduce_sum(large, 0) + tf.reduce_mean(small, 0)

    return (
        combine(*(s.value for s in spaces)),
        lambda proven: combine(
            *(krylov.truncation(s, function, lipschitz, proven) for s in spaces)
        ),
    )
