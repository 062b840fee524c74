"""Bounds of a linear map's norm from above that training can differentiate and divide by.

Gram iteration (Delattre et al., 2023, arXiv 2305.16173): for a matrix `A` of rank r
`‖A‖₂ ≤ ‖(AᵀA)^(2^(n−1))‖_F^(1/2^n) ≤ r^(1/2^(n+1)) ‖A‖₂`. Rounding is followed from product to
product: a computed `AᵀA` is within `γ‖A‖_F²` of the exact one, with `γ = kε` for sums of k terms in
whatever order, so `‖A‖₂² ≤ ‖computed‖₂ + γ‖A‖_F²`.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics import symbols
from tf_iresnet.numerics.linear_maps import Convolution, LinearMap, Matrix
from tf_iresnet.numerics.map_functions import as_one_graph, in_turn
from tf_iresnet.numerics.structures import at_least_float32

ITERATIONS = 8
POINTS = 36  # frequencies per axis and degree of the symbol: at most 0.4 % high per axis
SIDE, SIDES = 256, 2**26  # smaller side, and side² × other, up to which an operator is written out
CERTIFICATE = 1e-9  # relative: more than what `norms.upper_bound` allows for its own rounding


def differentiable_bound(linear_map: LinearMap, iterations: int = ITERATIONS) -> tf.Tensor:
    """An upper bound of the norm that follows the kernel smoothly.

    A kernel divided by it, or by more, has norm 1 at most: what rounding does to the kernel's
    entries, and what a certificate in float64 allows for its own, is included.

    A matrix' bound is high by 0.8 % at most for 128 on the smaller side, usually by a tenth of
    that; it takes n products of that side. So does a convolution of small images, which is written
    out as a matrix. That of larger ones is bounded by the largest norm at F frequencies, those of
    `symbols.sampling`: high by a few `((kernel size − 1) / size)²` besides, or 0.4 % per axis where
    a grid replaces the ring. It takes F·n products of twice the smaller number of channels (times
    the phases of a stride): with hundreds of channels on both sides, use power iteration.

    Args:
        linear_map: kernel finite; any scale.
        iterations: n ≥ 1, otherwise a ValueError.

    Returns:
        `[*stack]` in the kernel's dtype (float32 for half precision); 0 and gradient 0 for zeros.
    """
    linear_map, epsilon, dtype = _exact(linear_map.simplest())
    shape = linear_map.kernel.shape
    if isinstance(linear_map, Matrix) and shape[-1] > shape[-2]:
        linear_map = linear_map.with_kernel(tf.linalg.matrix_transpose(linear_map.kernel))
    bound = as_one_graph(_bound, linear_map, iterations=iterations, epsilon=epsilon)
    return tf.cast(bound, dtype)


def gram_iteration(matrices: tf.Tensor, iterations: int = ITERATIONS) -> tf.Tensor:
    """Differentiable upper bounds of `‖A‖₂` for a stack of matrices.

    The last product's largest eigenvalue is bounded by the sum of its eigenvalues and of their
    squares (Wolkowicz and Styan, 1980, Linear Algebra and its Applications 29), which is never more
    than the Frobenius norm, and exact where all singular values are equal, as at an orthogonal
    start. Most is lost where half of them are: the factor `(½ + ½√d)^(1/2^n)`, 0.7 % for d = 128 on
    the smaller side and n = 8.

    Args:
        matrices: `[…, rows, columns]`, finite; any scale. In a dtype of `in_full_products`.
        iterations: n ≥ 1, otherwise a ValueError: products of matrices of the smaller side.

    Returns:
        `[…]`; next to nothing for zeros.
    """
    if iterations < 1:
        raise ValueError(f"Expected iterations >= 1. Received: iterations={iterations}. Raise it.")
    epsilon = _epsilon(matrices.dtype)
    if (matrices.shape[-1] or 0) > (matrices.shape[-2] or 0):
        matrices = tf.linalg.matrix_transpose(matrices)
    peak = Matrix(matrices).peak(keepdims=True)
    gram, levels = matrices / peak, []
    # Of a product relative to its trace, and of dividing.
    errors = (tf.cast(tf.shape(gram)[-2:], gram.dtype) + 8) * epsilon
    for index in range(iterations):
        error = errors[min(index, 1)]
        gram, trace = _product(gram)
        levels.append((tf.stop_gradient(trace), error))
    bound = _largest_eigenvalue(gram, error)
    for trace, error in reversed(levels):
        bound = tf.sqrt(trace * (bound + error))
    return (bound * peak)[..., 0, 0] * (1 + 16 * epsilon)


def almost_orthogonal(linear_map: LinearMap) -> tf.Tensor:
    """`W D` of norm 1 at most, with `D_ii = (Σ_j |WᵀW|_ij)^(−1/2)`; close to 1 near orthogonality.

    Prach and Lampert, 2022, arXiv 2208.03160, theorem 1: `D^(−2)` dominates `WᵀW`, which is
    symmetric, so `D WᵀW D ⪯ I`. D scales the channels of the inputs, or of the outputs if they are
    fewer. For a convolution the sums run over all offsets of the kernel's products with itself.
    This bounds it on infinite images, so for every size, padding, stride and dilation, which take a
    part of the outputs or inputs; strides loosen it. Rounding, a certificate's too, is included.

    The kernel must be finite, of any scale, which cancels: small ones are enlarged. A channel of
    zeros stays so, gradient 0. Shape and dtype remain (float32 for half precision).
    """
    linear_map, epsilon, dtype = _exact(linear_map)
    kernel = linear_map.kernel / linear_map.peak(keepdims=True)  # cancels, in the gradient too
    of_inputs = kernel.shape[-2] <= kernel.shape[-1]
    if of_inputs:
        kernel = tf.linalg.matrix_transpose(kernel)  # [*stack, *kernel_size, others, scaled]
    # What rounding the entries adds: the taps' norms are √(scaled channels) at most together.
    entries = kernel.shape[linear_map.num_stacked :].num_elements() // kernel.shape[-2]
    factors = _factors(kernel, linear_map.kernel_size, epsilon)
    scaled = kernel * (factors * (1 - (8 + 4 * math.sqrt(entries)) * epsilon))
    return tf.cast(tf.linalg.matrix_transpose(scaled) if of_inputs else scaled, dtype)


def in_full_products(kernel: tf.Tensor) -> tf.Tensor:
    """The kernel in a dtype, at least float32, whose products keep all of its digits.

    That is float64 where an accelerator may cut the factors of a float32 product down: to ten bits
    (TensorFloat-32, on by default) or to seven (bfloat16 on a TPU).
    """
    devices = {device.device_type for device in tf.config.list_physical_devices()}
    cut_on_gpus = tf.config.experimental.tensor_float_32_execution_enabled()
    cut = "TPU" in devices or ("GPU" in devices and cut_on_gpus)
    return tf.cast(kernel, tf.float64 if cut or kernel.dtype == tf.float64 else tf.float32)


def _exact(linear_map: LinearMap) -> tuple[Any, float, tf.DType]:
    """The map to compute with, the relative rounding to allow for, and the results' dtype."""
    kernel = at_least_float32(linear_map.kernel)
    return linear_map.with_kernel(in_full_products(kernel)), _epsilon(kernel.dtype), kernel.dtype


def _epsilon(dtype: tf.DType) -> float:
    """Relative rounding that training allows for: the dtype's, or that of the certificate."""
    return max(float(np.finfo(dtype.as_numpy_dtype).eps), CERTIFICATE)


def _bound(linear_map: LinearMap, iterations: int, epsilon: float) -> tf.Tensor:
    if isinstance(linear_map, Convolution) and not _is_small(linear_map):
        bound = _sampled(linear_map, iterations)
    else:  # written out: a certificate knows the exact norm, too, of what is small
        bound = gram_iteration(linear_map.dense(), iterations)
    # Dividing rounds each entry, and a fast convolution has rounded those it wrote out; the taps'
    # norms add up to more than that of all.
    bound = bound * (1 + 4 * epsilon) + 32 * epsilon * linear_map.taps_norm()
    kernel = linear_map.kernel
    zero = tf.reduce_all(kernel == 0, range(linear_map.num_stacked, kernel.shape.rank))
    return tf.where(zero, tf.zeros_like(bound), bound)


@tf.custom_gradient
def _product(matrix: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
    """`AᵀA` divided by its trace, and the trace `[…, 1, 1]`, which is taken for a constant.

    For functions of eigenvalues only, whose gradient is symmetric, in which the scale cancels.
    """
    product = tf.matmul(matrix, matrix, transpose_a=True)
    trace = tf.linalg.trace(product)[..., None, None]
    trace += np.finfo(matrix.dtype.as_numpy_dtype).tiny

    def grad(upstream: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return tf.matmul(matrix, upstream * (2 / trace))

    return (product / trace, trace), grad


def _largest_eigenvalue(gram: tf.Tensor, error: tf.Tensor) -> tf.Tensor:
    """Upper bound for a positive semidefinite `[…, d, d]` of trace 1, known to ± error."""
    side = tf.cast(tf.shape(gram)[-1], gram.dtype)
    trace = tf.linalg.trace(gram)[..., None, None]
    # A row at a time, so that rounding doesn't add up.
    squares = tf.reduce_sum(tf.reduce_sum(tf.square(gram), -1, keepdims=True), -2, keepdims=True)
    squares += error * (6 * tf.stop_gradient(tf.sqrt(squares)) + error)
    of_trace = 2 * tf.sqrt(side) * error
    spread = squares - tf.maximum(trace - of_trace, 0.0) ** 2 / side
    return (trace + of_trace) / side + tf.sqrt((1 - 1 / side) * spread)


def _is_small(linear_map: Convolution) -> bool:
    if linear_map.size is None:
        return False
    side, other = sorted(map(math.prod, (linear_map.input_shape, linear_map.output_shape)))
    return side <= SIDE and side**2 * other <= SIDES


def _sampled(linear_map: Convolution, iterations: int) -> tf.Tensor:
    linear_map = linear_map.undilated()
    geometry = linear_map.size, linear_map.strides, linear_map.padding
    strides, rings, factor = symbols.sampling(linear_map.kernel_size, *geometry, POINTS)
    kernel = symbols.polyphase(linear_map.kernel, strides)
    taps = tf.reshape(kernel, [*linear_map.stack, -1, *kernel.shape[-2:]])
    waves = symbols.waves(tuple(kernel.shape[linear_map.num_stacked : -2]), rings)
    waves = tf.constant(np.stack([waves.real, waves.imag]), kernel.dtype)

    def search(_: LinearMap, taps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The largest bound at a frequency, and that frequency's waves."""
        bounds = gram_iteration(symbols.blocks(taps, waves), iterations)
        return tf.reduce_max(bounds), waves[:, tf.argmax(bounds), tf.newaxis]

    # The largest one has all of the gradient.
    copies = tf.nest.map_structure(tf.stop_gradient, linear_map)
    found = in_turn(search, copies, tf.stop_gradient(taps), results=2)
    largest, wave = map(tf.stop_gradient, found)
    bound = gram_iteration(symbols.blocks(taps, wave), iterations)[..., 0]
    bound += tf.stop_gradient(largest - bound)
    error = (taps.shape[-3] + 4) * _epsilon(taps.dtype)
    return factor * (bound + error * linear_map.taps_norm())


def _factors(kernel: tf.Tensor, kernel_size: tuple[int, ...], epsilon: float) -> tf.Tensor:
    """`D_ii`, broadcasting with the kernel `[*stack, *kernel_size, others, channels]`."""
    taps, channels, axes = math.prod(kernel_size), kernel.shape[-1], len(kernel_size)
    stack = kernel.shape[: kernel.shape.rank - 2 - axes]
    terms = taps * kernel.shape[-2]  # of a sum
    tiny = np.finfo(kernel.dtype.as_numpy_dtype).tiny
    rows = tf.reshape(kernel, [*stack, taps, -1, channels])
    sums = tf.reduce_sum(tf.abs(_products(rows, kernel_size)), (-2, -1))
    # Their own rounding, and that of the products, which sums of |entries| bound; and underflow.
    magnitudes = tf.reduce_sum(tf.abs(rows), -3)
    of_products = tf.linalg.matvec(magnitudes, tf.reduce_sum(magnitudes, -1), transpose_a=True)
    summed = channels * math.prod(2 * k - 1 for k in kernel_size)
    safe = sums * (1 + (summed + 4) * epsilon)
    safe += (terms + 4) * epsilon * of_products + 4 * terms * channels * tiny
    present = sums > 0
    factors = tf.where(present, 1 / tf.sqrt(tf.where(present, safe, 1.0)), 0.0)
    return tf.reshape(factors, [*stack, *[1] * axes, 1, channels])


def _products(rows: tf.Tensor, kernel_size: tuple[int, ...]) -> tf.Tensor:
    """`Σ_t K_tᵀ K_(t+δ)` of `[…, taps, others, channels]`: `[…, channels, offsets, channels]`."""
    taps, channels = rows.shape[-3], rows.shape[-1]
    if taps == 1:
        return tf.matmul(rows, rows, transpose_a=True)[..., 0, :, None, :]
    stack = rows.shape[:-3]
    flat = tf.reshape(tf.linalg.matrix_transpose(rows), [*stack, taps * channels, -1])
    pairs = tf.matmul(flat, flat, transpose_b=True)
    pairs = tf.reshape(pairs, [*stack, taps, channels, taps, channels])
    return tf.einsum("...aibj,abo->...ioj", pairs, _offsets(kernel_size, pairs.dtype))


def _offsets(kernel_size: tuple[int, ...], dtype: tf.DType) -> tf.Tensor:
    """`[taps, taps, offsets]`: 1 where the second tap is that far from the first one."""
    taps = np.array(list(itertools.product(*map(range, kernel_size))))
    away = taps[None] - taps[:, None] + np.array(kernel_size) - 1
    sides = [2 * k - 1 for k in kernel_size]
    number = np.ravel_multi_index(tuple(np.moveaxis(away, -1, 0)), sides)
    return tf.constant(np.eye(math.prod(sides))[number], dtype)
