"""Convolutions whose spectral norm, as operators on images, is at most a coefficient."""

from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.serialization import register
from tf_iresnet.layers.spectral import SpectralLayer
from tf_iresnet.numerics.convolutions import output_size, periodic_positions
from tf_iresnet.numerics.linear_maps import Convolution
from tf_iresnet.numerics.structures import at_least_float32
from tf_iresnet.numerics.symbols import for_every_size


class SpectralConv(SpectralLayer):
    """The base of the three."""

    rank: int  # the number of spatial axes

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        groups: int = 1,
        activation: Any = None,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        data_format = data_format or keras.config.image_data_format()
        if data_format != "channels_last":
            raise ValueError(
                f"Expected data_format='channels_last'. Received: data_format={data_format!r}. "
                f"Put a keras.layers.Permute before {name} and pass data_format='channels_last'."
            )
        if groups != 1:
            raise ValueError(
                f"Expected groups=1, as {name} normalises one operator. Received: groups={groups}. "
                "Split the channels, give each group a layer, and concatenate."
            )
        if padding not in ("valid", "same", "circular"):
            raise ValueError(
                "Expected padding to be 'valid', 'same' or 'circular'. "
                f"Received: padding={padding!r}. For 'causal', pad before a layer with 'valid'."
            )
        of_keras = "same" if padding == "circular" else padding
        geometry = strides, of_keras, data_format, dilation_rate
        super().__init__(filters, kernel_size, *geometry, activation=activation, **kwargs)
        self.padding = padding
        self.size: tuple[int, ...] | None = None

    @property
    def units(self) -> int:  # type: ignore[override]
        return self.filters

    def build(self, input_shape):
        size = tuple(input_shape[-self.rank - 1 : -1])
        self.size = None if None in size else size
        super().build(input_shape)

    def linear_map(self, kernel):
        convolution = self.certified_map(kernel)
        return convolution if max(self.strides) > 1 else convolution.simplest()

    def certified_map(self, kernel, every_size=False):
        size = None if every_size else self.size
        return Convolution(kernel, size, self.strides, self.padding, self.dilation_rate)

    def norm_map(self, kernel, every_size=False):
        convolution = self.certified_map(kernel, every_size)
        if convolution.size is None and max(self.kernel_size) > 1:
            return for_every_size(convolution)
        return convolution.simplest(), 1.0

    def _linear_output_shape(self, input_shape):
        before, size = input_shape[: -self.rank - 1], input_shape[-self.rank - 1 : -1]
        axes = zip(size, self.kernel_size, self.strides, self.dilation_rate, strict=True)
        outputs = tuple(output_size(n, k, s, self.padding, rate) for n, k, s, rate in axes)
        if any(n is not None and n <= 0 for n in outputs):
            raise ValueError(
                f"Expected images that the kernel fits into. Received: size={tuple(size)}, "
                f"kernel_size={self.kernel_size}. Use padding='same' or a smaller kernel."
            )
        return (*before, *outputs, self.filters)

    def call(self, inputs, condition=None, training=None):
        size = tf.TensorShape(inputs.shape[-self.rank - 1 : -1])
        if self.size is None or max(self.kernel_size) == 1 or size.is_compatible_with(self.size):
            return super().call(inputs, condition, training)
        linear_map, margin = self.norm_map(at_least_float32(self.kernel.value), every_size=True)
        kernel = self.rule.anew(linear_map, self.limit / margin)
        linear_map = self.certified_map(kernel, every_size=True)
        bound = self.as_called(self._bound(linear_map, condition, training))
        return bound(tf.cast(inputs, self.compute_dtype))

    def plain_layer(self, rank, **options):
        geometry = {"strides": self.strides, "dilation_rate": self.dilation_rate}
        padding = "valid" if self.padding == "circular" else self.padding
        kind = getattr(keras.layers, f"Conv{self.rank}D")
        plain = kind(self.filters, self.kernel_size, padding=padding, **geometry, **options)
        for _ in range(rank - self.rank - 2):  # axes before those of the image
            plain = keras.layers.TimeDistributed(plain, dtype=options["dtype"])
        return plain

    def plain_input(self, x, folding):
        if self.padding != "circular" or max(self.kernel_size) == 1:
            return x
        size = self.size
        if size is None:
            raise ValueError(
                "Expected circular padding of a known size. Received: "
                f"{self.name!r}, built for images of any size. Build it for one."
            )

        def continued(x: Any) -> Any:
            axes = zip(size, self.kernel_size, self.strides, self.dilation_rate, strict=True)
            for axis, geometry in enumerate(axes, len(x.shape) - self.rank - 1):
                x = keras.ops.take(x, periodic_positions(*geometry), axis=axis)
            return x

        return folding.operations(self, continued, x)

    def get_config(self):
        return {**super().get_config(), "padding": self.padding}


@register
class SpectralConv1D(SpectralConv, keras.layers.Conv1D):
    """`SpectralConv2D` for sequences: `[batch, …, steps, channels]`.

    Example:

        tf_iresnet.layers.SpectralConv1D(64, 3, padding="same", activation="lipswish")
    """


@register
class SpectralConv2D(SpectralConv, keras.layers.Conv2D):
    """A convolution whose norm, as an operator on images, is at most `coefficient`.

    `W̃ = W / max(1, ‖A(W)‖₂ / coefficient)`, where `A(W)` is the linear map of images with this
    padding and these strides, at the size that the layer is built for: its norm is that of neither
    the reshaped kernel nor, with zero padding, the circulant map. It is bounded as in
    `SpectralDense`; a pass, along conjugate directions, costs two convolutions of one image. A
    kernel of size 1 is a matrix.

    Built for an unknown size (`keras.Input([None, None, channels])`), or called with another size
    than it was built for, the layer bounds the norm for every size: by that on a ring of 16 points
    for each degree of the kernel, times a factor (2 % an axis at most) for the frequencies between.

    Args:
        filters: number of output channels.
        kernel_size: one number, or one per axis; so are strides and dilation_rate.
        strides: see `keras.layers.Conv2D`.
        padding: "valid", "same", or "circular": like "same", the image continued periodically.
        data_format: "channels_last", the only one.
        dilation_rate: a dilated kernel costs what one of its whole extent does.
        groups: 1, the only one.
        activation, coefficient, power_iterations, tolerance, max_power_iterations, normalization:
            see `SpectralDense`.
        condition_size: as in `SpectralDense`; what it adds is the same at every position.
        **kwargs: as for `keras.layers.Conv2D`, such as `use_bias`.

    Input shape: `[batch, …, rows, columns, channels]`.
    Output shape: `[batch, …, new rows, new columns, filters]`.

    Raises:
        ValueError: as `SpectralDense`; for another data format or padding, or groups; from `build`,
            for images that the kernel doesn't fit into.

    Example:

        block = tf_iresnet.layers.ResidualBlock([
            tf_iresnet.layers.SpectralConv2D(64, 3, padding="same", activation="lipswish"),
            tf_iresnet.layers.SpectralConv2D(64, 1, activation="lipswish"),
            tf_iresnet.layers.SpectralConv2D(3, 3, padding="same"),
        ])
    """


@register
class SpectralConv3D(SpectralConv, keras.layers.Conv3D):
    """`SpectralConv2D` for volumes: `[batch, …, depth, rows, columns, channels]`.

    Example:

        tf_iresnet.layers.SpectralConv3D(8, 3, padding="same", activation="lipswish")
    """
