"""A convolution at its frequencies: what bounds of its norm rest on.

Strides reduce to 1: a strided convolution is one of stride 1 of the image whose phases are channels
(space to depth), its kernel folded alike (`polyphase`).

Along an axis padded with zeros, the operator is a compression of the circulant one on any ring that
is long enough not to wrap around, and the circulant is block diagonal in the Fourier basis: one
block [inputs, outputs] per frequency (Sedghi et al., 2019, arXiv 1805.10408). A compression has no
larger norm, but it may be smaller by a term of order (kernel size / size)².
"""

import dataclasses
import itertools
import math

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics.convolutions import output_size, padding_before
from tf_iresnet.numerics.linear_maps import Convolution

Axes = tuple[int, ...]  # spatial axes, or one number for each

POINTS = 16  # per axis and degree of the symbol, without a size: at most 2 % high per axis


def sampling(
    kernel_size: Axes, size: Axes | None, strides: Axes, padding: str, points: int | None = None
) -> tuple[Axes, Axes, float]:
    """Frequencies that bound the norm for a size, or without one for every size.

    Those of the shortest ring along each axis. Without a size, or where fewer points are allowed,
    those of a coarser ring with a factor: a trigonometric polynomial of degree m exceeds its
    largest value at N > 2m equally spaced points by 1/cos(πm/N) at most (Ehlich and Zeller, 1964,
    Math. Zeitschrift 86); ⟨u, K̂ v⟩ is one along each axis, for any u and v, of degree ⌈(k−1)/2⌉
    once the taps are centred. What follows is never below what the rings give, but for rounding.

    Args:
        kernel_size: dilated.
        size, strides, padding: see `Convolution`.
        points: at most so many per degree and axis; None: `POINTS` without a size.

    Returns:
        The strides to take `polyphase` of, the number of frequencies along each axis afterwards,
        and the factor to apply to the largest norm there.
    """
    steps, rings, factor = [], [], 1.0
    for k, n, stride in zip(kernel_size, size or (None,) * len(strides), strides, strict=True):
        # On a ring that they don't divide, the strides leave out some of the outputs.
        stride = 1 if padding == "circular" and (n is None or n % stride) else stride
        degree = -(-k // stride) // 2  # ⌈(k' − 1)/2⌉ of k' = ⌈k / stride⌉ taps
        enough = max((points or POINTS) * degree, 1)
        length = None if n is None else ring(k, n, stride, padding) // stride
        if length is None or (points is not None and enough < length):
            length, factor = enough, factor / math.cos(math.pi * degree / enough)
        steps.append(stride)
        rings.append(length)
    return tuple(steps), tuple(rings), factor


def for_every_size(linear_map: Convolution) -> tuple[Convolution, float]:
    """For power iteration: a circular convolution whose norm times the factor bounds any size's."""
    strides, padding = linear_map.strides, linear_map.padding
    kernel_size = linear_map.undilated().kernel_size
    strides, rings, factor = sampling(kernel_size, None, strides, padding)
    size = tuple(n * stride for n, stride in zip(rings, strides, strict=True))
    return dataclasses.replace(linear_map, size=size, strides=strides, padding="circular"), factor


def polyphase(kernel: tf.Tensor, strides: Axes) -> tf.Tensor:
    """Stride-1 kernel `[*stack, *⌈k/stride⌉, phases × inputs, outputs]` for the image's phases."""
    if max(strides, default=1) == 1:
        return kernel
    axes = len(strides)
    lead = kernel.shape.rank - 2 - axes
    stack, sides, channels = kernel.shape[:lead], kernel.shape[lead:-2], kernel.shape[-2:]
    taps = [-(-k // stride) for k, stride in zip(sides, strides, strict=True)]
    around = [(0, -k % stride) for k, stride in zip(sides, strides, strict=True)]
    kernel = tf.pad(kernel, [(0, 0)] * lead + around + [(0, 0)] * 2)
    split = itertools.chain.from_iterable(zip(taps, strides, strict=True))
    kernel = tf.reshape(kernel, [*stack, *split, *channels])
    of_taps, of_phases = (range(lead + start, lead + 2 * axes, 2) for start in (0, 1))
    order = [*range(lead), *of_taps, *of_phases, lead + 2 * axes, lead + 2 * axes + 1]
    return tf.reshape(tf.transpose(kernel, order), [*stack, *taps, -1, channels[-1]])


def ring(kernel_size: int, size: int, stride: int, padding: str) -> int:
    """Shortest ring, a multiple of the stride, on which no window of an output wraps around."""
    if padding == "circular":
        return size
    before = padding_before(size, kernel_size, stride, padding)
    outputs = output_size(size, kernel_size, stride, padding, 1) or 0
    # Windows reach from −before to the second of these; below 0 they fall beyond the image's end.
    needed = max(size + before, (outputs - 1) * stride - before + kernel_size)
    return -(-needed // stride) * stride


def waves(kernel_size: Axes, rings: Axes) -> np.ndarray:
    """`e^{iωt}` of each frequency of the rings and each tap, `[frequencies, taps]`.

    Times the taps it is the symbol, `K̂(ω) = Σ_t K_t e^{iωt}`. For a real kernel one of each pair of
    conjugates is enough.
    """
    turns = np.zeros((1, 1))
    for axis, (k, length) in enumerate(zip(kernel_size, rings, strict=True)):
        points = length // 2 + 1 if axis == len(rings) - 1 else length
        turn = np.outer(np.arange(points), np.arange(k)) % length / length
        turns = turns[:, None, :, None] + turn[:, None, :]
        turns = turns.reshape(turns.shape[0] * points, -1)
    return np.exp(2j * np.pi * turns)


def blocks(taps: tf.Tensor, waves: tf.Tensor) -> tf.Tensor:
    """The symbol as real matrices `[[Re, −Im], [Im, Re]]`, with each of its singular values twice.

    `[*stack, frequencies, 2 inputs, 2 outputs]`, of taps `[*stack, taps, inputs, outputs]` and the
    real and imaginary parts of waves, `[2, frequencies, taps]`, or these for each copy.
    """
    shape = taps.shape
    flat = tf.reshape(taps, [*shape[:-3], 1, shape[-3], shape[-2] * shape[-1]])
    parts = tf.matmul(waves, flat)
    parts = tf.reshape(parts, [*parts.shape[:-1], *shape[-2:]])
    real, imaginary = tf.unstack(parts, axis=-4)
    rows = tf.concat([real, -imaginary], -1), tf.concat([imaginary, real], -1)
    return tf.concat(rows, -2)


def toeplitz(kernel: np.ndarray, axis: int, size: int, stride: int, padding: str) -> np.ndarray:
    """The kernel with an axis of length 1, whose channels hold all positions of the image there."""
    taps = kernel.shape[axis]
    before = padding_before(size, taps, stride, padding)
    outputs = output_size(size, taps, stride, padding, 1) or 0
    kernel = np.moveaxis(kernel, axis, 0)
    others, (inputs, features) = kernel.shape[1:-2], kernel.shape[-2:]
    result = np.zeros((*others, size, inputs, outputs, features))
    for output, tap in itertools.product(range(outputs), range(taps)):
        position = output * stride - before + tap
        if padding == "circular" or 0 <= position < size:
            result[..., position % size, :, output, :] += kernel[tap]
    return np.expand_dims(result.reshape(*others, size * inputs, -1), axis)


def exact_axes(kernel_shape: Axes, size: Axes, strides: Axes, padding: str, work: float) -> Axes:
    """The axes to write out by `toeplitz`: those that matter most, of a dilated kernel.

    As many as keep matrices × side² × other side within `work`.
    """
    geometry = list(zip(kernel_shape, size, strides, strict=False))

    def cost(kept: Axes) -> float:
        (rows, columns), matrices = kernel_shape[-2:], 1.0
        for axis, (k, n, stride) in enumerate(geometry):
            if axis in kept:
                rows *= n
                columns *= output_size(n, k, stride, padding, 1) or 1
            else:
                rows *= stride
                matrices *= ring(k, n, stride, padding) / stride / 2 + 1
        return matrices * min(rows, columns) ** 2 * max(rows, columns)

    def gain(kept: Axes) -> float:
        if padding == "circular":  # a ring is exact, unless the strides don't divide it
            return sum(size[axis] % strides[axis] > 0 for axis in kept)
        return sum(((kernel_shape[axis] - 1) / size[axis]) ** 2 for axis in kept)

    counts = range(len(size) + 1)
    choices = [c for count in counts for c in itertools.combinations(range(len(size)), count)]
    return max((c for c in choices if not c or cost(c) <= work), key=gain)
