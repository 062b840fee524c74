"""Fixed elementwise bijections between the user's units and the network's."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers.closed_form import ClosedFormLayer
from tf_iresnet.layers.invertible import Mapped
from tf_iresnet.layers.serialization import register


@register
class Rescale(ClosedFormLayer):
    """`y = scale·x + offset`, with fixed numbers for each entry of the event (or one for all).

    Args:
        scale: non-zero, broadcast to the event shape.
        offset: broadcast to the event shape.

    `Rescale.standardize(mean, deviation)` gives `(x − mean) / deviation`.
    """

    def __init__(self, scale: Any = 1.0, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = np.asarray(scale, np.float64)
        self.offset = np.asarray(offset, np.float64)
        if not (np.all(np.isfinite(self.scale)) and np.all(self.scale != 0)):
            raise ValueError(f"Expected scale to be finite and not 0. Received: scale={scale}")
        if not np.all(np.isfinite(self.offset)):
            raise ValueError(f"Expected offset to be finite. Received: offset={offset}")

    @classmethod
    def standardize(cls, mean: Any, deviation: Any, **kwargs: Any) -> "Rescale":
        """The layer `(x − mean) / deviation`."""
        scale = 1.0 / np.asarray(deviation, np.float64)
        return cls(scale, -np.asarray(mean, np.float64) * scale, **kwargs)

    def build(self, input_shape):
        super().build(input_shape)
        for name in ("scale", "offset"):
            try:
                np.broadcast_to(getattr(self, name), self.event_shape)
            except ValueError:
                raise ValueError(
                    f"Expected {name} to broadcast to the event shape {self.event_shape}. "
                    f"Received: {name} of shape {getattr(self, name).shape}"
                ) from None

    def transform(self, x):
        # In this order the rounding is relative to the spread of the data, not to its mean.
        center = tf.constant(-self.offset / self.scale, x.dtype)
        return (x - center) * tf.constant(self.scale, x.dtype)

    def restore(self, y):
        center = tf.constant(-self.offset / self.scale, y.dtype)
        return y / tf.constant(self.scale, y.dtype) + center

    def fold(self, x, folding):
        return folding.affine(
            self, folding.affine(self, x, 1.0, self.offset / self.scale), self.scale
        )

    def log_det_at(self, x):
        slopes = tf.constant(np.log(np.abs(self.scale)), x.dtype)
        return _sum_of_entries(tf.broadcast_to(slopes, tf.shape(x)))

    def serialized(self, argument):
        return getattr(self, argument).tolist()


@register
class Logit(ClosedFormLayer):
    """`y = logit(α + (1 − 2α) x)` of data in [0, 1] (Dinh et al., Real NVP, arXiv 1605.08803).

    Data where `s = α + (1 − 2α) x` isn't between 0 and 1 have the log-determinant −∞, so that a
    flow's density of them is 0; their outputs are finite, those of the nearest end.

    Args:
        alpha: 0 ≤ α < ½, keeps the ends finite; Residual Flows use 0.05 for CIFAR10 and 1e-6
            for MNIST.
    """

    def __init__(self, alpha: float = 0.05, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= alpha < 0.5:
            raise ValueError(f"Expected 0 ≤ alpha < 0.5. Received: alpha={alpha}")
        self.alpha = alpha

    def _arguments(self, x: Any) -> tuple[Any, Any]:
        """`s = α + (1 − 2α) x` and `1 − s`."""
        # Each from its own end: in float32 1 − s loses all digits near 1.
        return self.alpha + (1 - 2 * self.alpha) * x, self.alpha + (1 - 2 * self.alpha) * (1 - x)

    def transform(self, x):
        tiny = np.finfo(x.dtype.as_numpy_dtype if tf.is_tensor(x) else x.dtype).tiny
        inside = [keras.ops.where(s <= 0, tiny, s) for s in self._arguments(x)]  # NaN stays NaN
        return keras.ops.log(inside[0]) - keras.ops.log(inside[1])

    def restore(self, y):
        return (tf.sigmoid(y) - self.alpha) / (1 - 2 * self.alpha)

    def fold(self, x, folding):
        return folding.operations(self, self.transform, x)

    def log_det_at(self, x):
        slopes = []
        for s in self._arguments(x):
            outside = s <= 0
            logarithm = tf.math.log(tf.where(outside, tf.ones_like(s), s))
            slopes.append(tf.where(outside, tf.cast(-math.inf, x.dtype), -logarithm))
        return _sum_of_entries(tf.cast(np.log1p(-2 * self.alpha), x.dtype) + slopes[0] + slopes[1])

    def pull(self, bound, y, how=None):
        # By y, since a sigmoid is rounded to an end of the support.
        slopes = -tf.math.softplus(y) - tf.math.softplus(-y) - math.log1p(-2 * self.alpha)
        return Mapped.exact(self.restore(y), how and _sum_of_entries(slopes))


def _sum_of_entries(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, axis=range(1, values.shape.rank))
