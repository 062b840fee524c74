"""Log-determinants from the Krylov space of a probe.

`m` steps of Arnoldi's process on `Jᵀ` from `v` give orthonormal `V` and the Hessenberg matrix
`H = Vᵀ Jᵀ V`. The quadratic form `vᵀ f(J) v` is `‖v‖² e₁ᵀ f(H) e₁` (Saad, SIAM J. Numer. Anal. 29,
1992): exact for polynomials of degree `m`, as the series of `m` terms is, and the best of its kind
where `H` shows a spectrum that the series knows nothing of. `resolvents` says what `f(H)` is.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics.bound_function import Function, inner
from tf_iresnet.numerics.log_functions import LogFunction
from tf_iresnet.numerics.resolvents import Quadrature, Resolvents, extended, resolvent

UNROLLED = 8  # steps up to which a loop isn't worth its overhead


class KrylovSpace(NamedTuple):
    """Arnoldi's decomposition of each example after at most `m` steps."""

    basis: tf.Tensor  # orthonormal rows `[batch, m + 1, d]`; zero where the space is exhausted
    hessenberg: tf.Tensor  # `H` and one row more, `[batch, m + 1, m]`
    norm: tf.Tensor  # `‖v‖`, `[batch]`
    value: tf.Tensor  # `‖v‖² e₁ᵀ f(H) e₁`, `[batch]`
    # `β |eₘᵀ (I + τH)⁻¹ e₁|` for each `τ`, `[T, batch]`, after the last step that the example took;
    # `β` is the entry below the diagonal there.
    tail: tf.Tensor
    steps: tf.Tensor  # number of them that the example took, int32 `[batch]`


def span(
    product: Function,
    probe: tf.Tensor,
    steps: int,
    tolerance: float | None,
    function: LogFunction,
    lipschitz: float,
) -> KrylovSpace:
    """The space after `steps` steps, or when an example's value no longer changes.

    Where a product lies in the space already, up to round-off, the next vector is zero and
    everything that follows is exact (a happy breakdown).

    Args:
        product, probe, function: `w ↦ Jᵀw`; `v`, `[batch, *event]`; `f`.
        steps: number of steps, or their maximum if there is a tolerance.
        tolerance: nats, on the change of the value by each of the last two steps: a single one may
            be small by chance. An example that met it takes no further step, whatever others do.
        lipschitz: bound on `‖J‖₂`, for the quadrature.
    """
    size = math.prod(probe.shape[1:])
    shape = tf.concat([[-1], tf.shape(probe)[1:]], 0)

    def image(vector: tf.Tensor) -> tf.Tensor:
        rows = tf.reshape(product(tf.reshape(vector, shape)), [-1, size])
        return tf.ensure_shape(rows, vector.shape)

    norm = _norm(probe)
    start = tf.reshape(probe, [-1, size]) / norm[:, tf.newaxis]
    quadrature = Quadrature.of(function, lipschitz, probe.dtype)
    if tolerance is None and steps <= UNROLLED:
        return _fixed(image, start, norm, steps, quadrature)
    return _adaptive(image, start, norm, steps, tolerance or 0.0, quadrature)


def _fixed(
    image: Function, start: tf.Tensor, norm: tf.Tensor, steps: int, quadrature: Quadrature
) -> KrylovSpace:
    """A few steps, unrolled."""
    vectors, columns = [start], []
    for k in range(steps):
        w, column, following = _orthogonalised(tf.stack(vectors, 1), image(vectors[-1]))
        vectors.append(w)
        column = tf.concat([column, following[:, tf.newaxis]], 1)
        columns.append(tf.pad(column, [[0, 0], [0, steps - 1 - k]]))
    hessenberg = tf.stack(columns, 2)
    deficit, entries = resolvent(hessenberg[:, :-1], quadrature.tau[:, 0])
    return KrylovSpace(
        tf.stack(vectors, 1),
        hessenberg,
        norm,
        norm**2 * tf.reduce_sum(quadrature.factor * deficit, 0),
        hessenberg[:, -1, -1] * tf.abs(entries[:, :, -1]),
        tf.fill(tf.shape(norm), steps),
    )


def _adaptive(
    image: Function,
    start: tf.Tensor,
    norm: tf.Tensor,
    steps: int,
    tolerance: float,
    quadrature: Quadrature,
) -> KrylovSpace:
    """A loop that looks at the value after each step."""
    # Basis and matrix have their final size from the start and are filled by additions, which keeps
    # shapes static and gradients simple.

    def row(index: int | tf.Tensor, length: int) -> tf.Tensor:
        return tf.one_hot(index, length, dtype=start.dtype)

    def step(k, active, moved, vector, space, below, resolvents):
        w = tf.where(active[:, tf.newaxis], image(vector), tf.zeros_like(vector))
        w, column, following = _orthogonalised(space.basis, w)
        resolvents = extended(resolvents, column[:, :steps], below, row(k, steps), quadrature.tau)
        change = norm**2 * tf.reduce_sum(quadrature.factor * resolvents.deficit, 0) - space.value
        tail = following * tf.abs(resolvents.last[:, :, 0])
        column += following[:, tf.newaxis] * row(k + 1, steps + 1)
        space = KrylovSpace(
            space.basis + row(k + 1, steps + 1)[:, tf.newaxis] * w[:, tf.newaxis],
            space.hessenberg + column[:, :, tf.newaxis] * row(k, steps),
            norm,
            tf.where(active, space.value + change, space.value),
            tf.where(active, tail, space.tail),
            space.steps + tf.cast(active, tf.int32),
        )
        moves = tf.abs(change) > tolerance
        return k + 1, active & (moves | moved), moves, w, space, following, resolvents

    zero = tf.zeros_like(norm)
    everywhere = tf.ones_like(zero, tf.bool)
    tail = tf.zeros_like(quadrature.tau * zero)
    blank = tail[:, :, tf.newaxis] * tf.zeros([steps], zero.dtype)
    basis = row(0, steps + 1)[:, tf.newaxis] * start[:, tf.newaxis]
    hessenberg = zero[:, tf.newaxis, tf.newaxis] * tf.zeros([steps + 1, steps], zero.dtype)
    space = KrylovSpace(basis, hessenberg, norm, zero, tail, tf.zeros_like(zero, tf.int32))
    state = (tf.constant(0), everywhere, everywhere, start, space, zero)
    return tf.while_loop(
        lambda k, active, *_: (k < steps) & tf.reduce_any(active),
        step,
        (*state, Resolvents(blank, blank, tail)),
        maximum_iterations=steps,
    )[4]


def _orthogonalised(basis: tf.Tensor, w: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The direction of `w` orthogonal to the basis, its components along that, its length."""

    def once(w, column):
        parts = tf.reduce_sum(basis * w[:, tf.newaxis], 2)
        w -= tf.reduce_sum(basis * parts[:, :, tf.newaxis], 1)
        return w, column + parts, _norm(w)

    # Cancellation costs orthogonality in proportion; a second pass restores it (Giraud et al.,
    # Numer. Math. 101, 2005).
    before = _norm(w)
    w, column, after = once(w, tf.zeros_like(basis[:, :, 0]))
    enough = tf.reduce_all(after >= 0.1 * before)
    w, column, after = tf.cond(enough, lambda: (w, column, after), lambda: once(w, column))
    left = after > 32 * np.finfo(w.dtype.as_numpy_dtype).eps * before
    after = tf.where(left, after, tf.ones_like(after))
    w = tf.where(left[:, tf.newaxis], w / after[:, tf.newaxis], tf.zeros_like(w))
    return w, column, tf.where(left, after, tf.zeros_like(after))


def _norm(w: tf.Tensor) -> tf.Tensor:
    """`‖w‖` `[batch]`, whose derivative at zero is zero."""
    return tf.sqrt(tf.maximum(inner(w, w), np.finfo(w.dtype.as_numpy_dtype).tiny))


def adjoint(space: KrylovSpace, function: LogFunction) -> tf.Tensor:
    """`‖v‖ V f′(H) e₁ ≈ f′(Jᵀ) v`, `[batch, d]`, in the basis of `m + 1` vectors.

    `H` gets the row below it, which makes the result exact for `f′` of degree `m`, as the series'
    adjoint is, whatever its last column. No product tells that column, so it is a guess: exact for
    a symmetric tridiagonal `H` of constant diagonal, and next to nothing where entries above the
    diagonal are as random as they are for most Jacobians.
    """
    closed = tf.concat([space.hessenberg, _next_column(space)[:, :, tf.newaxis]], 2)
    coordinates = tf.zeros_like(closed[:, 0])
    for weight, sign in function.terms:
        coordinates += weight * sign * resolvent(closed, tf.constant([sign], closed.dtype))[1][0]
    coordinates *= space.norm[:, tf.newaxis]
    return tf.linalg.matvec(space.basis, coordinates, transpose_a=True)


def _next_column(space: KrylovSpace) -> tf.Tensor:
    """A guess of the column of `H` after the last, `[batch, m + 1]`.

    Its diagonal is the last one; the entry above, the one below times how symmetric `H` has been.
    """
    square = space.hessenberg[:, :-1]
    mask = tf.constant(np.eye(square.shape[1], k=-1), square.dtype)
    below, above = square * mask, tf.linalg.matrix_transpose(square) * mask
    overlap, size = tf.reduce_sum(below * above, [1, 2]), tf.reduce_sum(tf.square(below), [1, 2])
    symmetry = tf.math.divide_no_nan(overlap, size)
    ends = tf.stack([symmetry * space.hessenberg[:, -1, -1], square[:, -1, -1]], 1)
    return tf.pad(ends, [[0, 0], [square.shape[1] - 1, 0]])


def truncation(
    space: KrylovSpace, function: LogFunction, lipschitz: float, proven: tf.Tensor
) -> tf.Tensor:
    """Proven bound on `|vᵀ f(J) v − ‖v‖² e₁ᵀ f(H) e₁|`, `[batch]`; infinite for `L ≥ 1`.

    The residual of each resolvent is known, `β t |eₘᵀ(I+stH)⁻¹e₁|` times a unit vector, `β` the
    last entry below the diagonal; with `‖(I+stJ)⁻¹‖ ≤ 1/(1−tL)` for `proven` `L ≥ ‖J‖₂`, a scalar,
    the error of the value is at most `‖v‖² β ∫₀¹ |eₘᵀ (I + stH)⁻¹ e₁| / (1 − tL) dt`.
    """
    quadrature = Quadrature.of(function, lipschitz, space.norm.dtype)
    scale = quadrature.weights / (1 - quadrature.nodes * proven)
    bound = space.norm**2 * tf.reduce_sum(scale * space.tail, 0)
    return tf.where(proven < 1, bound, math.inf)
