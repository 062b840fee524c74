"""Linear maps `x ↦ x W` as a kernel with its geometry: a matrix, or a convolution of images."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics import convolutions
from tf_iresnet.numerics.structures import TensorDataclass


@dataclasses.dataclass(frozen=True, eq=False)
class LinearMap(TensorDataclass):
    """A kernel `[*stack, …, inputs, outputs]`: one map, or a stack of maps of the same geometry.

    Args:
        kernel: tensor or array.
        error: bound on the norm of what rounding has done to the kernel, for `norms.upper_bound`.
    """

    kernel: Any
    error: float = dataclasses.field(default=0.0, kw_only=True)
    tensors = ("kernel",)
    batched: ClassVar[bool] = True  # whether `apply` and `adjoint` take a stack

    @property
    def num_stacked(self) -> int:
        """The number of leading axes that number the copies."""
        return len(self.kernel.shape) - 2

    @property
    def stack(self) -> tuple[int, ...]:
        """The sizes of those axes."""
        return tuple(self.kernel.shape[: self.num_stacked])

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """The sizes of the kernel's spatial axes, none for a matrix."""
        return tuple(self.kernel.shape[self.num_stacked : -2])

    @property
    def input_shape(self) -> tuple[Any, ...]:
        """The shape of one input."""
        return (self.kernel.shape[-2],)

    @property
    def output_shape(self) -> tuple[Any, ...]:
        """The shape of one output."""
        return (self.kernel.shape[-1],)

    def apply(self, x: tf.Tensor) -> tf.Tensor:
        """`x W` of vectors `[*stack, n, *input_shape]`; unstacked, of `[…, *input_shape]`."""
        raise TypeError(f"{type(self).__name__} must define apply()")

    def adjoint(self, y: tf.Tensor, size: Any = None) -> tf.Tensor:
        """`y Wᵀ` of vectors `[*stack, n, *output_shape]`; unstacked, of `[…, *output_shape]`.

        `size` is the images' spatial size, a tuple or a tensor, if it isn't the map's.
        """
        raise TypeError(f"{type(self).__name__} must define adjoint()")

    def kernel_gradient(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """The gradient of `Σ_n ⟨x_n W, y_n⟩` in the kernel."""
        raise TypeError(f"{type(self).__name__} must define kernel_gradient()")

    def dense(self) -> tf.Tensor:
        """The matrix of the map, `[*stack, inputs, outputs]` with one row per input entry."""
        raise TypeError(f"{type(self).__name__} must define dense()")

    def simplest(self) -> "LinearMap":
        """A map of the same norm: for a convolution of kernel size 1, the matrix."""
        return self

    def with_kernel(self, kernel: Any) -> Any:
        """The same geometry with another kernel."""
        return dataclasses.replace(self, kernel=kernel)

    def peak(self, keepdims: bool = False) -> tf.Tensor:
        """The largest |entry| of each copy, `[*stack]`, or a tiny number for zeros. No gradient.

        Entries are divided by it before they are squared, which could overflow or vanish.
        """
        kernel = tf.stop_gradient(tf.convert_to_tensor(self.kernel))
        axes = range(self.num_stacked, kernel.shape.rank)
        high, low = (f(kernel, axes, keepdims) for f in (tf.reduce_max, tf.reduce_min))
        return tf.maximum(tf.maximum(high, -low), 4 * np.finfo(kernel.dtype.as_numpy_dtype).tiny)

    def taps_norm(self) -> tf.Tensor:
        """The sum of the taps' Frobenius norms, `[*stack]`: at least the norm. No gradient."""
        taps = tf.norm(tf.stop_gradient(self.kernel / self.peak(keepdims=True)), axis=(-2, -1))
        return self.peak() * tf.reduce_sum(taps, range(self.num_stacked, taps.shape.rank))

    def squares(self, vectors: tf.Tensor) -> tf.Tensor:
        """Squared Euclidean norms of vectors `[*stack, n, …]`, all axes kept."""
        return self.inners(vectors, vectors)

    def inners(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        """Inner products of pairs of vectors `[*stack, n, …]`, all axes kept."""
        axes = range(self.num_stacked + 1, first.shape.rank)
        return tf.reduce_sum(first * second, axes, keepdims=True)

    def lengths(self, vectors: tf.Tensor) -> tf.Tensor:
        return tf.sqrt(self.squares(vectors))

    def unit(self, vectors: tf.Tensor) -> tf.Tensor:
        return tf.math.divide_no_nan(vectors, self.lengths(vectors))

    def then(self, other: "LinearMap") -> "LinearMap | None":
        """`x ↦ other(self(x))` as one map, or None where it isn't a matrix or a convolution.

        It is one for two matrices, for a convolution and one of kernel size 1 in either order, and
        for two convolutions of stride 1 that are both "valid" or both "circular"; not for two that
        pad with zeros, since the second one sees zeros where the first one's outputs would go on.
        Both kernels are unstacked and in float64; `error` grows by the rounding.
        """
        if type(self) is not type(other) or len(self.kernel.shape) != len(other.kernel.shape):
            return None
        joined = self._joined(other)
        if joined is None:
            return None
        products = math.prod(other.kernel.shape[:-1])
        rounding = 4 * products * np.finfo(np.float64).eps
        first, second = (float(one.taps_norm()) + one.error for one in (self, other))
        error = (rounding * first + self.error) * second + other.error * first
        return dataclasses.replace(joined, error=error)

    def _joined(self, other: Any) -> "LinearMap | None":
        return self.with_kernel(np.asarray(self.kernel) @ np.asarray(other.kernel))


@dataclasses.dataclass(frozen=True, eq=False)
class Matrix(LinearMap):
    """The matrix `[*stack, inputs, outputs]` on the last axis. `apply` broadcasts over a stack."""

    def apply(self, x: tf.Tensor) -> tf.Tensor:
        if self.num_stacked or len(x.shape) == 2:
            return tf.matmul(x, self.kernel)
        return _on_batch(lambda rows: tf.matmul(rows, self.kernel), x, 1)

    def adjoint(self, y: tf.Tensor, size: Any = None) -> tf.Tensor:
        if self.num_stacked or len(y.shape) == 2:
            return tf.matmul(y, self.kernel, transpose_b=True)
        return _on_batch(lambda rows: tf.matmul(rows, self.kernel, transpose_b=True), y, 1)

    def kernel_gradient(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return tf.matmul(x, y, transpose_a=True)

    def dense(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.kernel)


@dataclasses.dataclass(frozen=True, eq=False)
class Convolution(LinearMap):
    """A convolution of images, kernel `[*stack, *kernel_size, inputs, outputs]`.

    Args:
        size: spatial size of the inputs; None for every size.
        strides, dilation: one number per axis.
        padding: "valid", "same", or "circular": like "same", the image continued periodically.
    """

    size: tuple[int, ...] | None
    strides: tuple[int, ...]
    padding: str
    dilation: tuple[int, ...]
    batched: ClassVar[bool] = False

    def __post_init__(self) -> None:
        sizes = self.strides if self.size is None else self.size
        if not self.strides or not len(self.strides) == len(self.dilation) == len(sizes):
            raise ValueError(
                "Expected one size, stride and dilation for each spatial axis of the kernel. "
                f"Received: size={self.size}, strides={self.strides}, dilation={self.dilation}"
            )

    @property
    def num_stacked(self) -> int:
        return len(self.kernel.shape) - 2 - len(self.strides)

    @property
    def input_shape(self) -> tuple[Any, ...]:
        return (*(self.size or (None,) * len(self.strides)), self.kernel.shape[-2])

    @property
    def output_shape(self) -> tuple[Any, ...]:
        axes = zip(self.input_shape, self.kernel_size, self.strides, self.dilation, strict=False)
        sizes = (convolutions.output_size(n, k, s, self.padding, rate) for n, k, s, rate in axes)
        return (*sizes, self.kernel.shape[-1])

    def apply(self, x: tf.Tensor) -> tf.Tensor:
        if self._is_product():
            return self.simplest().apply(x)
        size = tf.TensorShape(x.shape[-1 - len(self.strides) : -1])
        if self.size is not None and not size.is_compatible_with(self.size):
            raise ValueError(
                f"Expected images of the size {tuple(self.size)}, which the kernel's norm is of. "
                f"Received: shape={tuple(x.shape)}. Build the model with unknown sizes, which "
                "bounds the norm for every size."
            )
        geometry, axes = (self.strides, self.padding, self.dilation), len(self.strides) + 1
        return _on_batch(lambda x: convolutions.convolve(x, self.kernel, *geometry), x, axes)

    def adjoint(self, y: tf.Tensor, size: Any = None) -> tf.Tensor:
        if self._is_product():
            return self.simplest().adjoint(y)
        size = self.size if size is None else size
        size = tf.unstack(size) if tf.is_tensor(size) else size
        if size is None or None in size:
            raise ValueError(f"Expected the images' size, or its tensor. Received: size={size}")
        geometry, axes = (self.strides, self.padding, self.dilation), len(self.strides) + 1
        transpose = convolutions.convolve_transpose
        return _on_batch(lambda y: transpose(y, self.kernel, size, *geometry), y, axes)

    def kernel_gradient(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        kernel = tf.stop_gradient(self.kernel)
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            total = tf.reduce_sum(self.with_kernel(kernel).apply(x) * y)
        return tape.gradient(total, kernel)

    def dense(self) -> tf.Tensor:
        """For a stack too: copies are channels of the side whose unit vectors aren't tried."""
        forward = math.prod(self.input_shape) <= math.prod(self.output_shape)
        shape = self.input_shape if forward else self.output_shape
        side, count, k = math.prod(shape), math.prod(self.stack), self.kernel_size
        inputs, outputs = self.kernel.shape[-2:]
        kernel = tf.reshape(self.kernel, [count, *k, inputs, outputs])
        order = list(range(1, len(k) + 3))
        order.insert(-1 if forward else -2, 0)
        channels = (inputs, -1) if forward else (-1, outputs)
        merged = self.with_kernel(tf.reshape(tf.transpose(kernel, order), [*k, *channels]))
        units = tf.reshape(tf.eye(side, dtype=kernel.dtype), [side, *shape])
        images = merged.apply(units) if forward else merged.adjoint(units)
        images = tf.reshape(images, [side, -1, count, outputs if forward else inputs])
        images = tf.reshape(tf.transpose(images, [2, 0, 1, 3]), [*self.stack, side, -1])
        return images if forward else tf.linalg.matrix_transpose(images)

    def simplest(self) -> LinearMap:
        if max(self.kernel_size) > 1:
            return self
        shape = [*self.stack, *self.kernel.shape[-2:]]
        return Matrix(tf.reshape(self.kernel, shape), error=self.error)

    def undilated(self) -> "Convolution":
        """The same map, the zeros between the taps written into the kernel."""
        kernel = convolutions.dilated(self.kernel, self.dilation)
        return dataclasses.replace(self, kernel=kernel, dilation=(1,) * len(self.dilation))

    def _joined(self, other: "Convolution") -> "Convolution | None":
        if self._is_product() or other._is_product():
            product = np.asarray(self.kernel) @ np.asarray(other.kernel)
            return (self if other._is_product() else other).with_kernel(product)
        if max(self.strides + other.strides) > 1 or not self.padding == other.padding != "same":
            return None
        first, second = self.undilated(), other.undilated()
        kernels = first.kernel.numpy(), second.kernel.numpy()
        return first.with_kernel(convolutions.joined_kernels(*kernels))

    def _is_product(self) -> bool:
        """Whether it is the product with a matrix at every position."""
        return max(self.kernel_size) == max(self.strides) == 1


def _on_batch(function: Callable, x: tf.Tensor, axes: int) -> tf.Tensor:
    """`function` of `x` with all axes but the last ones folded into a batch."""
    extra = len(x.shape) - axes
    if extra == 1:
        return function(x)
    known = tf.TensorShape(x.shape)
    shape = list(known) if known.is_fully_defined() else tf.unstack(tf.shape(x))
    batch = tf.reshape(x, [math.prod(shape[:extra]), *shape[extra:]])
    y = function(tf.ensure_shape(batch, [None, *known[extra:]]))
    sizes = list(y.shape[1:]) if y.shape[1:].is_fully_defined() else tf.unstack(tf.shape(y)[1:])
    return tf.ensure_shape(tf.reshape(y, [*shape[:extra], *sizes]), known[:extra] + y.shape[1:])
