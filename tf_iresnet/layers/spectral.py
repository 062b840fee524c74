"""Dense layers whose spectral norm is at most a coefficient."""

from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.bound_function import Kind
from tf_iresnet.layers.contractive import register
from tf_iresnet.layers.normalized import SpectralLayer, shifted


@register
class SpectralDense(SpectralLayer, keras.layers.Dense):
    """A dense layer with `‖W̃‖₂ ≤ coefficient`, by default `W̃ = W / max(1, ‖W‖₂ / coefficient)`.

    A kernel of small norm stays as it is (Gouk et al., arXiv 1804.04368, eq. 11). The kernel
    variable is not overwritten and the gradient flows through the norm. `normalization` says how:

    - "power": by power iteration, an estimate from below, at every call run to a relative tolerance
      from a stored vector, or from its rival where that has come to lead: it follows the weights
      without anything to call. Only `training=True` stores where it got to. Outside of training a
      vector that is older than the weights is noticed, and replaced by a start that leaves no
      direction out: it costs time only. The norm may exceed the coefficient by the tolerance;
      `tf_iresnet.certify` bounds it from above.
    - "gram": by an upper bound of the norm instead, from Gram iteration (Delattre et al.,
      arXiv 2305.16173; `tf_iresnet.numerics.gram`), so that `certify` proves the coefficient after
      every step. It takes eight products of matrices of the smaller side, and as many for the
      gradient.
    - "aol": `W̃ = coefficient · W D` with a diagonal D in closed form (Prach and Lampert,
      arXiv 2208.03160; `tf_iresnet.numerics.almost_orthogonal`): as certain as "gram" and cheaper,
      but the norm may be well below the coefficient. Small kernels are enlarged.

    The bound is the same in training and inference. "gram" and "aol" have no state.

    Args:
        units: number of outputs.
        coefficient: bound on the spectral norm, above 0; None leaves the kernel as it is, for
            comparison with an ordinary network.
        activation: name, Keras function or layer that is known to be non-expansive.
        power_iterations: None iterates to `tolerance`; an integer iterates just so often at each
            call, as the papers do, by "power" only.
        condition_size: size of a condition vector; an unconstrained linear map of it is added
            before the activation, which leaves the Lipschitz constant in the input as it is.
        tolerance: relative tolerance of the norm, by "power".
        max_power_iterations: most iterations of one call, by "power".
        normalization: "power", "gram" or "aol".
        **kwargs: as for `keras.layers.Dense`.

    Input shape: `[batch, …, features]`. Output shape: `[batch, …, units]`.

    Raises:
        ValueError: for a coefficient ≤ 0, an activation that isn't non-expansive, an unknown
            normalization, "aol" without a coefficient or power_iterations for another than "power".

    Example:

        keras.Sequential([
            tf_iresnet.layers.SpectralDense(64, activation="elu"), keras.layers.Dense(1),
        ])
    """

    kind = Kind.LINEAR

    def __init__(
        self,
        units: int,
        coefficient: float | None = 0.97,
        activation: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, coefficient=coefficient, activation=activation, **kwargs)

    def linear(self, x, kernel, shift=None):
        return affine(x, kernel, shift)


def affine(x: tf.Tensor, kernel: tf.Tensor, shift: tf.Tensor | None = None) -> tf.Tensor:
    """`x W̃ + b`, extra axes of `x` folded into the batch."""
    if x.shape.rank == 2:
        y = tf.matmul(x, kernel)
    else:
        y = tf.matmul(tf.reshape(x, [-1, kernel.shape[0]]), kernel)
        y = tf.reshape(y, tf.concat([tf.shape(x)[:-1], [kernel.shape[1]]], 0))
    return shifted(y, shift)
