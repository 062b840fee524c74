"""Activation normalisation."""

from typing import Any

import tensorflow as tf

from tf_iresnet.layers.invertible import How, InvertibleLayer, Mapped
from tf_iresnet.layers.serialization import register


@register
class ActNorm(InvertibleLayer):
    """`y = exp(log_scale)·x + shift` per feature (last axis), initialised by data.

    The first call under `training=True` sets both so that what it returns, also inside an
    `Inverse`, has mean 0 and variance 1 over batch and positions (Glow, arXiv 1807.03039,
    section 3.1). A weight says that it happened, so a saved model isn't initialised again. A
    feature that is constant in that batch is divided by `sqrt(min_variance)`. The batch is that of
    all replicas of a `tf.distribute.Strategy`. Data that aren't finite initialise nothing, neither
    this layer nor others of the network that is called. No data do as long as `trainable` is
    False: a frozen layer stays as it is, until a call under `training=True` after it is thawed.

    Args:
        min_variance: floor on the variance that the initialisation divides by.
    """

    def __init__(self, min_variance: float = 1e-4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not min_variance > 0:
            raise ValueError(f"Expected min_variance > 0. Received: min_variance={min_variance}")
        self.min_variance = min_variance

    def build(self, input_shape):
        super().build(input_shape)
        features = input_shape[-1]
        self.log_scale = self.add_weight(name="log_scale", shape=(features,), initializer="zeros")
        self.shift = self.add_weight(name="shift", shape=(features,), initializer="zeros")
        self.initialized = self.add_weight((), "zeros", name="initialized", trainable=False)

    def push(self, bound, x, how=None):
        log_scale, shift, _ = bound  # the weights, in the order of `build`
        y = tf.nn.bias_add(x * tf.exp(log_scale), shift)  # whose gradient is one pass
        return _with_log_det(y, log_scale, how)

    def pull(self, bound, y, how=None):
        log_scale, shift, _ = bound
        return _with_log_det((y - shift) * tf.exp(-log_scale), -log_scale, how)

    def fold(self, x, folding):
        scale = tf.exp(self.log_scale.value)
        return folding.affine(self, x, folding.value(scale), folding.value(self.shift))

    @property
    def initialized_weights(self):
        return self.weights if self.trainable else []

    def initialize(self, bound, values, x, reverse):
        if not self.trainable:
            return super().initialize(bound, values, x, reverse)
        mean, variance = tf.nn.moments(x, list(range(x.shape.rank - 1)))
        log_scale = -0.5 * tf.math.log(tf.maximum(variance, self.min_variance))
        shift = -mean * tf.exp(log_scale)
        if reverse:
            log_scale, shift = -log_scale, mean
        fresh = values[2] <= 0
        new = (log_scale, shift, tf.ones_like(values[2]))
        values = [tf.where(fresh, *pair) for pair in zip(new, values, strict=True)]
        return values, (self.pull if reverse else self.push)(values, x).value


def _with_log_det(value: tf.Tensor, log_scale: tf.Tensor, how: How) -> Mapped:
    if how is None:
        return Mapped(value)
    positions = value.shape[1:-1].num_elements() or 1
    total = tf.cast(positions, value.dtype) * tf.reduce_sum(log_scale)
    return Mapped.exact(value, tf.fill(tf.shape(value)[:1], total))
