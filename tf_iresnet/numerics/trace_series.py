"""The power series of a log-determinant, and its gradient, from one set of products."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_iresnet.numerics.log_functions import LogFunction
from tf_iresnet.numerics.products import Function, inner

UNROLLED = 32  # terms up to which a loop isn't worth its overhead


def series(
    product: Function,
    probe: tf.Tensor,
    function: LogFunction,
    terms: int | tf.Tensor,
    weight: Callable[[Any], Any],
    maximum: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The first terms of `vᵀ f(J) v` for a probe `v`.

    With `w_k = (Jᵀ)ᵏ v` the value is `Σ_{k≥1} a_k c_k ⟨w_k, v⟩`. The gradient of `tr f(J)` is
    `tr(f′(J) dJ)`, whose series on the same products is `d⟨a, J v⟩` at `a = Σ_{k≥0} b_k c_k w_k`
    held constant.

    Args:
        product: `w ↦ Jᵀw`.
        probe: `v`, `[batch, *event]`.
        function: `f`, with the coefficients `a_k` and `b_k`.
        terms: how many; where a tensor, `maximum` bounds it.
        weight: `k ↦ c_k`.
        maximum: see `terms`.

    Returns:
        The value `[batch]`, `a` and the last `w`, both `[batch, *event]`.
    """

    def step(k, w, value, adjoint):
        w, scale = product(w), weight(k)
        value += scale * function.coefficient(k, w.dtype) * inner(w, probe)
        return k + 1, w, value, adjoint + scale * function.slope(k, w.dtype) * w

    value = tf.zeros_like(probe[(slice(None), *[0] * (probe.shape.rank - 1))])
    state = (tf.constant(1), probe, value, function.slope(0, probe.dtype) * probe)
    if isinstance(terms, int) and terms <= UNROLLED:
        for k in range(1, terms + 1):
            state = step(k, *state[1:])
    else:
        most = terms if isinstance(terms, int) else maximum
        state = tf.while_loop(lambda k, *_: k <= terms, step, state, maximum_iterations=most)
    _, last, value, adjoint = state
    return value, adjoint, last
