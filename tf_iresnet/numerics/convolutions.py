"""Convolutions of one to three spatial axes, their transposes, and the arithmetic of padding."""

import itertools
from typing import Any

import numpy as np
import tensorflow as tf

FORMATS = {1: "NWC", 2: "NHWC", 3: "NDHWC"}
Sizes = tuple[int, ...]


def convolve(
    x: tf.Tensor, kernel: tf.Tensor, strides: Sizes, padding: str, dilation: Sizes
) -> tf.Tensor:
    """A convolution (cross-correlation, as in Keras) of one to three spatial axes.

    `[batch, *size, inputs] → [batch, *output_size, outputs]`; the arguments are those of
    `linear_maps.Convolution`. A dilated kernel is written out with its zeros, since not every
    device has the gradient of a dilated convolution.
    """
    kernel = dilated(kernel, dilation)
    if padding == "circular":
        for axis, (k, stride) in enumerate(zip(kernel.shape, strides, strict=False)):
            x = _wrapped(x, axis + 1, k, stride)
    padding = "SAME" if padding == "same" else "VALID"
    # By default TensorFlow leaves the format out, and can't differentiate twice in eager mode.
    return tf.nn.convolution(x, kernel, strides, padding, FORMATS[len(strides)])


def convolve_transpose(
    y: tf.Tensor, kernel: tf.Tensor, size: Any, strides: Sizes, padding: str, dilation: Sizes
) -> tf.Tensor:
    """The adjoint of `convolve`: `[batch, *output_size, outputs] → [batch, *size, inputs]`.

    `size` is a tuple or a list of ints and scalar tensors.
    """
    kernel, axes = dilated(kernel, dilation), range(len(size))
    around: list[tuple[Any, Any]] = [(0, 0) for _ in axes]
    if padding == "circular":
        around = [_around(size[a], kernel.shape[a], strides[a]) for a in axes]
    extended = [n + sum(more) for n, more in zip(size, around, strict=True)]
    shape = [tf.shape(y)[0], *extended, kernel.shape[-2]]
    padding = "SAME" if padding == "same" else "VALID"
    x = tf.nn.conv_transpose(y, kernel, shape, strides, padding, FORMATS[len(size)])
    for axis, (before, _) in enumerate(around):
        x = _folded(x, axis + 1, size[axis], before)
    return x


def output_size(
    size: int | None, kernel_size: int, stride: int, padding: str, dilation: int
) -> int | None:
    """Number of outputs along one axis; None for an unknown size."""
    if size is None:
        return None
    reach = (kernel_size - 1) * dilation if padding == "valid" else 0
    return -(-(size - reach) // stride)


def padding_before(size: int, kernel_size: int, stride: int, padding: str) -> int:
    """Entries that are added before an axis, TensorFlow's way; `kernel_size` is the dilated one."""
    return 0 if padding == "valid" else _around(size, kernel_size, stride)[0]


def periodic_positions(size: int, kernel_size: int, stride: int, dilation: int) -> np.ndarray:
    """Where on an axis the entries come from that "circular" padding makes it of."""
    before, after = _around(size, (kernel_size - 1) * dilation + 1, stride)
    return np.arange(-before, size + after) % size


def dilated(kernel: tf.Tensor, dilation: Sizes) -> tf.Tensor:
    """The kernel with `dilation − 1` zeros between its taps; leading axes are a stack."""
    kernel = tf.convert_to_tensor(kernel)
    for axis, rate in enumerate(dilation, kernel.shape.rank - 2 - len(dilation)):
        if rate > 1 and kernel.shape[axis] > 1:
            taps = tf.split(kernel, kernel.shape[axis], axis)
            between = [tf.zeros_like(taps[0])] * (rate - 1)
            kernel = tf.concat([part for tap in taps for part in (tap, *between)][: 1 - rate], axis)
    return kernel


def joined_kernels(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The kernel of the convolution by `first`, then by `second`: stride 1, no dilation."""
    sides = zip(first.shape[:-2], second.shape[:-2], strict=True)
    result = np.zeros([*(a + b - 1 for a, b in sides), first.shape[-2], second.shape[-1]])
    for tap in itertools.product(*map(range, second.shape[:-2])):
        there = tuple(slice(t, t + k) for t, k in zip(tap, first.shape[:-2], strict=True))
        result[there] += first @ second[tap]
    return result


def _around(size: Any, kernel_size: int, stride: int) -> tuple[Any, Any]:
    """What "same" adds before and after an axis, TensorFlow's way."""
    total = (-(-size // stride) - 1) * stride + kernel_size - size
    total = max(total, 0) if isinstance(total, int) else tf.maximum(total, 0)
    return total // 2, total - total // 2


def _wrapped(x: tf.Tensor, axis: int, kernel_size: int, stride: int) -> tf.Tensor:
    """`x` continued periodically along an axis, by as much as "same" would pad with zeros."""
    size = x.shape[axis]
    if size is not None:
        before, after = _around(size, kernel_size, stride)
        if after <= size:
            lead = (slice(None),) * axis
            parts = [x[(*lead, slice(size - before, None))], x, x[(*lead, slice(after))]]
            return tf.concat(parts, axis)
    size = tf.shape(x)[axis]
    before, after = _around(size, kernel_size, stride)
    positions = tf.range(-before, size + after)
    return tf.gather(x, tf.math.floormod(positions, size), axis=axis)


def _folded(x: tf.Tensor, axis: int, size: Any, before: Any) -> tf.Tensor:
    """The adjoint of `_wrapped`: what lies beyond the axis' `size` is added where it came from."""
    length = x.shape[axis] or tf.shape(x)[axis]
    if isinstance(size, int) and length == size:
        return x
    padding = [[0, 0]] * x.shape.rank
    front = -before % size
    padding[axis] = [front, -(length + front) % size]
    shape = tf.shape(x)
    turns = tf.concat([shape[:axis], [-1, size], shape[axis + 1 :]], 0)
    return tf.reduce_sum(tf.reshape(tf.pad(x, padding), turns), axis)
