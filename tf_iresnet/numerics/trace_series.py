"""The power series of a log-determinant, and its gradient, from one set of products."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_iresnet.numerics.bound_function import Function, inner
from tf_iresnet.numerics.log_functions import LogFunction

UNROLLED = 32  # terms up to which a loop isn't worth its overhead


class Series(NamedTuple):
    """The first terms of `vᵀ f(J) v` for a probe `v`, with `w_k = (Jᵀ)ᵏ v`.

    Attributes:
        value: `Σ_{k≥1} a_k c_k ⟨w_k, v⟩`, `[batch]`.
        first: `⟨w_1, v⟩`, `[batch]`.
        adjoint: `a = Σ_{k≥0} b_k c_k w_k`, `[batch, *event]`: the gradient of `tr f(J)`, which is
            `tr(f′(J) dJ)`, is that of `⟨a, J v⟩` with `a` held constant.
        last: the last `w_k`, `[batch, *event]`.
    """

    value: tf.Tensor
    first: tf.Tensor
    adjoint: tf.Tensor
    last: tf.Tensor


def series(
    product: Function,
    probe: tf.Tensor,
    function: LogFunction,
    terms: int | tf.Tensor,
    weight: Callable[[Any], Any],
    maximum: int | None = None,
) -> Series:
    """The first terms of the series.

    Args:
        product: `w ↦ Jᵀw`.
        probe: `v`, `[batch, *event]`.
        function: `f`, with the coefficients `a_k` and `b_k`.
        terms: number of terms, at least 1; for a tensor, `maximum` bounds it.
        weight: `k ↦ c_k`; `c_0` and `c_1` are 1.
        maximum: see `terms`.
    """

    def step(k, w, value, adjoint):
        w, scale = product(w), weight(k)
        value += scale * function.coefficient(k, w.dtype) * inner(w, probe)
        return k + 1, w, value, adjoint + scale * function.derivative_coefficient(k, w.dtype) * w

    w = product(probe)
    first = inner(w, probe)
    adjoint = function.derivative_coefficient(0, w.dtype) * probe
    adjoint += function.derivative_coefficient(1, w.dtype) * w
    state = (tf.constant(2), w, function.coefficient(1, w.dtype) * first, adjoint)
    if isinstance(terms, int) and terms <= UNROLLED:
        for k in range(2, terms + 1):
            state = step(k, *state[1:])
    else:
        most = terms if isinstance(terms, int) else maximum
        state = tf.while_loop(lambda k, *_: k <= terms, step, state, maximum_iterations=most)
    _, last, value, adjoint = state
    return Series(value, first, adjoint, last)
