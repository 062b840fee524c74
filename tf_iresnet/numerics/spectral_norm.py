"""The largest singular value of a dense kernel: an estimate from below, bounds from above.

Power iteration is what training runs, a pass or two a step; its value never exceeds the norm.
The bounds hold for every kernel and are what a certificate rests on.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

EXACT_UP_TO = 512  # smaller side up to which a float64 SVD costs well under a second


def power_iteration(
    kernel: tf.Tensor,
    vector: tf.Tensor,
    tolerance: float = 1e-2,
    max_iterations: int = 200,
    iterations: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Estimates ‖kernel‖₂ from a stored right singular vector: `v ← WᵀWv/‖WᵀWv‖`, `σ̃ = ‖Wv‖`.

    Stops on the eigen-residual of the pass, `‖WᵀWv − s²v‖ ≤ √2·tolerance·s²` with `s = ‖Wv‖`.
    That puts s within `tolerance` of *a* singular value, and it is what makes the stop mean the
    same for every size and spectrum: squared, it is twice the relative growth of σ̃ in half a pass,
    and where the leading singular values have no gap (a random kernel, a trained one) the error
    after k passes falls like 1/k but the growth like 1/k², so stopping on the growth itself
    promises far too much. Cold starts on 128×128 Gaussian kernels: growth ≤ 1e-3 took 15 passes
    and was up to 5.4 % low; this rule at 1e-2 took 39 and was at most 0.3 % low; on spectra with
    twenty values between 0.97 and 1, 0.7 % low. When nothing changed, one pass decides. No stop
    can see a larger singular value to which the start is orthogonal: start from `leading_vector`,
    and certify with `upper_bound`.

    The gradient with respect to the kernel is `u vᵀ`, the vectors held constant (Miyato et al.,
    2018, arXiv 1802.05957, equation 9); a zero kernel gives σ̃ = 0, gradient 0 and the old vector.

    Args:
      kernel: `[inputs, outputs]`, floating point, finite; any scale.
      vector: `[outputs]`, non-zero, of any length: where an earlier call got to.
      tolerance: relative, on σ̃. Rounding limits it to about the square root of the dtype's epsilon.
      max_iterations: at most so many passes, each one product with W and one with Wᵀ.
      iterations: exactly so many passes, whatever the residual (the papers' setting).

    Returns:
      σ̃, a scalar, and the unit vector `[outputs]` it belongs to, which carries no gradient.

    Raises:
      ValueError: if `iterations` or `max_iterations` is negative.
    """
    passes = max_iterations if iterations is None else iterations
    if passes < 0:
        raise ValueError(f"Expected a number of passes >= 0. Received: {passes} <pass 0 or more>")
    kernel = tf.convert_to_tensor(kernel)
    vector = tf.convert_to_tensor(vector, kernel.dtype)
    growth = -1.0 if iterations is not None else tolerance**2
    sigma, u, v = _iterate(kernel.dtype)(
        tf.stop_gradient(kernel), tf.stop_gradient(vector), tf.cast(growth, kernel.dtype), passes
    )
    return _with_gradient(kernel, sigma, u, v), tf.reshape(v, vector.shape)


@tf.custom_gradient
def _with_gradient(
    kernel: tf.Tensor, sigma: tf.Tensor, u: tf.Tensor, v: tf.Tensor
) -> tuple[tf.Tensor, Callable]:
    """Returns sigma with the gradient u vᵀ in the kernel."""
    del kernel


    def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None, None]:
        return tf.matmul(upstream * u, v, transpose_b=True), None, None, None

    return tf.identity(sigma), grad


@functools.lru_cache
def _iterate(dtype: tf.DType) -> Callable:
    """One trace for all kernels of a dtype: tracing a loop takes longer than running it."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], dtype),
            tf.TensorSpec([None], dtype),
            tf.TensorSpec([], dtype),
            tf.TensorSpec([], tf.int32),
        ],
        autograph=False,
        experimental_attributes={"_noinline": True},
    )
    def iterate(kernel, vector, growth, passes):
        # Squares of entries beyond 1e19 overflow float32: use the kernel over its largest entry.
        scale = tf.math.divide_no_nan(tf.ones([], dtype), tf.reduce_max(tf.abs(kernel)))
        least = growth / 2

        def body(count, v, _):
            image = tf.matmul(kernel, v * scale)
            back = tf.matmul(kernel, image * scale, transpose_a=True)
            squared, length = 2 * tf.nn.l2_loss(image), _norm(back)
            v = tf.where(length > 0, back / length, v)
            return count + 1, v, length - squared > least * squared

        v = vector[:, tf.newaxis]
        v = tf.math.divide_no_nan(v, _norm(v))
        _, v, _ = tf.while_loop(
            lambda count, v, go_on: go_on & (count < passes),
            body,
            (0, v, True),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, 1]), tf.TensorShape([])),
        )
        image = tf.matmul(kernel, v * scale)
        length = _norm(image)
        sigma = tf.math.divide_no_nan(length, scale)
        return sigma, tf.math.divide_no_nan(image, length), v

    return iterate


def _norm(vector: tf.Tensor) -> tf.Tensor:
    """Euclidean norm of all entries (`l2_loss` is one operation; `tf.norm` is four)."""
    return tf.sqrt(2 * tf.nn.l2_loss(vector))
