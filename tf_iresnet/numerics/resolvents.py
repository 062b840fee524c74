"""Logarithms of small Hessenberg matrices, by quadrature of their resolvents.

`ln(I + sH) = ∫₀¹ (I − (I + stH)⁻¹)/t dt`, where `I + stH` has a positive definite symmetric part if
`‖H‖₂ < 1`, so nothing needs a pivot.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics.log_functions import LogFunction


class Quadrature(NamedTuple):
    """Quadrature of the integrals of all terms of a function, `[T, 1]` each."""

    tau: tf.Tensor  # `±t`
    nodes: tf.Tensor  # `t`
    weights: tf.Tensor
    factor: tf.Tensor  # `f(H) ≈ Σ factor·(I − (I + τH)⁻¹)`

    @classmethod
    def of(cls, function: LogFunction, lipschitz: float, dtype: tf.DType) -> "Quadrature":
        t, weights = _nodes(lipschitz, dtype)
        terms = [(s * t, t, abs(w) * weights, w * weights / t) for w, s in function.terms]
        columns = (np.concatenate(column)[:, None] for column in zip(*terms, strict=True))
        return cls(*(tf.constant(column, dtype) for column in columns))


class Resolvents(NamedTuple):
    """What the next step of the process needs of `(I + τH)⁻¹` for each `τ`, `[T]`."""

    first: tf.Tensor  # row, `[T, batch, m]`
    last: tf.Tensor  # row, `[T, batch, m]`
    deficit: tf.Tensor  # one less the first entry, `[T, batch]`


def extended(
    old: Resolvents, column: tf.Tensor, below: tf.Tensor, new: tf.Tensor, tau: tf.Tensor
) -> Resolvents:
    """The resolvents of `H` with one column more, by its Schur complement.

    Args:
        old: those without it; zeros before the first step.
        column: of `H` down to the diagonal, `[batch, m]`.
        below: the entry below the diagonal of the column before, `[batch]`.
        new: the unit vector of the new index, `[m]`.
        tau: `τ`, `[T, 1]`.
    """
    diagonal = tau * tf.linalg.matvec(column, new)
    above = tau[:, :, tf.newaxis] * (column * (1 - new))
    left, under = tau * below, tf.reduce_sum(old.last * above, -1)
    complement = 1 + diagonal - left * under
    begins = new[0]
    of_first = (begins - tf.reduce_sum(old.first * above, -1)) / complement
    row = new - left[:, :, tf.newaxis] * old.last  # of the complement's side
    corner = old.last[:, :, 0] * left * of_first
    return Resolvents(
        old.first + of_first[:, :, tf.newaxis] * row,
        row / complement[:, :, tf.newaxis],
        old.deficit + corner + begins * diagonal / complement,
    )


def resolvent(hessenberg: tf.Tensor, tau: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`1 − x₁`, `[T, batch]`, and `x`, `[T, batch, m]`, of `x = (I + τH)⁻¹ e₁` for `τ`, `[T]`.

    Columns are eliminated from the last one on: each clears the entry below the diagonal of the one
    before. What is left is upper triangular, and the solution follows from its ratios alone.
    """
    tau = tau[:, tf.newaxis, tf.newaxis]
    size = hessenberg.shape[2]
    column = [tau * hessenberg[:, : k + 1, k] for k in range(size)]  # of τH
    ratios: list[tf.Tensor] = []
    for k in reversed(range(1, size)):
        below = tau[:, :, 0] * hessenberg[:, k, k - 1]
        ratio = below / (1 + column[k][:, :, k])
        column[k - 1] -= column[k][:, :, :k] * ratio[:, :, tf.newaxis]
        ratios.insert(0, ratio)
    entries = [1 / (1 + column[0][:, :, 0])]
    for ratio in ratios:
        entries.append(-entries[-1] * ratio)
    return column[0][:, :, 0] * entries[0], tf.stack(entries, 2)


def _nodes(lipschitz: float, dtype: tf.DType) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1], as many as the dtype can tell from the integral.

    Gauss's rule in `s` with `t = 1 − s²`: the resolvent of an eigenvalue `−λ` has its pole at
    `t = 1/λ`, just beyond the end of the interval, and at `s = ±i√(1/λ − 1)`, much further off. The
    error shrinks like `ρ^(−2n)`, `ρ` the sum of semi-axes of the ellipse around [0, 1] through it.
    """
    gap = math.sqrt(1 / min(max(lipschitz, 0.1), 1 - 1e-6) - 1)
    pole = complex(-1, 2 * gap)
    root = abs(pole + np.sqrt(pole * pole - 1)), abs(pole - np.sqrt(pole * pole - 1))
    eps = float(np.finfo(dtype.as_numpy_dtype).eps)
    count = max(4, math.ceil(-math.log(eps) / (2 * math.log(max(root)))))
    s, weights = np.polynomial.legendre.leggauss(count)
    s = (s + 1) / 2
    return 1 - s * s, weights * s  # dt = 2s ds, half of it from the shorter interval
