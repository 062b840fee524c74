"""The matrix functions whose traces are log-determinants of the maps made from a contraction."""

import dataclasses
import math
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class LogFunction:
    """`f(J) = Σ w·ln(I + sJ)` over pairs (weight `w`, sign `s = ±1`), so `tr f(J)` in nats.

    As series `f(J) = Σ_{k≥1} a_k Jᵏ`, and `d tr f(J) = tr(f′(J) dJ)`, `f′(J) = Σ_{k≥0} b_k Jᵏ`.
    """

    name: str
    terms: tuple[tuple[float, float], ...]

    def coefficient(self, k: int | tf.Tensor, dtype: tf.DType) -> Any:
        """`a_k = −Σ w·(−s)ᵏ/k`."""
        k = tf.convert_to_tensor(k)
        return -sum(w * _power(s, k, dtype) for w, s in self.terms) / tf.cast(k, dtype)

    def slope(self, k: int | tf.Tensor, dtype: tf.DType) -> Any:
        """`b_k = Σ w·s·(−s)ᵏ`."""
        k = tf.convert_to_tensor(k)
        return sum(w * s * _power(s, k, dtype) for w, s in self.terms)

    def tail(self, lipschitz: float, terms: int) -> float:
        """`Σ_{k>n} |a_k| Lᵏ`: what the series beyond its first `n` terms amounts to at most.

        Bounds `‖f(J) − p(J)‖₂` for its first `n` terms `p`, if `‖J‖₂ ≤ L`; infinite for `L ≥ 1`.
        """
        if lipschitz >= 1.0:
            return math.inf
        # From its first term: closed forms lose all digits where the sum is small.
        total, k = 0.0, terms + 1
        power = lipschitz**k
        while power > 0.0 and power / k > 1e-17 * total:
            total += abs(sum(w * (-s) ** k for w, s in self.terms)) * power / k
            k += 1
            power *= lipschitz
        return total


def _power(sign: float, k: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """`(−s)ᵏ`."""
    return 1.0 - 2.0 * tf.cast(k % 2, dtype) if sign > 0 else tf.ones([], dtype)


# `y = x + g(x)`: the log-determinant of a residual block.
LOG1P = LogFunction("log1p", ((1.0, 1.0),))
# `y = (w − g(w))/√2` with `x = (w + g(w))/√2`: that of a monotone block, `−2 Σ_{k odd} tr(Jᵏ)/k`.
LOG_CAYLEY = LogFunction("log_cayley", ((1.0, -1.0), (-1.0, 1.0)))
