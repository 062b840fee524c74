"""The matrix functions whose traces are log-determinants of the maps made from a contraction."""

import dataclasses
from typing import Any

import tensorflow as tf

SUMMED = 256  # terms of a tail that are added up; a geometric series bounds what follows


@dataclasses.dataclass(frozen=True)
class LogFunction:
    """`f(J) = Σ w·ln(I + sJ)` over pairs (weight `w`, sign `s = ±1`), so `tr f(J)` in nats.

    As series `f(J) = Σ_{k≥1} a_k Jᵏ`, and `d tr f(J) = tr(f′(J) dJ)`, `f′(J) = Σ_{k≥0} b_k Jᵏ`.
    """

    name: str
    terms: tuple[tuple[float, float], ...]

    def coefficient(self, k: int | tf.Tensor, dtype: tf.DType) -> Any:
        """`a_k = −Σ w·(−s)ᵏ/k`."""
        return -sum(w * _power(s, k, dtype) for w, s in self.terms) / tf.cast(k, dtype)

    def derivative_coefficient(self, k: int | tf.Tensor, dtype: tf.DType) -> Any:
        """`b_k = Σ w·s·(−s)ᵏ`."""
        return sum(w * s * _power(s, k, dtype) for w, s in self.terms)

    def tail(self, lipschitz: tf.Tensor, terms: int) -> tf.Tensor:
        """`Σ_{k>n} |a_k| L^(k−n)`: an upper bound, infinite for `L ≥ 1`.

        Times `Lⁿ` it bounds `‖f(J) − p(J)‖₂` for the first `n` terms `p` of the series, if
        `‖J‖₂ ≤ L`. That power is left to who asks: it may underflow where a product `Jⁿv` doesn't.

        Args:
            lipschitz: `L ≥ 0`, a scalar.
            terms: `n`.
        """
        powers = tf.range(1, SUMMED + 1, dtype=lipschitz.dtype)
        sizes = tf.abs(self.coefficient(tf.range(terms + 1, terms + SUMMED + 1), lipschitz.dtype))
        rest = sum(abs(w) for w, _ in self.terms) / (terms + SUMMED + 1)
        rest *= lipschitz ** (SUMMED + 1) / (1 - lipschitz)
        total = tf.reduce_sum(sizes * lipschitz**powers) + rest
        return tf.where(lipschitz < 1, total, float("inf"))


def _power(sign: float, k: int | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """`(−s)ᵏ`."""
    return 1.0 - 2.0 * tf.cast(k % 2, dtype) if sign > 0 else tf.ones(tf.shape(k), dtype)


# `y = x + g(x)`: the log-determinant of a residual block.
LOG1P = LogFunction("log1p", ((1.0, 1.0),))
# `y = (w − g(w))/√2` with `x = (w + g(w))/√2`: that of a monotone block, `−2 Σ_{k odd} tr(Jᵏ)/k`.
LOG_CAYLEY = LogFunction("log_cayley", ((1.0, -1.0), (-1.0, 1.0)))
