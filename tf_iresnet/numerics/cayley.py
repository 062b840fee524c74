"""Perceptrons of Lipschitz constant 1 by construction, and the proof of it in float64.

A sandwich layer (Wang and Manchester, 2023, arXiv 2301.11526, section 3) maps
`h ↦ √2 Aᵀ Ψ σ(√2 Ψ⁻¹ B h + b)` with `A Aᵀ + B Bᵀ = I`, `Ψ = diag(exp(psi))` and a σ whose slopes
lie in [0, 1]. Neighbouring maps merge, which leaves an ordinary perceptron.

Functions take any number of leading axes, `*stack`, for separate perceptrons of one shape.
"""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics.differentiable_norms import in_full_products
from tf_iresnet.numerics.structures import at_least_float32

SLACK = 3e-5  # shortens links between hidden layers; at 1e-6 proofs of float32 weights fail
FLOOR = 1e-7  # least eigenvalue that the proof accepts; exact weights leave about 4 SLACK
CORRECTIONS = 2  # each squares the rounding of a badly conditioned inverse
LARGEST_SCALE = 1e3  # the corrections converge up to several thousand in float32


def orthonormal_rows(square: tf.Tensor, rest: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """`[A B]` of orthonormal rows, `A Aᵀ + B Bᵀ = I`: the Cayley transform of free parameters.

    Of U and V, `square` and `rest` over their common Frobenius norm times the scale:
    `Z = U − Uᵀ + VᵀV`, `Aᵀ = 2(I + Z)⁻¹ − I`, `Bᵀ = −2V(I + Z)⁻¹` (Wang and Manchester, section 3;
    Trockman and Kolter, 2021, arXiv 2104.07167). It is also the last map to n outputs from n + p
    units, and its transpose that to n + p from n.

    Args:
      square: `[*stack, n, n]`, of any size but the scale; zeros give `A = I`, `B = 0`.
      rest: `[*stack, p, n]`; p may be 0.
      scale: `[*stack]`, cut off at ±`LARGEST_SCALE`.

    Returns:
      `[*stack, n, n + p]` in the parameters' dtype (float32 for half precision); NaN for NaN, inf.
    """
    size = square.shape[-1]
    both = at_least_float32(tf.concat([square, rest], -2))
    dtype, both = both.dtype, in_full_products(both)
    # Squares of entries could overflow or vanish. The gradient doesn't need the peak's.
    peak = tf.stop_gradient(tf.reduce_max(tf.abs(both), [-2, -1], keepdims=True))
    both /= tf.where(peak > 0, peak, 1)
    squared = tf.reduce_sum(both**2, [-2, -1], keepdims=True)  # at least 1, or 0
    scale = tf.clip_by_value(tf.cast(scale, both.dtype), -LARGEST_SCALE, LARGEST_SCALE)
    both *= scale[..., None, None] / tf.sqrt(tf.maximum(squared, 0.25))
    u, v = both[..., :size, :], both[..., size:, :]
    identity = tf.eye(size, dtype=both.dtype)
    z = u - tf.linalg.matrix_transpose(u) + tf.matmul(v, v, transpose_a=True)
    # The symmetric part of I + Z is at least I, but the CPU's kernel raises an error for NaN.
    finite = tf.math.is_finite(tf.reduce_sum(z, [-2, -1], keepdims=True))
    inverse = tf.where(finite, tf.linalg.inv(identity + tf.where(finite, z, 0)), np.nan)
    columns = tf.concat([2 * inverse - identity, -2 * tf.matmul(v, inverse)], -2)
    # A large scale costs the inverse digits. Newton–Schulz steps to the nearest orthonormal columns
    # win them back (Higham, Functions of Matrices, chapter 8). In exact arithmetic they change
    # nothing, whatever the parameters, so they need no gradient.
    exact = tf.stop_gradient(columns)
    for _ in range(CORRECTIONS):
        gram = tf.matmul(exact, exact, transpose_a=True)
        exact += tf.matmul(exact, identity - gram) / 2
    columns += exact - tf.stop_gradient(columns)
    return tf.cast(tf.linalg.matrix_transpose(columns), dtype)


def merged_weights(
    hidden: Sequence, psis: Sequence[tf.Tensor], last: tf.Tensor, coefficient: float | tf.Tensor
) -> list[tf.Tensor]:
    """The matrices, for `x ↦ x W`, of the perceptron of sandwich layers and an orthonormal map.

    `W_1 = √2 B_1ᵀ Ψ_1⁻¹`, `W_{k+1} = 2(1 − SLACK) Ψ_k A_k B_{k+1}ᵀ Ψ_{k+1}⁻¹` and
    `W_out = √2 c Ψ_K A_K Qᵀ`. The perceptron's Lipschitz constant is at most c.

    Args:
      hidden: `[A_k B_k]` of each hidden layer, `[*stack, n_k, n_k + n_{k−1}]`.
      psis: `ln` of the diagonals of Ψ_k, `[*stack, n_k]`.
      last: Q, `[*stack, outputs, n_K]`, with orthonormal rows or columns.
      coefficient: c, `[]` or `[*stack]`.

    Returns:
      `[*stack, inputs, n_1]`, `[*stack, n_1, n_2]`, …, `[*stack, n_K, outputs]`.
    """
    # Without SLACK the proof's block of a layer can be just `2 B Bᵀ`, singular with more units than
    # inputs, and any rounding makes it indefinite. With it the block is at least `2 B Bᵀ + 4 SLACK
    # A Aᵀ`. Rounding of norm e in a link then takes `e/√(2 SLACK) + e²/(4 SLACK)` at most from the
    # block before it: less than the 4 SLACK there for any e up to 9e-7, and it doesn't add up.
    root, weights = 2**0.5, []
    link = root * (1 - SLACK)
    before: tf.Tensor | None = None
    for rows, psi in zip(hidden, psis, strict=True):
        a, b = rows[..., : rows.shape[-2]], rows[..., rows.shape[-2] :]
        into = root * tf.linalg.matrix_transpose(b) * tf.exp(-psi)[..., None, :]
        weights.append(into if before is None else _product(link * before, into))
        before = tf.exp(psi)[..., :, None] * a
    out = root * tf.cast(coefficient, last.dtype)[..., None, None] * before
    weights.append(_product(out, tf.linalg.matrix_transpose(last)))
    return weights


def _product(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.matmul(in_full_products(left), in_full_products(right)), left.dtype)


def lipschitz_bound(
    weights: Sequence, multipliers: Sequence, coefficient: float | np.ndarray = 1.0
) -> np.ndarray:
    """Proven bound on the Lipschitz constant of a perceptron whose slopes lie in [0, 1].

    For `W_outᵀ σ(… σ(W_1ᵀ x + b_1) …)`. LipSDP (Fazlyab et al., 2019, arXiv 1906.04893, theorem 2):
    L is a bound if `Σ_k 2 z_kᵀ Λ_k (z_k − W_kᵀ z_{k−1}) + L²‖z_0‖² − ‖W_outᵀ z_K‖² ≥ 0` for all z.
    The form is block tridiagonal, so eliminating z_K, …, z_1 gives the least such L. All rounding
    is allowed for: the bound is one on the exact numbers that are passed.

    Args:
      weights: as `merged_weights` returns them; any dtype, taken to float64.
      multipliers: the diagonals of Λ_k, positive, `[*stack, n_k]`; Ψ_k² for sandwich layers. A
        ValueError unless there is one per hidden layer.
      coefficient: positive, `[]` or `[*stack]`, near the bound to expect: others only loosen it.

    Returns:
      `[*stack]` in float64; infinite where nothing is proven or something isn't finite.
    """
    if len(weights) != len(multipliers) + 1:
        raise ValueError(
            "Expected one multiplier per hidden layer and one weight more. Received: "
            f"{len(multipliers)} multipliers and {len(weights)} weights."
        )
    matrices = [np.asarray(w, np.float64) for w in weights]
    diagonals = [np.asarray(m, np.float64) for m in multipliers]
    stack = matrices[0].shape[:-2]
    scales = np.broadcast_to(np.asarray(coefficient, np.float64), stack)
    bounds = np.full(stack, np.inf)
    for i in np.ndindex(stack):
        with suppress(np.linalg.LinAlgError), np.errstate(all="ignore"):
            each = [w[i] for w in matrices], [d[i] for d in diagonals]
            bounds[i] = _bound(*each, float(scales[i]))
    return bounds


def _bound(weights: list[np.ndarray], multipliers: list[np.ndarray], coefficient: float) -> float:
    # Any positive multipliers prove a bound: rounding their roots only makes another set.
    roots = [np.ones(len(weights[0])), *(np.sqrt(m) for m in multipliers)]
    scale = coefficient * (1 + SLACK)  # does for the last block what the links' SLACK does
    after = [*roots[1:], np.full(weights[-1].shape[1], 1 / np.float64(scale))]
    # With both sides divided by the roots, block k is 2 I less what eliminating block k + 1 takes.
    block = np.eye(weights[-1].shape[1])
    for root, weight, next_root in reversed(list(zip(roots, weights, after, strict=True))):
        eliminated = _eliminate(block, weight * next_root / root[:, None])
        block = 2 * np.eye(len(eliminated)) - eliminated
    rounded = 4 * len(eliminated) * np.finfo(float).eps * np.linalg.norm(eliminated)
    squared = np.linalg.eigvalsh(eliminated)[-1] + rounded
    bound = scale * np.sqrt(np.maximum(squared, 0)) * (1 + 1e-15)
    return bound if bound >= 0 else np.inf


def _eliminate(block: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A symmetric upper bound on `M P⁻¹ Mᵀ` in spite of rounding, for a block P and a matrix M.

    For `R = Mᵀ − P Y` with any Y close to `P⁻¹ Mᵀ`, it is `M Y + Yᵀ R + Rᵀ P⁻¹ R`. Raises a
    LinAlgError where P isn't proven positive definite or something isn't finite.
    """
    if not (np.isfinite(block).all() and np.isfinite(matrix).all()):
        raise np.linalg.LinAlgError("Expected finite numbers.")
    # Where this succeeds `P ⪰ FLOOR/2`: its rounding is at most n ε tr P (Rump, 2006, BIT 46, 433).
    np.linalg.cholesky(block - FLOOR * np.eye(len(block)))
    solved = np.linalg.solve(block, matrix.T)
    remainder = matrix.T - block @ solved
    bound = matrix @ solved + solved.T @ remainder
    # Inner products of n terms are accurate to n half epsilons times the norms of their factors,
    # and the entries of M to three. This is four times the sum of all such errors.
    unit = 2 * (len(block) + 8) * np.finfo(float).eps
    norm = np.linalg.norm(solved)
    error = unit * (np.linalg.norm(matrix) + np.linalg.norm(block) * norm)
    margin = error * norm + 2 * (np.linalg.norm(remainder) + error) ** 2 / FLOOR
    return (bound + bound.T) / 2 + margin * np.eye(len(bound))
