"""Upper bounds of the norm of a convolution, in float64: what a certificate rests on.

Everything is reduced to a convolution of stride 1: a strided one is such a convolution of the
image whose phases are channels (space to depth), its kernel folded alike (`polyphase`).

Along an axis whose padding is zeros, the operator is a compression of the circulant one on any ring
that is long enough not to wrap around, and the circulant is block diagonal in the Fourier basis:
blocks [inputs, outputs], one a frequency (Sedghi et al., 2019, arXiv 1805.10408). A compression has
no larger norm. It may have one that is smaller by a term of order (kernel size / size)², so as many
axes as is cheap are kept as they are, as block Toeplitz matrices, instead.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics.operators import dilated, output_size, padding_before

WORK = 2**30  # matrices × side³ up to which an axis is kept as it is: a few seconds
EIGENVALUES_UP_TO = 96  # side beyond which Gram iteration is faster, when there are many matrices
POINTS = 16  # points an axis and degree of the symbol, without a size: 2 % high an axis at most


def upper_bound(
    kernel: np.ndarray,
    size: tuple[int, ...] | None,
    strides: tuple[int, ...] | None = None,
    padding: str = "same",
    dilation: tuple[int, ...] | None = None,
) -> float:
    """A number that is certainly ≥ the norm of the convolution, in exact arithmetic.

    Exact up to rounding for circular padding of sizes that the strides divide, and for small
    images; otherwise high by a few `((kernel size − 1) / image size)²`. Infinite for a
    kernel with an entry that isn't finite.

    Args:
      kernel: `[*kernel_size, inputs, outputs]`.
      size: spatial size of the input; None bounds the norm for every size.
      strides: one an axis.
      padding: "valid", "same" or "circular".
      dilation: one an axis.

    Raises:
      ValueError: if the arguments don't have one entry an axis.
    """
    kernel = np.asarray(kernel, np.float64)
    axes = kernel.ndim - 2
    strides, dilation = strides or (1,) * axes, dilation or (1,) * axes
    if axes < 1 or {len(strides), len(dilation), len(size or strides)} != {axes}:
        raise ValueError(
            "Expected one size, stride and dilation for each spatial axis of the kernel. Received: "
            f"kernel of shape={kernel.shape}, size={size}, strides={strides}, dilation={dilation}"
        )
    if not np.all(np.isfinite(kernel)):
        return math.inf
    kernel = dilated(tf.constant(kernel), dilation).numpy()
    if size is None:
        return _for_every_size(kernel, (1,) * axes if padding == "circular" else strides)
    kept = _kept(kernel, size, strides, padding)
    if padding == "circular":
        # On a ring that they don't divide, the strides leave out some of the outputs.
        strides = tuple(
            stride if axis in kept or size[axis] % stride == 0 else 1
            for axis, stride in enumerate(strides)
        )
    matrix = kernel
    for axis in kept:
        matrix = _toeplitz(matrix, axis, size[axis], strides[axis], padding)
    free = [axis for axis in range(axes) if axis not in kept]
    matrix = matrix.reshape([kernel.shape[axis] for axis in free] + list(matrix.shape[-2:]))
    matrix = polyphase(tf.constant(matrix), tuple(strides[axis] for axis in free)).numpy()
    rings = tuple(
        _ring(kernel.shape[axis], size[axis], strides[axis], padding) // strides[axis]
        for axis in free
    )
    return _largest(matrix, rings)


def grid(
    kernel_size: tuple[int, ...], strides: tuple[int, ...], points: int = POINTS
) -> tuple[tuple[int, ...], float]:
    """A ring that bounds the norm for every size: its size, and the factor to apply there.

    A trigonometric polynomial of degree m exceeds its largest value at N > 2m equally spaced points
    by the factor 1/cos(πm/N) at most (Ehlich and Zeller, 1964, Math. Zeitschrift 86); ⟨u, K̂ v⟩ is
    one along each axis, for any u and v, of degree ⌈(k−1)/2⌉ once the taps are centred.

    Args:
      kernel_size: dilated.
      strides: one an axis.
      points: for each degree, along an axis.
    """
    size, factor = [], 1.0
    for k, stride in zip(kernel_size, strides, strict=True):
        degree = -(-k // stride) // 2  # ⌈(k' − 1)/2⌉ of k' = ⌈k / stride⌉ taps
        ring = max(points * degree, 1)
        size.append(ring * stride)
        factor /= math.cos(math.pi * degree / ring)
    return tuple(size), factor


def sampling(
    kernel_size: tuple[int, ...],
    size: tuple[int, ...],
    strides: tuple[int, ...],
    padding: str,
    points: int = POINTS,
) -> tuple[tuple[int, ...], tuple[int, ...], float]:
    """Frequencies of all axes at once that bound the norm for a size.

    Those of the rings of `upper_bound`, or of the `grid` along an axis where they are fewer. What
    follows from them is never below `upper_bound`, but for rounding.

    Args:
      kernel_size: dilated.
      size: of the inputs.
      strides: one an axis.
      padding: "valid", "same" or "circular".
      points: of the grid, for each degree.

    Returns:
      The strides to take `polyphase` of, the frequencies along each axis afterwards, and the factor
      to apply to the largest norm there.
    """
    steps, rings, factor = [], [], 1.0
    for k, n, stride in zip(kernel_size, size, strides, strict=True):
        # On a ring that they don't divide, the strides leave out some of the outputs.
        stride = 1 if padding == "circular" and n % stride else stride
        ring = _ring(k, n, stride, padding)
        (enough,), high = grid((k,), (stride,), points)
        steps.append(stride)
        rings.append(min(ring, enough) // stride)
        factor *= high if enough < ring else 1.0
    return tuple(steps), tuple(rings), factor


def _for_every_size(kernel: np.ndarray, strides: tuple[int, ...]) -> float:
    rings, factor = grid(kernel.shape[:-2], strides)
    kernel = polyphase(tf.constant(kernel), strides).numpy()
    rings = tuple(n // stride for n, stride in zip(rings, strides, strict=True))
    return _largest(kernel, rings) * factor


def polyphase(kernel: tf.Tensor, strides: tuple[int, ...]) -> tf.Tensor:
    """Stride-1 kernel `[*⌈k/stride⌉, phases × inputs, outputs]` for the image's phases."""
    axes = len(strides)
    if not axes:
        return kernel
    sides, channels = kernel.shape[:axes], kernel.shape[axes:]
    around = [(0, -k % stride) for k, stride in zip(sides, strides, strict=True)]
    taps = [-(-k // stride) for k, stride in zip(sides, strides, strict=True)]
    split = itertools.chain.from_iterable(zip(taps, strides, strict=True))
    kernel = tf.reshape(tf.pad(kernel, [*around, (0, 0), (0, 0)]), [*split, *channels])
    order = [*range(0, 2 * axes, 2), *range(1, 2 * axes, 2), 2 * axes, 2 * axes + 1]
    return tf.reshape(tf.transpose(kernel, order), [*taps, -1, channels[-1]])


def _ring(kernel_size: int, size: int, stride: int, padding: str) -> int:
    """Shortest ring, a multiple of the stride, on which no window of an output wraps around."""
    if padding == "circular":
        return size
    before = padding_before(size, kernel_size, stride, padding)
    outputs = output_size(size, kernel_size, stride, padding, 1)
    assert outputs is not None
    # Windows reach from −before to the second of these; below 0 they fall beyond the image's end.
    needed = max(size + before, (outputs - 1) * stride - before + kernel_size)
    return -(-needed // stride) * stride


def _kept(
    kernel: np.ndarray, size: tuple[int, ...], strides: tuple[int, ...], padding: str
) -> tuple[int, ...]:
    """The axes that are kept as they are: those that it matters most for, as `WORK` allows."""
    axes = range(len(size))
    inputs, outputs = kernel.shape[-2:]
    gains = [((k - 1) / n) ** 2 for k, n in zip(kernel.shape, size, strict=False)]
    if padding == "circular":  # a ring is exact, unless the strides don't divide it
        gains = [float(n % stride > 0) for n, stride in zip(size, strides, strict=True)]
    best: tuple[float, tuple[int, ...]] = (0.0, ())
    for count in axes:
        for kept in itertools.combinations(axes, count + 1):
            rows, columns, matrices = inputs, outputs, 1.0
            for axis in axes:
                k, n, stride = kernel.shape[axis], size[axis], strides[axis]
                if axis in kept:
                    rows *= n
                    columns *= output_size(n, k, stride, padding, 1) or 1
                else:
                    rows *= stride
                    matrices *= _ring(k, n, stride, padding) / stride / 2 + 1
            gain = sum(gains[axis] for axis in kept)
            work = matrices * min(rows, columns) ** 2 * max(rows, columns)
            if work <= WORK and gain > best[0]:
                best = gain, kept
    return best[1]


def _toeplitz(kernel: np.ndarray, axis: int, size: int, stride: int, padding: str) -> np.ndarray:
    """The kernel with one axis of length 1, in its channels all positions of the image there."""
    taps = kernel.shape[axis]
    before = padding_before(size, taps, stride, padding)
    outputs = output_size(size, taps, stride, padding, 1)
    kernel = np.moveaxis(kernel, axis, 0)
    others, (inputs, features) = kernel.shape[1:-2], kernel.shape[-2:]
    result = np.zeros((*others, size, inputs, outputs or 0, features))
    for output, tap in itertools.product(range(outputs or 0), range(taps)):
        position = output * stride - before + tap
        if padding == "circular" or 0 <= position < size:
            result[..., position % size, :, output, :] += kernel[tap]
    merged = result.reshape(*others, size * inputs, -1)
    return np.expand_dims(merged, axis)


def _spectrum(kernel: np.ndarray, rings: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The symbol at the frequencies of a ring, as batches `[frequencies, inputs, outputs]`.

    One of each pair of conjugates, as the kernel is real.
    """
    axes = tuple(range(len(rings)))
    if not axes:
        yield kernel[np.newaxis]
        return
    for axis, ring in enumerate(rings):  # taps that meet on the ring add up
        padded = [(0, 0)] * kernel.ndim
        padded[axis] = (0, -kernel.shape[axis] % ring)
        kernel = np.moveaxis(np.pad(kernel, padded), axis, 0)
        kernel = kernel.reshape(-1, ring, *kernel.shape[1:]).sum(0)
        kernel = np.moveaxis(kernel, 0, axis)
    symbol = np.fft.rfftn(kernel, axes=axes)
    symbol = symbol.reshape(-1, *kernel.shape[-2:])
    step = max(1, 2**22 // (kernel.shape[-2] * kernel.shape[-1]))
    for start in range(0, len(symbol), step):
        yield symbol[start : start + step]


def _largest(kernel: np.ndarray, rings: tuple[int, ...]) -> float:
    """Upper bound of the circulant's norm, with all rounding; of the matrix's, without an axis."""
    largest = 0.0
    for batch in _spectrum(kernel, rings):
        wide = batch.shape[2] > batch.shape[1]
        adjoint = batch.conj().swapaxes(1, 2)
        gram = batch @ adjoint if wide else adjoint @ batch
        if gram.shape[1] > EIGENVALUES_UP_TO and len(gram) > 16:
            squared = _gram_iteration(gram)
        else:
            squared = float(np.linalg.eigvalsh(gram)[:, -1].max())
        largest = max(largest, math.sqrt(max(squared, 0.0)))
    # Backward errors are modest multiples of ε times these norms; these are generous ones.
    error = 4 * (sum(kernel.shape[-2:]) + 64) * np.finfo(np.float64).eps
    of_taps = float(np.sqrt(np.sum(kernel**2, (-2, -1))).sum())  # ≥ every matrix's norm
    return largest * (1 + error * min(kernel.shape[-2:])) + error * of_taps


def _gram_iteration(gram: np.ndarray, iterations: int = 10) -> float:
    """Upper bound of the largest eigenvalue of Hermitian matrices: `‖G^(2^n)‖_F^(1/2^n)`.

    Delattre et al., 2023, arXiv 2305.16173. High by `r^(1/2^(n+1))` at most. Matrices that
    turn out to be smaller than another one are left out on the way.
    """
    exponent, rank = 1.0, gram.shape[1]
    log_scale = np.zeros(len(gram))
    for _ in range(iterations):
        size = np.maximum(np.linalg.norm(gram, axis=(1, 2)), np.finfo(np.float64).tiny)
        log_scale = log_scale + exponent * np.log(size)  # an upper bound's logarithm
        possible = log_scale >= log_scale.max() - exponent * math.log(rank) / 2 - 1e-9
        gram, log_scale = gram[possible] / size[possible, None, None], log_scale[possible]
        gram, exponent = gram @ gram, exponent / 2
    size = np.maximum(np.linalg.norm(gram, axis=(1, 2)), np.finfo(np.float64).tiny)
    rounding = 4 * iterations * rank**2 * np.finfo(np.float64).eps
    return float(np.exp((log_scale + exponent * np.log(size)).max()) * (1 + rounding))
