"""Upper bounds of an operator's norm that training can use: always true, and differentiable.

Gram iteration: Delattre et al., 2023, arXiv 2305.16173. For a matrix `A` of rank r

    ‖A‖₂ ≤ ‖(AᵀA)^(2^(n−1))‖_F^(1/2^n) ≤ r^(1/2^(n+1)) ‖A‖₂.

Rounding is followed from product to product: a computed `AᵀA` is within `γ‖A‖_F²` of the exact one,
with `γ = kε` for sums of k terms in whatever order, so `‖A‖₂² ≤ ‖computed‖₂ + γ‖A‖_F²`.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics import rounding
from tf_iresnet.numerics.convolution import polyphase, sampling
from tf_iresnet.numerics.operators import MATRIX, Convolution, Operator, dilated

ITERATIONS = 8
POINTS = 36  # frequencies an axis and degree of the symbol: 0.4 % high an axis at most
SIDE, WORK = 256, 2**26  # smaller side, and side² × other, up to which an operator is written out


def upper_bound(
    kernel: tf.Tensor, operator: Operator = MATRIX, iterations: int = ITERATIONS
) -> tf.Tensor:
    """A number ≥ the operator's norm that follows the kernel smoothly; pure, compiles, no state.

    A kernel divided by it, or by more, has norm 1 at most, with what rounding does to the kernel's
    entries, and what a certificate in float64 allows for its own: no step of training leads beyond.

    A matrix' bound is high by 0.8 % at most for 128 on the smaller side, usually by a tenth of
    that; it takes n products of that side. So does a convolution of small images, which is written
    out as a matrix. That of larger ones is bounded by the largest norm at F frequencies, those of
    `convolution.sampling`: high by a few `((kernel size − 1) / size)²` besides, or 0.4 % an axis
    where the ring is left out for a grid. It takes F·n products of twice the smaller number of
    channels (times the phases of a stride), so at hundreds of channels on both sides power
    iteration is the one to use.

    Args:
      kernel: `[inputs, outputs]`, or `[*kernel_size, inputs, outputs]`; finite, any scale.
      operator: what it stands for.
      iterations: n ≥ 1.

    Returns:
      Scalar in the kernel's dtype (float32 for half precision); 0, with gradient 0, for zeros.

    Raises:
      ValueError: if `iterations` is less than 1.
    """
    kernel = tf.convert_to_tensor(kernel)
    exact = rounding.in_full_products(kernel)
    dtype = exact.dtype if kernel.dtype.size < 4 else kernel.dtype
    function: Callable = functools.partial(_upper_bound, operator, iterations, dtype)
    if tf.executing_eagerly():  # in one piece: its many small operations would take ten times that
        function = _traced(operator, iterations, dtype, exact.dtype, tuple(exact.shape))
    return function(exact)


def gram_iteration(
    matrices: tf.Tensor, iterations: int = ITERATIONS, epsilon: float | None = None
) -> tf.Tensor:
    """Upper bounds of `‖A‖₂` for a stack of matrices, differentiable.

    The last product's largest eigenvalue is bounded by the sum of its eigenvalues and of their
    squares (Wolkowicz and Styan, 1980, Linear Algebra and its Applications 29), which is never more
    than the Frobenius norm, and exact where all singular values are equal, as at an orthogonal
    start. Most is lost where half of them are: the factor `(½ + ½√d)^(1/2^n)` for d on the smaller
    side, 0.7 % for d = 128 and n = 8.

    Args:
      matrices: `[…, rows, columns]`, finite; any scale. Products must keep the dtype's digits, see
        `rounding.in_full_products`.
      iterations: n ≥ 1: products of matrices of the smaller side.
      epsilon: relative rounding of a product; by default `rounding.epsilon`.

    Returns:
      `[…]`; next to nothing for zeros.

    Raises:
      ValueError: if `iterations` is less than 1.
    """
    if iterations < 1:
        raise ValueError(f"Expected iterations >= 1. Received: iterations={iterations}. Raise it.")
    epsilon = rounding.epsilon(matrices.dtype) if epsilon is None else epsilon
    if matrices.shape[-1] > matrices.shape[-2]:
        matrices = tf.linalg.matrix_transpose(matrices)
    peak = rounding.peak(matrices)
    gram, levels = matrices / peak, []
    for _ in range(iterations):
        error = (
            gram.shape[-2] + 8
        ) * epsilon  # of a product relative to its trace, and of dividing
        gram, trace = _product(gram)
        levels.append((tf.stop_gradient(trace), error))
    bound = _largest_eigenvalue(gram, error)
    for trace, error in reversed(levels):
        bound = tf.sqrt(trace * (bound + error))
    return bound[..., 0, 0] * peak * (1 + 16 * epsilon)


@tf.custom_gradient
def _product(matrix: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
    """`AᵀA` divided by its trace, and the trace `[…, 1, 1]`, which is taken for a constant.

    For functions of eigenvalues only, whose gradient is symmetric, in which the scale cancels.
    """
    product = tf.matmul(matrix, matrix, transpose_a=True)
    trace = tf.reduce_sum(tf.linalg.diag_part(product), -1)[..., None, None]
    trace += np.finfo(matrix.dtype.as_numpy_dtype).tiny

    def grad(upstream: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return tf.matmul(matrix, upstream * (2 / trace))

    return (product / trace, trace), grad


def _largest_eigenvalue(gram: tf.Tensor, error: float) -> tf.Tensor:
    """Bounds it for a positive semidefinite `[…, d, d]`, of trace 1, known to ± error."""
    side = gram.shape[-1]
    trace = tf.reduce_sum(tf.linalg.diag_part(gram), -1)[..., None, None]
    # A row at a time, so that rounding doesn't add up.
    squares = tf.reduce_sum(tf.reduce_sum(gram**2, -1, keepdims=True), -2, keepdims=True)
    squares += error * (6 * tf.stop_gradient(tf.sqrt(squares)) + error)
    of_trace = 2 * math.sqrt(side) * error
    spread = squares - tf.maximum(trace - of_trace, 0.0) ** 2 / side
    return (trace + of_trace) / side + tf.sqrt((1 - 1 / side) * spread)


def _upper_bound(
    operator: Operator, iterations: int, dtype: tf.DType, kernel: tf.Tensor
) -> tf.Tensor:
    if not isinstance(operator, Convolution):
        bound = gram_iteration(kernel, iterations)
    elif (matrix := _written_out(kernel, operator)) is not None:
        bound = gram_iteration(matrix, iterations)
    else:
        bound = _of_convolution(kernel, operator, iterations)
    # Dividing rounds each entry, and a fast convolution has rounded those it wrote out; the taps'
    # norms add up to more than that of all.
    epsilon = rounding.epsilon(dtype)
    bound = bound * (1 + 4 * epsilon) + 32 * epsilon * _of_taps(kernel)
    return tf.cast(tf.where(tf.reduce_any(kernel != 0), bound, 0.0), dtype)


@functools.lru_cache
def _traced(
    operator: Operator, iterations: int, dtype: tf.DType, computed: tf.DType, shape: tuple[int, ...]
) -> Callable:
    function = functools.partial(_upper_bound, operator, iterations, dtype)
    return tf.function(function, input_signature=[tf.TensorSpec(shape, computed)], autograph=False)


def _written_out(kernel: tf.Tensor, operator: Convolution) -> tf.Tensor | None:
    """The matrix of a convolution, None if it's too large. Its entries are taps, or sums on a ring.

    Within `WORK`, a certificate knows the exact norm too.
    """
    kernel_size = tuple(kernel.shape[: len(operator.size)])
    sizes = operator.size, operator.output_size(kernel_size)
    inputs, outputs = (
        math.prod(size) * n for size, n in zip(sizes, kernel.shape[-2:], strict=True)
    )
    side, other = sorted((inputs, outputs))
    if side > SIDE or side**2 * other > WORK:
        return None
    basis = tf.eye(side, dtype=kernel.dtype)
    if inputs <= outputs:
        images = operator.adjoint(kernel, tf.reshape(basis, [side, *sizes[0], -1]))
    else:
        images = operator.apply(kernel, tf.reshape(basis, [side, *sizes[1], -1]))
    return tf.reshape(images, [side, other])


def _of_convolution(kernel: tf.Tensor, operator: Convolution, iterations: int) -> tf.Tensor:
    kernel = dilated(kernel, operator.dilation)
    axes = len(operator.size)
    strides, rings, factor = sampling(
        tuple(kernel.shape[:axes]), operator.size, operator.strides, operator.padding, POINTS
    )
    kernel = polyphase(kernel, strides)
    taps = tf.reshape(kernel, [-1, *kernel.shape[axes:]])
    waves = tf.constant(_waves(tuple(kernel.shape[:axes]), rings), kernel.dtype)
    # The largest one has all of the gradient.
    bounds = gram_iteration(_symbols(tf.stop_gradient(taps), waves), iterations)
    waves = waves[:, tf.argmax(bounds), tf.newaxis]
    bound = gram_iteration(_symbols(taps, waves), iterations)[0]
    bound += tf.stop_gradient(tf.reduce_max(bounds) - bound)
    error = (taps.shape[0] + 4) * rounding.epsilon(taps.dtype)
    return factor * (bound + error * _of_taps(taps))


def _symbols(taps: tf.Tensor, waves: tf.Tensor) -> tf.Tensor:
    """`K̂ = Σ_t K_t e^{iωt}` at each frequency as real matrices `[[Re, −Im], [Im, Re]]`.

    Args:
      taps: `[taps, inputs, outputs]`.
      waves: `[2, frequencies, taps]`, real and imaginary part.

    Returns:
      `[frequencies, 2 inputs, 2 outputs]`, of the singular values of `K̂`, each of them twice.
    """
    real, imaginary = tf.unstack(tf.tensordot(waves, taps, 1))
    left = tf.concat([real, imaginary], -2)
    right = tf.concat([-imaginary, real], -2)
    return tf.concat([left, right], -1)


def _waves(kernel_size: tuple[int, ...], rings: tuple[int, ...]) -> np.ndarray:
    """`e^{iωt}` of each frequency of the rings and each tap, `[2, frequencies, taps]`.

    One of each pair of conjugates, as the kernel is real.
    """
    turns = np.zeros((1, 1))
    for axis, (k, ring) in enumerate(zip(kernel_size, rings, strict=True)):
        points = ring // 2 + 1 if axis == len(rings) - 1 else ring
        turn = np.outer(np.arange(points), np.arange(k)) % ring / ring
        turns = turns[:, None, :, None] + turn[:, None, :]
        turns = turns.reshape(turns.shape[0] * points, -1)
    return np.stack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)])


def _of_taps(taps: tf.Tensor) -> tf.Tensor:
    """The sum of the taps' Frobenius norms. No gradient."""
    size = rounding.peak(taps)
    return tf.stop_gradient(size * tf.reduce_sum(tf.norm(taps / size, axis=(-2, -1))))
