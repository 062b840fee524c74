"""Linear maps one after another as one map, whose norm may be less than the product of theirs."""

import dataclasses
import itertools
import math

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics import convolution, spectral_norm
from tf_iresnet.numerics.operators import dilated


@dataclasses.dataclass(frozen=True, eq=False)
class LinearMap:
    """A matrix on the last axis, or a convolution, in float64.

    Args:
        kernel: `[inputs, outputs]` or `[*kernel_size, inputs, outputs]`.
        size: of a convolution's inputs; None for every size.
        strides, padding, dilation: of a convolution, as of `numerics.convolution.upper_bound`.
        error: bound on the norm of what rounding has done to the kernel.
    """

    kernel: np.ndarray
    size: tuple[int, ...] | None = None
    strides: tuple[int, ...] = ()
    padding: str = "valid"
    dilation: tuple[int, ...] = ()
    error: float = 0.0

    def norm_bound(self) -> float:
        """A number that is certainly ≥ the norm."""
        if self._of_channels():
            bound = spectral_norm.upper_bound(self.kernel.reshape(self.kernel.shape[-2:]))
        else:
            bound = convolution.upper_bound(
                self.kernel, self.size, self.strides, self.padding, self.dilation
            )
        return bound + self.error

    def then(self, other: "LinearMap") -> "LinearMap | None":
        """`x ↦ other(self(x))` as one map, None where it isn't one of these.

        Two matrices are one; so are a convolution and one of kernel size 1, before or after, and
        two convolutions of stride 1 that are both "valid" or both "circular". Two that are padded
        with zeros aren't: the second one sees zeros where the first one's outputs would go on.
        """
        if self.kernel.ndim != other.kernel.ndim:
            return None
        if other._of_channels() and not other._strided():
            geometry, kernel = self, self.kernel @ other.kernel
        elif self._of_channels() and not self._strided():
            geometry, kernel = other, self.kernel @ other.kernel
        elif self._joins(other):
            first, second = self._undilated(), other._undilated()
            geometry, kernel = first, _convolved(first.kernel, second.kernel)
        else:
            return None
        products = math.prod(other.kernel.shape[:-1])
        rounding = 4 * products * np.finfo(np.float64).eps
        error = (rounding * self._size() + self.error) * other._size() + other.error * self._size()
        return dataclasses.replace(geometry, kernel=kernel, error=error)

    def _of_channels(self) -> bool:
        return max(self.kernel.shape[:-2], default=1) == 1

    def _strided(self) -> bool:
        return max(self.strides, default=1) > 1

    def _joins(self, other: "LinearMap") -> bool:
        plain = not self._strided() and not other._strided()
        return plain and self.padding == other.padding and self.padding != "same"

    def _undilated(self) -> "LinearMap":
        kernel = dilated(tf.constant(self.kernel), self.dilation).numpy()
        return dataclasses.replace(self, kernel=kernel, dilation=(1,) * len(self.dilation))

    def _size(self) -> float:
        """At least the norm, of each part of the kernel too."""
        return float(np.sqrt(np.sum(self.kernel**2, (-2, -1))).sum()) + self.error


def _convolved(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The kernel of one convolution after the other."""
    sides = zip(first.shape[:-2], second.shape[:-2], strict=True)
    result = np.zeros([*(a + b - 1 for a, b in sides), first.shape[-2], second.shape[-1]])
    for tap in itertools.product(*map(range, second.shape[:-2])):
        there = tuple(slice(t, t + k) for t, k in zip(tap, first.shape[:-2], strict=True))
        result[there] += first @ second[tap]
    return result
