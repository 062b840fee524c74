"""The power series of a log-determinant, and its gradient, from one set of products."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_iresnet.numerics.bound_function import Function, inner
from tf_iresnet.numerics.log_functions import LogFunction

UNROLLED = 32  # terms up to which a loop isn't worth its overhead


class Quadratic(NamedTuple):
    """An estimate of `vᵀ f(J) v` from products with a probe `v`.

    Attributes:
        value: `[batch]`.
        first: `vᵀ J v`, `[batch]`.
        adjoint: `a ≈ f′(Jᵀ) v`, `[batch, *event]`. The gradient of `tr f(J)`, which is
            `tr(f′(J) dJ)`, is that of `⟨a, J v⟩` with `a` held constant.
    """

    value: tf.Tensor
    first: tf.Tensor
    adjoint: tf.Tensor


def series(
    product: Function,
    probe: tf.Tensor,
    function: LogFunction,
    terms: int | tf.Tensor,
    weight: Callable[[Any], Any],
    maximum: int | None = None,
) -> tuple[Quadratic, tf.Tensor]:
    """The first `terms` ≥ 1 terms of the series, and the last product `(Jᵀ)ᵏ v`.

    They are `Σ_{k≥1} a_k c_k ⟨w_k, v⟩` with `w_k = (Jᵀ)ᵏ v`, and the adjoint `Σ_{k≥0} b_k c_k w_k`;
    `weight(k)` is `c_k`, of which `c_0` and `c_1` are 1. `product` is `w ↦ Jᵀw`, and `maximum`
    bounds `terms` where that is a tensor.
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
    return Quadratic(value, first, adjoint), last
