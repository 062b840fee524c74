"""Log-determinants from the Krylov space of a probe: every product counts for all powers.

`m` steps of Arnoldi's process on `Jᵀ` from `v` give orthonormal `V` and the Hessenberg matrix
`H = Vᵀ Jᵀ V`. The quadratic form `vᵀ f(J) v` is `‖v‖² e₁ᵀ f(H) e₁` (Saad, SIAM J. Numer. Anal. 29,
1992): exact for polynomials of degree `m`, as the series of `m` terms is, and the best of its kind
where `H` shows a spectrum that the series knows nothing of. Then `f(H)` is taken by quadrature of
resolvents,

    ln(I + sH) = ∫₀¹ (I − (I + stH)⁻¹)/t dt,

each by an elimination that a Hessenberg matrix needs only one number a column for. `I + stH` has a
positive definite symmetric part where `‖J‖₂ < 1`, so it needs no pivots.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics.log_functions import LogFunction
from tf_iresnet.numerics.products import Function, inner


class KrylovSpace(NamedTuple):
    """Arnoldi's decomposition of each example, in lists over its steps.

    Attributes:
      basis: `m + 1` orthonormal vectors `[batch, *event]`; zero where the space is exhausted.
      columns: of `H`: the k-th, `[k + 1, batch]`, goes down to its diagonal.
      below: the entries below the diagonal, `m` of `[batch]`.
      taken: `m` of booleans `[batch]`: whether the example took that step.
      norm: of the probe `[batch]`.
    """

    basis: list[tf.Tensor]
    columns: list[tf.Tensor]
    below: list[tf.Tensor]
    taken: list[tf.Tensor]
    norm: tf.Tensor


class Resolvent(NamedTuple):
    """Of `(I + τH)⁻¹ e₁` for each `τ`: its first entry less one, negated, and all entries."""

    deficit: tf.Tensor
    entries: list[tf.Tensor]


def start(probe: tf.Tensor) -> KrylovSpace:
    """The space of the probe alone."""
    norm = _norm(probe)
    return KrylovSpace([probe / _column(norm, probe)], [], [], [], norm)


def extend(space: KrylovSpace, product: Function, active: tf.Tensor | None = None) -> KrylovSpace:
    """One more dimension, by a product with the last basis vector.

    Where the product lies in the space already, up to round-off, the new vector is zero and
    everything that follows is exact (a happy breakdown).

    Args:
        space: what to extend.
        product: `w ↦ Jᵀw`.
        active: `[batch]`, the examples to do it for; the others get zeros, which change nothing.
    """
    w = product(space.basis[-1])
    if active is None:
        active = tf.ones_like(space.norm, tf.bool)
    else:
        w = tf.where(_column(active, w), w, tf.zeros_like(w))
    before = _norm(w)
    w, column = _project_out(space.basis, w)
    after = _norm(w)
    # Cancellation costs orthogonality in proportion; a second pass restores it (Giraud et al.,
    # Numer. Math. 101, 2005).
    w, column, after = tf.cond(
        tf.reduce_all(after >= 0.1 * before),
        lambda: (w, column, after),
        lambda: _again(space.basis, w, column),
    )
    left = after > 32 * np.finfo(w.dtype.as_numpy_dtype).eps * before
    zero = tf.zeros_like(after)
    scale = tf.where(left, 1 / tf.where(left, after, tf.ones_like(after)), zero)
    return space._replace(
        basis=[*space.basis, w * _column(scale, w)],
        columns=[*space.columns, column],
        below=[*space.below, tf.where(left, after, zero)],
        taken=[*space.taken, active],
    )


def span(
    product: Function,
    probe: tf.Tensor,
    steps: int,
    tolerance: float | None,
    function: LogFunction,
    lipschitz: float,
) -> KrylovSpace:
    """The space after a number of steps, or after which an example's value no longer changes.

    Args:
        product: `w ↦ Jᵀw`.
        probe: `v`, `[batch, *event]`.
        steps: how many, or how many at most if there is a tolerance.
        tolerance: on the change of `value` by each of the last two steps, nats: a single one may be
            small by chance. An example that met it takes no further steps, whatever the others of
            its batch do.
        function, lipschitz: as of `value`.
    """
    space = start(probe)
    if tolerance is None:
        for _ in range(steps):
            space = extend(space, product)
        return space

    def step(
        space: KrylovSpace, before: tf.Tensor, moved: tf.Tensor, active: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        space = extend(space, product, active)
        now = value(space, function, lipschitz)
        moves = tf.abs(now - before) > tolerance
        return space.basis[-1], space.columns[-1], space.below[-1], now, moves, moved | moves

    def skip(
        space: KrylovSpace, before: tf.Tensor, moved: tf.Tensor, active: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        zeros = tf.zeros_like(space.norm)
        column = tf.zeros([len(space.basis), tf.shape(zeros)[0]], zeros.dtype)
        return tf.zeros_like(space.basis[-1]), column, zeros, before, moved, active

    now, moved = tf.zeros_like(space.norm), tf.ones_like(space.norm, tf.bool)
    active = moved
    for _ in range(steps):
        state, took = (space, now, moved, active), active
        vector, column, below, now, moved, active = tf.cond(
            tf.reduce_any(active), functools.partial(step, *state), functools.partial(skip, *state)
        )
        space = space._replace(
            basis=[*space.basis, vector],
            columns=[*space.columns, column],
            below=[*space.below, below],
            taken=[*space.taken, took],
        )
    return space


def _project_out(basis: list[tf.Tensor], w: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`w` less its components along the basis, and these, `[k, batch]`."""
    parts = [inner(v, w) for v in basis]
    for v, part in zip(basis, parts, strict=True):
        w -= v * _column(part, w)
    return w, tf.stack(parts)


def _again(basis, w, column):
    w, more = _project_out(basis, w)
    return w, column + more, _norm(w)


def _norm(w: tf.Tensor) -> tf.Tensor:
    """`‖w‖` `[batch]`, whose derivative at zero is zero."""
    return tf.sqrt(tf.maximum(inner(w, w), np.finfo(w.dtype.as_numpy_dtype).tiny))


def _column(value: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """`[batch]` as `[batch, 1, …]`."""
    return tf.reshape(value, [-1, *[1] * (like.shape.rank - 1)])


def resolvent(space: KrylovSpace, tau: np.ndarray | list[float]) -> Resolvent:
    """`(I + τH)⁻¹ e₁` for each `τ`, `[len(τ), batch]`.

    Columns are eliminated from the last one on: each clears the entry below the diagonal of the one
    before. What is left is upper triangular, and the solution follows from its ratios alone.
    """
    dtype = space.norm.dtype
    tau = tf.constant(np.asarray(tau)[:, None], dtype)
    steps = len(space.columns)
    column = [tau * space.columns[k][:, None, :] for k in range(steps)]  # of τH
    ratios: list[tf.Tensor] = []
    for k in reversed(range(1, steps)):
        ratio = tau * space.below[k - 1] / (1 + column[k][k])
        column[k - 1] -= column[k][:k] * ratio
        ratios.insert(0, ratio)
    first = 1 / (1 + column[0][0])
    entries = [first]
    for ratio in ratios:
        entries.append(-entries[-1] * ratio)
    return Resolvent(column[0][0] * first, entries)


def value(space: KrylovSpace, function: LogFunction, lipschitz: float) -> tf.Tensor:
    """`‖v‖² e₁ᵀ f(H) e₁`, `[batch]`."""
    nodes, weights = _nodes(lipschitz, space.norm.dtype)
    total = tf.zeros_like(space.norm)
    for weight, sign in function.terms:
        deficit = resolvent(space, sign * nodes).deficit
        total += weight * tf.tensordot(tf.constant(weights / nodes, deficit.dtype), deficit, 1)
    return space.norm**2 * total


def adjoint(space: KrylovSpace, function: LogFunction) -> tf.Tensor:
    """`‖v‖ V f′(H) e₁ ≈ f′(Jᵀ) v`, `[batch, *event]`, in the basis that has one vector more.

    `H` gets a last row, what it has below its diagonal, which makes the result exact for `f′` of
    degree `m`, as the series' adjoint is, whatever the last column. For want of a product that
    would tell, that column is guessed (`_next_column`): exactly right for a symmetric tridiagonal
    `H` of constant diagonal, and next to nothing where entries above the diagonal are as random
    as they are for most Jacobians.
    """
    closed = space._replace(columns=[*space.columns, _next_column(space)])
    coordinates = [tf.zeros_like(space.norm) for _ in space.basis]
    for weight, sign in function.terms:
        entries = resolvent(closed, [sign]).entries
        coordinates = [c + weight * sign * e[0] for c, e in zip(coordinates, entries, strict=True)]
    return _combine(space, coordinates)


def _next_column(space: KrylovSpace) -> tf.Tensor:
    """A guess of the column of `H` after the last, `[m + 1, batch]`.

    Its diagonal is the last one; the entry above, the one below times how symmetric `H` has been.
    """
    last = space.columns[-1]
    pairs = list(zip(space.below[:-1], space.columns[1:], strict=True))
    zero = tf.zeros_like(space.norm)
    both = tf.add_n([zero, *(below * column[-2] for below, column in pairs)])
    size = tf.add_n([zero, *(below**2 for below, _ in pairs)])
    symmetry = tf.math.divide_no_nan(both, size)
    above = symmetry * space.below[-1]
    return tf.concat([tf.zeros_like(last[:-1]), above[tf.newaxis], last[-1:]], 0)


def applied(space: KrylovSpace, function: LogFunction, lipschitz: float) -> tf.Tensor:
    """`‖v‖ V f(H) e₁ ≈ f(Jᵀ) v`, `[batch, *event]`."""
    nodes, weights = _nodes(lipschitz, space.norm.dtype)
    coordinates = [tf.zeros_like(space.norm) for _ in space.columns]
    for weight, sign in function.terms:
        solved = resolvent(space, sign * nodes)
        scale = tf.constant(weight * weights / nodes, space.norm.dtype)
        entries = [solved.deficit, *(-e for e in solved.entries[1:])]
        coordinates = [
            c + tf.tensordot(scale, e, 1) for c, e in zip(coordinates, entries, strict=True)
        ]
    return _combine(space, coordinates)


def truncation(space: KrylovSpace, function: LogFunction, lipschitz: float) -> tf.Tensor:
    """Proven bound on `|vᵀ f(J) v − ‖v‖² e₁ᵀ f(H) e₁|`, `[batch]`, if `‖J‖₂ ≤ L < 1`.

    The residual of each resolvent is known, `β t |eₘᵀ(I+stH)⁻¹e₁|` times a unit vector, `β` the
    last entry below the diagonal; with `‖(I+stJ)⁻¹‖ ≤ 1/(1−tL)` the error of the value is at most

        ‖v‖² β ∫₀¹ |eₘᵀ (I + stH)⁻¹ e₁| / (1 − tL) dt.
    """
    if lipschitz >= 1.0:
        return tf.fill(tf.shape(space.norm), tf.constant(math.inf, space.norm.dtype))
    nodes, weights = _nodes(lipschitz, space.norm.dtype)
    scale = tf.constant(weights / (1 - nodes * lipschitz), space.norm.dtype)
    later = [*space.taken[1:], tf.zeros_like(space.taken[0])]
    total = tf.zeros_like(space.norm)
    for weight, sign in function.terms:
        entries = resolvent(space, sign * nodes).entries
        for entry, below, took, goes_on in zip(
            entries, space.below, space.taken, later, strict=True
        ):
            bound = abs(weight) * below * tf.tensordot(scale, tf.abs(entry), 1)
            total += tf.where(took & ~goes_on, bound, tf.zeros_like(bound))
    return space.norm**2 * total


def _combine(space: KrylovSpace, coordinates: list[tf.Tensor]) -> tf.Tensor:
    pairs = zip(space.basis, coordinates, strict=False)
    return tf.add_n([v * _column(space.norm * c, v) for v, c in pairs])


def _nodes(lipschitz: float, dtype: tf.DType) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1], as many as the dtype can tell from the integral.

    Gauss's rule in `s` with `t = 1 − s²`: the resolvent of an eigenvalue `−λ` has its pole at
    `t = 1/λ`, just beyond the end of the interval, and at `s = ±i√(1/λ − 1)`, much further off. The
    error shrinks like `ρ^(−2n)`, `ρ` the sum of semi-axes of the ellipse around [0, 1] through it.
    """
    gap = math.sqrt(1 / min(max(lipschitz, 0.1), 0.999) - 1)
    pole = complex(-1, 2 * gap)
    root = abs(pole + np.sqrt(pole * pole - 1)), abs(pole - np.sqrt(pole * pole - 1))
    eps = float(np.finfo(dtype.as_numpy_dtype).eps)
    count = max(4, math.ceil(-math.log(eps) / (2 * math.log(max(root)))))
    s, weights = np.polynomial.legendre.leggauss(count)
    s = (s + 1) / 2
    return 1 - s * s, weights * s  # dt = 2s ds, half of it from the shorter interval
