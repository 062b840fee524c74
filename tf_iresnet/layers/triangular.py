"""Residual blocks of vectors whose Jacobian is triangular, so that its determinant is a product."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers import activations
from tf_iresnet.layers.invertible import Mapped
from tf_iresnet.layers.residual import ResidualBlock
from tf_iresnet.layers.serialization import register
from tf_iresnet.layers.spectral import SpectralDense
from tf_iresnet.numerics.bound_function import Lowered, Pointwise
from tf_iresnet.numerics.linear_maps import Matrix

ELEMENTWISE = ("lipswish", "sine", *activations.SLOPES)


class _MaskedDense(SpectralDense):
    """A dense layer with a group of units for each dimension, which sees its own and earlier ones.

    The bound on the norm is one on the whole masked kernel.
    """

    def __init__(
        self, units_per_dim: int, inputs_per_dim: int, reverse: bool, **kwargs: Any
    ) -> None:
        super().__init__(units_per_dim, **kwargs)
        self.units_per_dim = units_per_dim
        self.inputs_per_dim = inputs_per_dim
        self.reverse = reverse

    def build(self, input_shape):
        dims = input_shape[-1] // self.inputs_per_dim
        self.units = dims * self.units_per_dim
        order = np.arange(dims)[:: -1 if self.reverse else 1]
        inputs, outputs = (np.repeat(order, n) for n in (self.inputs_per_dim, self.units_per_dim))
        self.mask = inputs[:, None] <= outputs
        super().build(input_shape)

    def linear_map(self, kernel):
        return Matrix(kernel * tf.cast(self.mask, kernel.dtype))

    def along_diagonal(self, slopes: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """The groups' own parts: `[batch, dims, inputs_per_dim] → [batch, dims, units_per_dim]`."""
        dims = slopes.shape[1]
        blocks = tf.reshape(kernel, [dims, self.inputs_per_dim, dims, self.units_per_dim])
        diagonal = tf.linalg.diag_part(tf.transpose(blocks, [1, 3, 0, 2]))
        return tf.einsum("bdi,iod->bdo", slopes, diagonal)


@register
class TriangularBlock(ResidualBlock):
    """`y = x + g(x)` where `g_i` depends on `x_1 … x_i` only: an exact log-determinant for vectors.

    The Jacobian is triangular, so `ln det(I + J) = Σ_i ln(1 + J_ii)`. Each variable has a group of
    units in every hidden layer, which sees its own and the earlier variables' groups; so `J_ii`, a
    product of the kernels' diagonal blocks and the activations' slopes, costs less than another
    evaluation of `g`, whatever the dimension, and has no noise. The norm of every masked kernel is
    bounded, so `|J_ii| ≤ Lip(g) < 1`, and the inverse is that of `ResidualBlock`. Stack blocks of
    both orders: those of one order alone compose to a triangular map.

    Sources: block neural autoregressive flows (De Cao et al., arXiv 1904.04676) for the masks; ELF
    (Gopal, arXiv 2112.06997) for a bounded norm with an exact determinant.

    Args:
        units_per_dim: units of each variable in every hidden layer, from the first.
        coefficient: bound on the spectral norm of every kernel, below 1.
        activation: after each hidden layer, by name; one that treats its entries alike and alone:
            "lipswish", "sine", "elu", "tanh", ….
        reverse: whether `g_i` depends on `x_i … x_d` instead.
        condition_size: size of a condition vector, or None; every layer sees it.
        seed: of the initial kernels, orthogonal before the mask; None draws one.
        dense: further arguments of each `SpectralDense` layer, or None.
        solver, tolerance, max_iterations, on_failure: see `ResidualBlock`.

    Input shape: `[batch, dims]`. Output shape: the same.

    Raises:
        ValueError: for a bound that isn't below 1, an activation that isn't elementwise, or inputs
            that aren't vectors.

    Example:

        forth = tf_iresnet.layers.TriangularBlock((8, 8))
        back = tf_iresnet.layers.TriangularBlock((8, 8), reverse=True)
        pair = tf_iresnet.layers.InvertibleSequential([forth, back])
        flow = tf_iresnet.ResidualFlow(tf_iresnet.layers.Repeated(pair, 5))
    """

    def __init__(
        self,
        units_per_dim: Sequence[int] = (8, 8),
        coefficient: float = 0.97,
        activation: str = "lipswish",
        reverse: bool = False,
        condition_size: int | None = None,
        seed: int | None = None,
        dense: Mapping[str, Any] | None = None,
        solver: str = "anderson",
        tolerance: float = 1e-5,
        max_iterations: int = 1000,
        on_failure: str = "nan",
        **kwargs: Any,
    ) -> None:
        if activation not in ELEMENTWISE:
            raise ValueError(
                "Expected an activation of each entry by itself, or the Jacobian isn't triangular: "
                f"one of {sorted(ELEMENTWISE)}. Received: activation={activation!r}. "
                "For others use tf_iresnet.layers.ResidualBlock."
            )
        dtype = kwargs.get("dtype")
        common = {"coefficient": coefficient, "condition_size": condition_size, "dtype": dtype}
        branch: list[Any] = []
        for index, (inputs, units) in enumerate(itertools.pairwise([1, *units_per_dim, 1])):
            if branch:
                branch.append(activations.get(activation, dtype))
            start = keras.initializers.Orthogonal(seed=None if seed is None else seed + index)
            # Named: SavedModels refuse the underscore that the name of the class begins with.
            name = {"name": f"masked_dense_{index}"}
            own = {"kernel_initializer": start, **name, **common, **(dense or {})}
            branch.append(_MaskedDense(units, inputs, reverse, **own))
        settings = solver, tolerance, max_iterations, on_failure
        super().__init__(branch, "exact", *settings, constrained=True, **kwargs)
        self.units_per_dim = tuple(units_per_dim)
        self.coefficient = coefficient
        self.activation = activation
        self.reverse = reverse
        self.seed = seed
        self.dense = dense

    def build(self, input_shape):
        if len(input_shape) != 2:
            raise ValueError(
                "Expected inputs of shape [batch, dims], variables that have an order. Received: "
                f"shape={tuple(input_shape)}. Flatten them with tf_iresnet.layers.Reshape."
            )
        super().build(input_shape)

    def push(self, bound, x, how=None):
        if how is None:
            return super().push(bound, x)
        low, dtype = bound, x.dtype
        if isinstance(bound, Lowered):
            low, dtype = bound.lowered(), bound.dtype
        value = tf.cast(x, dtype)
        slopes = tf.ones_like(value)[:, :, None]  # of every unit in its own variable
        for layer, stage in zip(self.branch.layers, low.stages, strict=True):
            if isinstance(stage, Pointwise):
                value, slope = stage.with_slope(value)
                slopes *= tf.reshape(slope, tf.shape(slopes))
            else:
                slopes = layer.along_diagonal(slopes, stage.linear_map.kernel)
                value = stage(value)
        log_det = tf.reduce_sum(tf.math.log1p(tf.cast(slopes, x.dtype)), [1, 2])
        return Mapped.exact(x + tf.cast(value, x.dtype), log_det)

    def pull(self, bound, y, how=None):
        mapped = super().pull(bound, y)
        if how is None:
            return mapped
        forward = self.push(bound, mapped.value, how)
        return mapped._replace(log_det=-forward.log_det, truncation=forward.truncation)

    def get_config(self):
        made_here = ("branch", "log_det", "constrained")
        return {k: value for k, value in super().get_config().items() if k not in made_here}
