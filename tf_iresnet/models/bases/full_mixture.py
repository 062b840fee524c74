"""A mixture of normals with full covariances."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers.serialization import register
from tf_iresnet.models.bases.contract import Base
from tf_iresnet.numerics.probes import gaussian, split, uniform


@register
class FullMixture(Base):
    """A mixture of normals with full covariances, all learned, for latents that are vectors.

    For few rows, or groups that lie askew: fitted to data (`set_mixture`), it is by itself what a
    Gaussian mixture model is, and a flow in front of it has only to bend what is left.

    Component k has the precision `Pₖ Pₖᵀ` with a lower-triangular `Pₖ`, whose diagonal is trained
    as its logarithm. It starts out like `NormalMixture`: of scale 1, about one apart.
    `temperature` multiplies the distance from the mean of the component.

    Args:
        components: how many normals, at least 1.
        seed: of the initial means.
    """

    def __init__(self, components: int = 8, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if components < 1:
            raise ValueError(f"Expected components ≥ 1. Received: components={components}")
        self.components = components
        self.seed = seed

    def build(self, input_shape):
        super().build(input_shape)
        if len(self.event_shape) != 1:
            expected = "Expected latents that are vectors, which full covariances are of."
            raise ValueError(f"{expected} Received: latents of shape {self.event_shape}")
        count, size = self.components, self.event_shape[0]
        means = keras.initializers.RandomNormal(0.0, 1 / math.sqrt(size), self.seed)
        self.logits = self.add_weight((count,), "zeros", name="logits")
        self.loc = self.add_weight((count, size), means, name="loc")
        self.log_diagonal = self.add_weight((count, size), "zeros", name="log_diagonal")
        self.below = self.add_weight((count, size, size), "zeros", name="below_diagonal")

    def set_mixture(self, weights: Any, means: Any, covariances: Any) -> None:
        """Sets shares `[components]`, means `[components, d]` and covariances `[…, d, d]`."""
        # The precision's lower factor is that of its Cholesky decomposition.
        factors = np.linalg.cholesky(np.linalg.inv(np.asarray(covariances, np.float64)))
        self.logits.assign(np.log(weights))
        self.loc.assign(means)
        self.log_diagonal.assign(np.log(np.diagonal(factors, axis1=1, axis2=2)))
        self.below.assign(np.tril(factors, -1))

    def _factor(self, log_diagonal: tf.Tensor, below: tf.Tensor) -> tf.Tensor:
        """The lower factors of the precisions, `[components, d, d]`."""
        strictly_below = tf.linalg.band_part(below, -1, 0) - tf.linalg.band_part(below, 0, 0)
        return strictly_below + tf.linalg.diag(tf.exp(log_diagonal))

    def log_prob(self, z):
        log_diagonal = self.log_diagonal.value
        factor = self._factor(log_diagonal, self.below.value)
        # Components in front: their latents are a stack of matrix products.
        white = tf.matmul(z[tf.newaxis] - self.loc.value[:, tf.newaxis], factor)
        constant = 0.5 * self.event_shape[0] * math.log(2 * math.pi)
        own = tf.nn.log_softmax(self.logits.value) + tf.reduce_sum(log_diagonal, axis=1) - constant
        log_probs = own[:, tf.newaxis] - 0.5 * tf.reduce_sum(tf.square(white), axis=-1)
        return tf.reduce_logsumexp(log_probs, axis=0)

    def sample(self, num, seed, temperature=1.0):
        size, dtype = self.event_shape[0], self.loc.value.dtype
        ends = tf.cumsum(tf.nn.softmax(self.logits.value))[:-1]  # rounding can't leave them out
        of_label, of_normals = split(seed, 2)
        label = tf.searchsorted(ends, uniform(tf.stack([num]), of_label, dtype))
        scales = self._scales(self.log_diagonal.value, self.below.value)
        standard = temperature * gaussian(tf.stack([num, size]), of_normals, dtype)
        offsets = tf.matmul(tf.gather(scales, label), standard[:, :, tf.newaxis])[:, :, 0]
        return tf.gather(self.loc.value, label) + offsets

    def _scales(self, log_diagonal: tf.Tensor, below: tf.Tensor) -> tf.Tensor:
        """Factors `S` of the covariances `S Sᵀ`: the inverses of the transposed `P`."""
        factor = self._factor(log_diagonal, below)
        eye = tf.eye(factor.shape[-1], batch_shape=[self.components], dtype=factor.dtype)
        return tf.linalg.matrix_transpose(tf.linalg.triangular_solve(factor, eye))

    def distribution(self):
        import tensorflow_probability as tfp

        tfd = tfp.distributions

        def lower(log_diagonal: tf.Tensor) -> tf.Tensor:
            scales = self._scales(log_diagonal, self.below.value)
            return tf.linalg.cholesky(tf.matmul(scales, scales, transpose_b=True))

        tril = tfp.util.DeferredTensor(
            self.log_diagonal._value,
            lower,
            shape=self.below.shape,
            also_track=[self.below._value],
        )
        which = tfd.Categorical(logits=self.logits._value)
        normals = tfd.MultivariateNormalTriL(self.loc._value, tril)
        return tfd.MixtureSameFamily(which, normals)

    def describe(self):
        if self.components == 1:
            return "learned normal with a full covariance"
        return f"learned mixture of {self.components} normals with full covariances"
