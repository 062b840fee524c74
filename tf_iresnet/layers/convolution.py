"""Convolutions whose spectral norm, as operators on images, is at most a coefficient."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers.contractive import register
from tf_iresnet.layers.normalized import SpectralLayer, shifted
from tf_iresnet.numerics import convolution, spectral_norm
from tf_iresnet.numerics.linear_map import LinearMap
from tf_iresnet.numerics.operators import MATRIX, Convolution, convolve, output_size


class SpectralConv(SpectralLayer):
    """What the three have in common; `rank` is that of the Keras layer."""

    rank: int

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
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding="same" if padding == "circular" else padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            **kwargs,
        )
        self.padding = padding
        self.size: tuple[int, ...] | None = None

    @property
    def units(self) -> int:  # type: ignore[override]
        return self.filters

    def build(self, input_shape):
        size = tuple(input_shape[-self.rank - 1 : -1])
        self.size = None if None in size else size
        if max(self.kernel_size) > 1:
            self.operator, self.slack = self._operator(self.size)
        super().build(input_shape)

    def _operator(self, size: tuple[int, ...] | None) -> tuple[Convolution, float]:
        """The operator, and the factor by which the norm for every size may exceed its own."""
        if size is not None:
            return Convolution(size, self.strides, self.padding, self.dilation_rate), 1.0
        reach = zip(self.kernel_size, self.dilation_rate, strict=True)
        # On a ring that they don't divide, the strides leave out some of the outputs.
        strides = self.strides if self.padding != "circular" else (1,) * self.rank
        size, slack = convolution.grid(tuple((k - 1) * rate + 1 for k, rate in reach), strides)
        return Convolution(size, strides, "circular", self.dilation_rate), slack

    def _operand(self, kernel):
        return kernel if self.operator != MATRIX else tf.reshape(kernel, kernel.shape[-2:])

    def _vector_shape(self):
        if self.operator == MATRIX:
            return (self.filters,)
        return (*self.operator.output_size(self.kernel_size), self.filters)

    def _generic(self):
        if self.operator == MATRIX:
            return self._draws()
        # Made where they are needed: as constants, they would be most of a graph.
        return tf.random.stateless_normal(
            (4, *self._vector_shape()), [0, 0], dtype=self.variable_dtype
        )

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

    def linear_map(self, kernel):
        kernel = np.asarray(kernel, np.float64)
        return LinearMap(kernel, self.size, self.strides, self.padding, self.dilation_rate)

    def _fits(self, x: tf.Tensor) -> bool:
        """Whether the kernel is normalised for images of that size."""
        if self.size is None or self.operator == MATRIX:
            return True
        return tf.TensorShape(x.shape[-self.rank - 1 : -1]).is_compatible_with(self.size)

    def call(self, inputs, condition=None, training=None):
        if self._fits(inputs):
            return super().call(inputs, condition, training)
        kernel = self._kernel_for_every_size()
        return self._bound(kernel, condition, training, self._convolve)(inputs)

    def _kernel_for_every_size(self) -> tf.Tensor:
        kernel = self.kernel.value
        operator, slack = self._operator(None)
        if self.normalization != "power":
            return self._bound_normalized(kernel, operator, slack)
        shape = (*operator.output_size(self.kernel_size), self.filters)
        generic = tf.random.stateless_normal((4, *shape), [0, 0], dtype=kernel.dtype)
        start = spectral_norm.leading_vector(kernel, generic[0], generic, 4, operator)
        return self._power_normalize(kernel, start, operator, slack)[0]

    def linear(self, x, kernel, shift=None):
        if not self._fits(x):
            raise ValueError(
                f"Expected images of the size {self.size} that {self.name!r} was built for, as its "
                f"norm is. Received: shape={x.shape}. Build the model with unknown sizes, which "
                "bounds the norm for every size."
            )
        return self._convolve(x, kernel, shift)

    def _convolve(self, x, kernel, shift=None):
        extra = x.shape.rank - self.rank - 2
        if not extra:
            y = convolve(x, kernel, self.strides, self.padding, self.dilation_rate)
            return shifted(y, shift)
        shape = tf.shape(x)
        images = tf.reshape(x, tf.concat([[-1], shape[extra + 1 :]], 0))
        images = tf.ensure_shape(images, [None, *x.shape[extra + 1 :]])
        y = convolve(images, kernel, self.strides, self.padding, self.dilation_rate)
        y = tf.reshape(y, tf.concat([shape[: extra + 1], tf.shape(y)[1:]], 0))
        return shifted(tf.ensure_shape(y, self._linear_output_shape(x.shape)), shift)

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
    the reshaped kernel nor, with zero padding, the circulant map. It is estimated by power
    iteration and followed as in `SpectralDense`, each iteration at the cost of two convolutions of
    one image. A kernel of size 1 is a matrix. `tf_iresnet.certify` bounds the norm from above.

    Built for an unknown size (`keras.Input([None, None, channels])`), or called with another size
    than it was built for, the layer bounds the norm for every size: by that on a ring of 16 points
    for each degree of the kernel, times a factor (2 % an axis at most) for the frequencies between.

    Args:
        filters: number of output channels.
        kernel_size: one number, or one an axis; so are strides and dilation_rate.
        strides: as for `keras.layers.Conv2D`.
        padding: "valid", "same", or "circular": like "same", the image continued periodically.
        data_format: "channels_last", the only one.
        dilation_rate: as for `keras.layers.Conv2D`; a dilated kernel costs what one of its whole
            extent does.
        groups: 1, the only one.
        activation: name, Keras function or layer that is known to be non-expansive.
        use_bias: whether a bias is added.
        coefficient: bound on the operator's norm, above 0; None leaves the kernel as it is.
        power_iterations: None iterates to `tolerance`; an integer iterates just so often at each
            call, as the papers do, by "power" only.
        condition_size: size of a condition vector; an unconstrained linear map of it is added at
            every position before the activation, which leaves the Lipschitz constant as it is.
        tolerance: relative tolerance of the norm, by "power".
        max_power_iterations: most iterations of one call, by "power".
        normalization: "power", "gram" or "aol".
        **kwargs: as for `keras.layers.Conv2D`.

    Input shape: `[batch, …, rows, columns, channels]`.
    Output shape: `[batch, …, new rows, new columns, filters]`.

    Raises:
        ValueError: for a coefficient ≤ 0, an activation that isn't non-expansive, another data
            format or padding, groups, a normalization as in `SpectralDense`; from `build`, for
            images that the kernel doesn't fit into.

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
