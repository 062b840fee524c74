"""The linear operators that a kernel stands for, as power iteration sees them."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

FORMATS = {1: "NWC", 2: "NHWC", 3: "NDHWC"}


class Operator:
    """`A(kernel)`, linear in the kernel and in the vectors it is applied to.

    Subclasses are frozen dataclasses: an operator is hashable, and functions are traced once for
    each. Vectors of the outputs' space are stacked along one axis; `apply` takes them to the
    inputs' space and `adjoint` back, so a kernel `W` of `x ↦ xW` is applied as `Wv`.
    """

    axis: int  # that vectors are stacked along
    within: tuple[int, ...]  # the axes of one vector in the stack
    traced_for: str  # "dtype": one trace for kernels of every shape; "shape": one for each

    def stack(self, vector: tf.Tensor) -> tf.Tensor:
        """A stack of one vector."""
        return tf.expand_dims(vector, self.axis)

    def lengths(self, stack: tf.Tensor) -> tf.Tensor:
        """Euclidean norm of each vector; the axes stay."""
        return tf.sqrt(tf.reduce_sum(stack**2, self.within, keepdims=True))

    def inputs(self, kernel_shape: tuple[int, ...]) -> int:
        """Dimensions of the inputs' space."""
        raise TypeError(f"{type(self).__name__} must define inputs()")

    def apply(self, kernel: tf.Tensor, stack: tf.Tensor) -> tf.Tensor:
        raise TypeError(f"{type(self).__name__} must define apply()")

    def adjoint(self, kernel: tf.Tensor, stack: tf.Tensor) -> tf.Tensor:
        raise TypeError(f"{type(self).__name__} must define adjoint()")

    def pairing(self, kernel: tf.Tensor, sigma: tf.Tensor, u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        """`⟨u, A v⟩`, known to be `sigma`, with its gradient in the kernel; u, v are constants."""
        raise TypeError(f"{type(self).__name__} must define pairing()")

    def squared(
        self, kernel: tf.Tensor, vector: tf.Tensor, generic: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What `multiply` needs for the product with `AᵀA / s²`, the stack to start from, a vector.

        `s²` is a value that `AᵀA` is known to reach; the vector is the unit `vector`, or a better
        one that was met.
        """
        raise TypeError(f"{type(self).__name__} must define squared()")

    def multiply(self, square: tf.Tensor, stack: tf.Tensor) -> tf.Tensor:
        raise TypeError(f"{type(self).__name__} must define multiply()")

    def chosen(self, kernel: tf.Tensor, stack: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """One vector of a stack of `multiply`'s, in the outputs' space."""
        del kernel
        return tf.gather(stack, index, axis=self.axis)


@dataclasses.dataclass(frozen=True)
class Matrix(Operator):
    """The kernel `[inputs, outputs]` itself, on columns."""

    axis = 1
    within = (0,)
    traced_for = "dtype"

    def inputs(self, kernel_shape):
        return kernel_shape[0]

    def apply(self, kernel, stack):
        return tf.matmul(kernel, stack)

    def adjoint(self, kernel, stack):
        return tf.matmul(kernel, stack, transpose_a=True)

    def pairing(self, kernel, sigma, u, v):
        return _with_gradient(kernel, sigma, u, v)

    def squared(self, kernel, vector, generic):
        wide = kernel.shape[1] > kernel.shape[0]
        gram = tf.matmul(kernel, kernel, transpose_a=not wide, transpose_b=wide)
        shown = 2 * tf.nn.l2_loss(tf.linalg.matvec(kernel, vector))
        shown = tf.maximum(shown, tf.linalg.trace(gram) / min(kernel.shape))
        start = tf.matmul(kernel, generic) if wide else generic
        return tf.math.divide_no_nan(gram, shown), start, vector

    def multiply(self, square, stack):
        return tf.matmul(square, stack)

    def chosen(self, kernel, stack, index):
        result = stack[:, index]
        wide = kernel.shape[1] > kernel.shape[0]
        return tf.linalg.matvec(kernel, result, transpose_a=True) if wide else result


MATRIX = Matrix()


@dataclasses.dataclass(frozen=True)
class Convolution(Operator):
    """A convolution of images of one size; its vectors are images of its outputs.

    Args:
      size: spatial size of the inputs.
      strides: one an axis.
      padding: "valid", "same" or "circular".
      dilation: one an axis.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str
    dilation: tuple[int, ...]

    axis = 0
    traced_for = "shape"

    def output_size(self, kernel_size: tuple[int, ...]) -> tuple[int, ...]:
        """Spatial size of the outputs, and so of the vectors."""
        axes = zip(self.size, kernel_size, self.strides, self.dilation, strict=True)
        sizes = (output_size(n, k, s, self.padding, rate) for n, k, s, rate in axes)
        return tuple(n for n in sizes if n is not None)

    @property
    def within(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(range(1, len(self.size) + 2))

    def inputs(self, kernel_shape):
        return math.prod(self.size) * kernel_shape[-2]

    def adjoint(self, kernel, stack):
        return convolve(stack, kernel, self.strides, self.padding, self.dilation)

    def apply(self, kernel, stack):
        kernel = dilated(kernel, self.dilation)
        axes = range(len(self.size))
        padding = "SAME" if self.padding == "same" else "VALID"
        around = [(0, 0) for _ in axes]
        if self.padding == "circular":
            around = [_around(self.size[a], kernel.shape[a], self.strides[a]) for a in axes]
        size = [n + sum(more) for n, more in zip(self.size, around, strict=True)]
        shape = [tf.shape(stack)[0], *size, kernel.shape[-2]]
        images = tf.nn.conv_transpose(
            stack, kernel, shape, self.strides, padding, FORMATS[len(self.size)]
        )
        for axis, (before, _) in enumerate(around):
            images = _folded(images, axis + 1, self.size[axis], before)
        return images

    def pairing(self, kernel, sigma, u, v):
        del sigma
        return tf.reduce_sum(self.adjoint(kernel, u) * v)

    def squared(self, kernel, vector, generic):
        start = tf.math.divide_no_nan(generic, self.lengths(generic))
        known = tf.concat([self.stack(vector), start], 0)
        shown = tf.reshape(self.lengths(self.apply(kernel, known)), [-1])
        best = tf.argmax(shown)
        return tf.math.divide_no_nan(kernel, shown[best]), start, known[best]

    def multiply(self, square, stack):
        return self.adjoint(square, self.apply(square, stack))


def convolve(
    x: tf.Tensor,
    kernel: tf.Tensor,
    strides: tuple[int, ...],
    padding: str,
    dilation: tuple[int, ...],
) -> tf.Tensor:
    """A convolution (cross-correlation, as Keras has it) of one to three spatial axes.

    A dilated kernel is written out with its zeros: TensorFlow has no gradient of a dilated
    convolution on every device.

    Args:
      x: `[batch, *size, inputs]`.
      kernel: `[*kernel_size, inputs, outputs]`.
      strides: one an axis.
      padding: "valid", "same", or "circular": like "same", the image continued periodically.
      dilation: one an axis.

    Returns:
      `[batch, *output_size, outputs]`.
    """
    kernel = dilated(kernel, dilation)
    if padding == "circular":
        for axis, (k, stride) in enumerate(zip(kernel.shape, strides, strict=False)):
            x = _wrapped(x, axis + 1, k, stride)
    padding = "SAME" if padding == "same" else "VALID"
    # By default TensorFlow leaves the format out, and can't differentiate twice in eager mode.
    return tf.nn.convolution(x, kernel, strides, padding, FORMATS[len(strides)])


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


def dilated(kernel: tf.Tensor, dilation: tuple[int, ...]) -> tf.Tensor:
    """The kernel with `dilation − 1` zeros between its taps."""
    for axis, rate in enumerate(dilation):
        if rate > 1 and kernel.shape[axis] > 1:
            taps = tf.expand_dims(kernel, axis + 1)
            zeros = [[0, 0]] * taps.shape.rank
            zeros[axis + 1] = [0, rate - 1]
            shape = list(kernel.shape)
            shape[axis] *= rate
            taps = tf.reshape(tf.pad(taps, zeros), shape)
            kernel = taps[(slice(None),) * axis + (slice(0, shape[axis] - rate + 1),)]
    return kernel


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


def _folded(x: tf.Tensor, axis: int, size: int, before: int) -> tf.Tensor:
    """The adjoint of `_wrapped`: what lies beyond the axis' `size` is added where it came from."""
    if x.shape[axis] == size:
        return x
    padding = [[0, 0]] * x.shape.rank
    front = -before % size
    padding[axis] = [front, -(x.shape[axis] + front) % size]
    shape = tf.shape(x)
    turns = tf.reshape(
        tf.pad(x, padding), tf.concat([shape[:axis], [-1, size], shape[axis + 1 :]], 0)
    )
    return tf.reduce_sum(turns, axis)


@tf.custom_gradient
def _with_gradient(
    kernel: tf.Tensor, sigma: tf.Tensor, u: tf.Tensor, v: tf.Tensor
) -> tuple[tf.Tensor, Callable]:
    """Returns sigma with the gradient u vᵀ in the kernel."""
    del kernel

    def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None, None]:
        return tf.matmul(upstream * u, v, transpose_b=True), None, None, None

    return tf.identity(sigma), grad
