"""Rescaling of a kernel's channels that bounds its norm, in closed form."""

import math

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics import rounding
from tf_iresnet.numerics.operators import convolve


def almost_orthogonal(kernel: tf.Tensor) -> tf.Tensor:
    """`W D` of norm 1 at most, with `D_ii = (Σ_j |WᵀW|_ij)^(−1/2)`; close to 1 near orthogonality.

    Prach and Lampert, 2022, arXiv 2208.03160, theorem 1: `D^(−2)` dominates `WᵀW`, which is
    symmetric, so `D WᵀW D ⪯ I`. D scales the channels of the inputs, or of the outputs if they are
    fewer. For a convolution the sums run over all offsets of the kernel's products with itself.
    That bounds it on infinite images, and so for every size, padding, stride and dilation, which
    take a part of the outputs or inputs; strides leave it looser. Rounding is allowed for, that of
    a certificate in float64 included.

    The kernel's scale cancels: small ones are enlarged. A channel of zeros stays so, gradient 0.

    Args:
      kernel: `[*kernel_size, inputs, outputs]`, no kernel_size for a matrix; finite, any scale.

    Returns:
      Of the kernel's shape and dtype (float32 for half precision).
    """
    kernel = tf.convert_to_tensor(kernel)
    exact = rounding.in_full_products(kernel)
    dtype = exact.dtype if kernel.dtype.size < 4 else kernel.dtype
    epsilon = rounding.epsilon(dtype)
    exact /= rounding.peak(exact)  # which cancels, in the gradient too
    of_inputs = exact.shape[-2] <= exact.shape[-1]
    if of_inputs:
        exact = tf.linalg.matrix_transpose(exact)  # [*kernel_size, others, scaled]
    scaled = exact * (_factors(exact, epsilon) * (1 - _of_entries(exact.shape, epsilon)))
    return tf.cast(tf.linalg.matrix_transpose(scaled) if of_inputs else scaled, dtype)


def _factors(kernel: tf.Tensor, epsilon: float) -> tf.Tensor:
    """`D_ii`, `[channels]`, of a kernel `[*kernel_size, others, channels]`."""
    channels = kernel.shape[-1]
    size, tiny = kernel.shape.num_elements(), np.finfo(kernel.dtype.as_numpy_dtype).tiny
    products = _products(kernel)
    sums = tf.reduce_sum(tf.abs(products), range(products.shape.rank - 1))
    # Their own rounding, and that of the products, which sums of |entries| bound; and underflow.
    magnitudes = tf.reduce_sum(tf.abs(kernel), range(kernel.shape.rank - 2))
    of_products = tf.linalg.matvec(magnitudes, tf.reduce_sum(magnitudes, 1), transpose_a=True)
    safe = sums * (1 + (products.shape.num_elements() // channels + 4) * epsilon)
    safe += (size // channels + 4) * epsilon * of_products + 4 * size * tiny
    present = sums > 0
    return tf.where(present, 1 / tf.sqrt(tf.where(present, safe, 1.0)), 0.0)


def _products(kernel: tf.Tensor) -> tf.Tensor:
    """`Σ_t K_tᵀ K_(t+δ)` for each offset δ: `[channels, *offsets, channels]`."""
    axes = kernel.shape.rank - 2
    if not axes:
        return tf.matmul(kernel, kernel, transpose_a=True)
    images = tf.transpose(kernel, [axes + 1, *range(axes + 1)])
    around = [(k - 1, k - 1) for k in kernel.shape[:axes]]
    ones = (1,) * axes
    return convolve(tf.pad(images, [(0, 0), *around, (0, 0)]), kernel, ones, "valid", ones)


def _of_entries(shape: tf.TensorShape, epsilon: float) -> float:
    """What rounding the result's entries adds to its norm: the taps' norms are √(all) together."""
    taps_and_channels = shape.num_elements() // shape[-2]
    return (8 + 4 * math.sqrt(taps_and_channels)) * epsilon
