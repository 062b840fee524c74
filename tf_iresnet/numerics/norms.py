"""The norm of a linear map in float64: all singular values, and a bound that is a proof."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics import symbols
from tf_iresnet.numerics.linear_maps import Convolution, LinearMap

EXACT_UP_TO = 512  # smaller side up to which a float64 SVD costs well under a second
WORK = 2**30  # matrices × side³ up to which a certificate keeps an axis: a few seconds
EIGENVALUES_UP_TO = 96  # side beyond which Gram iteration is faster, when there are many matrices


def upper_bound(linear_map: LinearMap) -> Any:
    """A proven upper bound on the exact norm, computed in float64. For eager use.

    For a matrix, the largest singular value where the smaller side is at most `EXACT_UP_TO`,
    otherwise by Gram iteration (0.2 % high at worst for 1,024 on the smaller side). For a
    convolution, exact up to rounding with circular padding of sizes that the strides divide, and
    for small images; otherwise high by a few `((kernel size − 1) / image size)²`: axes are kept as
    block Toeplitz matrices as far as `WORK` allows, the others taken at their frequencies. The
    map's `error` is added; its kernel should have the dtype that a layer multiplies with.

    Returns:
        A float, or `[*stack]` for a stack of matrices; infinite where an entry isn't finite.

    Raises:
        ValueError: for a stack of convolutions, and a kernel of less than two axes.
    """
    linear_map = linear_map.simplest()
    kernel = np.asarray(linear_map.kernel, np.float64)
    if isinstance(linear_map, Convolution):
        if linear_map.num_stacked != 0:
            raise ValueError(
                "Expected a kernel [*kernel_size, inputs, outputs] of one convolution. Received: "
                f"shape={kernel.shape}, strides={linear_map.strides}"
            )
        bound = _certified_convolution(linear_map) if np.all(np.isfinite(kernel)) else math.inf
        return bound + linear_map.error
    if kernel.ndim < 2:
        raise ValueError(f"Expected a kernel [*stack, inputs, outputs]. Received: {kernel.shape}")
    finite = np.all(np.isfinite(kernel), axis=(-2, -1))
    kernel = np.where(finite[..., None, None], kernel, 0.0)
    if kernel.size == 0:
        norms = np.zeros(kernel.shape[:-2])
    elif min(kernel.shape[-2:]) > EXACT_UP_TO:
        norms = np.vectorize(lambda w: _largest(w[None], np.eye(1)), signature="(k,m)->()")(kernel)
    else:
        # LAPACK's backward error is a modest multiple of ε ‖W‖; this is a generous one.
        rounding = 4 * sum(kernel.shape[-2:]) * np.finfo(np.float64).eps
        norms = np.linalg.svd(kernel, compute_uv=False)[..., 0] * (1 + rounding)
    norms = np.where(finite, norms + linear_map.error, math.inf)
    return norms if norms.ndim else float(norms)


def singular_values(linear_map: LinearMap) -> np.ndarray:
    """All singular values from the largest, `[*stack, …]`, by the SVD of the dense matrix."""
    return np.linalg.svd(np.asarray(linear_map.dense()), compute_uv=False)


def _certified_convolution(linear_map: Convolution) -> float:
    linear_map = linear_map.with_kernel(np.asarray(linear_map.kernel, np.float64)).undilated()
    size, strides, padding = linear_map.size, linear_map.strides, linear_map.padding
    kernel = linear_map.kernel.numpy()
    if size is not None:
        kept = symbols.exact_axes(kernel.shape, size, strides, padding, WORK)
        for axis in kept:
            kernel = symbols.toeplitz(kernel, axis, size[axis], strides[axis], padding)
        size = tuple(1 if axis in kept else n for axis, n in enumerate(size))
        strides = tuple(1 if axis in kept else n for axis, n in enumerate(strides))
    strides, rings, factor = symbols.sampling(kernel.shape[:-2], size, strides, padding)
    kernel = symbols.polyphase(tf.constant(kernel), strides).numpy()
    taps = kernel.reshape(-1, *kernel.shape[-2:])
    return _largest(taps, symbols.waves(kernel.shape[:-2], rings)) * factor


def _largest(taps: np.ndarray, waves: np.ndarray) -> float:
    """Upper bound of the norm at every frequency, with all rounding."""
    largest, step = 0.0, max(1, 2**22 // math.prod(taps.shape[1:]))
    for start in range(0, len(waves), step):
        batch = np.tensordot(waves[start : start + step], taps, 1)
        adjoint = batch.conj().swapaxes(1, 2)
        gram = batch @ adjoint if taps.shape[2] > taps.shape[1] else adjoint @ batch
        if (gram.shape[1] > EIGENVALUES_UP_TO and len(gram) > 16) or gram.shape[1] > EXACT_UP_TO:
            squared = _hermitian_gram_iteration(gram)
        else:
            squared = float(np.linalg.eigvalsh(gram)[:, -1].max())
        largest = max(largest, math.sqrt(max(squared, 0.0)))
    # Backward errors are modest multiples of ε times these norms; these are generous ones.
    error = 4 * (sum(taps.shape[1:]) + 64) * np.finfo(np.float64).eps
    of_taps = float(np.sqrt(np.sum(taps**2, (-2, -1))).sum())  # ≥ every matrix's norm
    return largest * (1 + error * min(taps.shape[1:])) + error * of_taps


def _hermitian_gram_iteration(gram: np.ndarray, iterations: int = 10) -> float:
    """Upper bound of the largest eigenvalue of Hermitian matrices: `‖G^(2^n)‖_F^(1/2^n)`.

    High by `r^(1/2^(n+1))` at most. Matrices that prove smaller than another are left out.
    """
    exponent, rank, tiny = 1.0, gram.shape[1], np.finfo(np.float64).tiny
    log_scale = np.zeros(len(gram))
    for _ in range(iterations):
        size = np.maximum(np.linalg.norm(gram, axis=(1, 2)), tiny)
        log_scale = log_scale + exponent * np.log(size)  # an upper bound's logarithm
        possible = log_scale >= log_scale.max() - exponent * math.log(rank) / 2 - 1e-9
        gram, log_scale = gram[possible] / size[possible, None, None], log_scale[possible]
        gram, exponent = gram @ gram, exponent / 2
    size = np.maximum(np.linalg.norm(gram, axis=(1, 2)), tiny)
    rounding = 4 * iterations * rank**2 * np.finfo(np.float64).eps
    return float(np.exp((log_scale + exponent * np.log(size)).max()) * (1 + rounding))
