"""Layers that move entries and change none: squeezing, reshaping, padding with channels."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers.closed_form import ClosedFormLayer
from tf_iresnet.layers.serialization import register


class _Rearrangement(ClosedFormLayer):
    """The same entries in another shape: a permutation of coordinates, so the log-det is 0."""

    def transform(self, x):
        return tf.reshape(x, [-1, *self.compute_output_shape((None, *self.event_shape))[1:]])

    def restore(self, y):
        return tf.reshape(y, [-1, *self.event_shape])

    def fold(self, x, folding):
        shape = self.compute_output_shape((None, *self.event_shape))[1:]
        return folding.apply(keras.layers.Reshape(shape, **folding.options(self)), x)


@register
class Squeeze(_Rearrangement):
    """Trades space for channels: blocks of `factor` positions an axis become channels.

    On images it is `tf.nn.space_to_depth`, its inverse `tf.nn.depth_to_space`: channel
    `(i·factor + j)·C + c` holds channel `c` of row `i`, column `j` of the block. It goes between
    the scales of an image flow (Real NVP, arXiv 1605.08803, section 3.6), see `MultiScale`.

    Args:
        factor: side of a block, at least 2.

    Input shape: `[batch, height, width, channels]`, or with another number of spatial axes.
    Output shape: `[batch, height/factor, width/factor, channels·factor²]`.

    Raises:
        ValueError: for a factor below 2, events without a spatial axis, and sizes that `factor`
            doesn't divide.

    Example:

        layer = tf_iresnet.layers.Squeeze()
        layer(tf.zeros((8, 32, 32, 3)))  # [8, 16, 16, 12]
    """

    def __init__(self, factor: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not (isinstance(factor, int) and factor >= 2):
            raise ValueError(f"Expected factor to be an integer ≥ 2. Received: {factor=!r}")
        self.factor = factor

    def build(self, input_shape):
        super().build(input_shape)
        if len(self.event_shape) < 2:
            raise ValueError(
                f"Expected {self.name!r} inputs with spatial axes, [batch, height, width, "
                f"channels]. Received: shape={tuple(input_shape)}. Give vectors a shape with "
                "tf_iresnet.layers.Reshape first."
            )
        if any(size % self.factor for size in self.event_shape[:-1]):
            raise ValueError(
                f"Expected spatial sizes that factor={self.factor} divides. Received: event shape "
                f"{self.event_shape}. Crop or pad the data, squeeze fewer times, or change factor."
            )
        # A batch in blocks, [B, H/f, f, W/f, f, C], and the same with the axes of a block last.
        *sizes, channels = self.event_shape
        n, f = len(sizes), self.factor
        in_blocks = (-1, *(side for size in sizes for side in (size // f, f)), channels)
        self._order = (0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2), 2 * n + 1)
        self._mixed, self._separate = in_blocks, tuple(in_blocks[axis] for axis in self._order)

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        blocks = (size // self.factor for size in sizes)
        return (batch, *blocks, channels * self.factor ** len(sizes))

    def transform(self, x):
        return super().transform(tf.transpose(tf.reshape(x, self._mixed), self._order))

    def fold(self, x, folding):
        for plain in (
            (keras.layers.Reshape, self._mixed[1:]),
            (keras.layers.Permute, self._order[1:]),
        ):
            x = folding.apply(plain[0](plain[1], **folding.options(self)), x)
        return super().fold(x, folding)

    def restore(self, y):
        back = np.argsort(self._order)
        return super().restore(tf.transpose(tf.reshape(y, self._separate), back))


@register
class Reshape(_Rearrangement):
    """Each example in another shape, in row-major order: `tf.reshape` with an inverse.

    It goes between convolutions and fully connected blocks, as in the image flows of Residual Flows
    (arXiv 1906.02735). `Reshape([-1])` flattens.

    Args:
        target_shape: event shape of the output; one entry may be -1.

    Input shape: `[batch, *event]`. Output shape: `[batch, *target_shape]`.

    Raises:
        ValueError: for a target that isn't a shape, or that an event doesn't fit into.

    Example:

        tf_iresnet.layers.InvertibleSequential([
            tf_iresnet.layers.Reshape([-1]),
            tf_iresnet.layers.ResidualBlock([
                tf_iresnet.layers.SpectralDense(128, activation="lipswish"),
                tf_iresnet.layers.SpectralDense(64),
            ]),
            tf_iresnet.layers.Reshape([8, 8, 1]),
        ])
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = sizes = tuple(int(size) for size in target_shape)
        if not sizes or sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
            raise ValueError(
                "Expected target_shape to be positive sizes, of which one may be -1. "
                f"Received: target_shape={sizes}"
            )

    def build(self, input_shape):
        super().build(input_shape)
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        size, known = math.prod(input_shape[1:]), abs(math.prod(self.target_shape))
        if size % known or (-1 not in self.target_shape and size != known):
            raise ValueError(
                f"Expected events of a size that fits target_shape={self.target_shape}. "
                f"Received: event shape {tuple(input_shape[1:])}, which has {size} entries."
            )
        return (input_shape[0], *(size // known if n == -1 else n for n in self.target_shape))


@register
class ChannelPad(ClosedFormLayer):
    """Appends channels of zeros: the injective padding of i-ResNet classifiers.

    More channels make an invertible network wider; the published ones for CIFAR10 append 13 to the
    3 (i-ResNet, arXiv 1811.00995). The map is injective, not bijective, so it has no
    log-determinant, and the model no density: `call` and `inverse` work, also inside an
    `InvertibleSequential`, while `forward_with_log_det` and `inverse_with_log_det` raise.

    `inverse` drops the channels, whatever is in them: `inverse(layer(x))` is `x` exactly, but
    `layer(inverse(y))` is `y` only where these channels are 0.

    Args:
        channels: how many to append, at least 1.

    Input shape: `[batch, …, features]`. Output shape: `[batch, …, features + channels]`.

    Raises:
        ValueError: for fewer than 1 channel, and from the methods that return a log-determinant.

    Example:

        layer = tf_iresnet.layers.ChannelPad(13)
        layer(tf.zeros((8, 32, 32, 3)))  # [8, 32, 32, 16]
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not (isinstance(channels, int) and channels >= 1):
            raise ValueError(f"Expected channels to be an integer ≥ 1. Received: {channels=!r}")
        self.channels = channels

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + self.channels)

    def transform(self, x):
        return tf.pad(x, [*[[0, 0]] * (x.shape.rank - 1), [0, self.channels]])

    def restore(self, y):
        return y[..., : -self.channels]

    def fold(self, x, folding):
        def padded(x: Any) -> Any:
            return keras.ops.pad(x, [*[[0, 0]] * (len(x.shape) - 1), [0, self.channels]])

        return folding.operations(self, padded, x)

    def log_det_at(self, x):
        raise ValueError(
            "Expected a bijection, to have a log-determinant. Received: "
            f"ChannelPad {self.name!r}, which is injective only: it is for classifiers, where "
            "`call` and `inverse` are all that is needed. In a density model use "
            "tf_iresnet.layers.Squeeze to have more channels."
        )
