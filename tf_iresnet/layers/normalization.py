"""Activation normalisation."""

from typing import Any

import tensorflow as tf

from tf_iresnet.layers.contractive import register
from tf_iresnet.layers.invertible import InvertibleLayer


@register
class ActNorm(InvertibleLayer):
    """`y = exp(log_scale)·x + shift` per feature (last axis), initialised by data.

    The first call under `training=True` sets both so that its outputs have mean 0 and variance 1
    over batch and positions (Glow, arXiv 1807.03039, section 3.1). That it happened is a weight, so
    a model that was saved isn't initialised again. A feature that is constant in that batch is
    divided by `sqrt(min_variance)`, not by zero.

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
        self.initialized = self.add_weight(
            name="initialized", shape=(), initializer="zeros", trainable=False, aggregation="none"
        )

    @property
    def state(self):
        return [self.log_scale, self.shift, self.initialized]

    def transform(self, x, condition, training, seed):
        if training:
            self._initialize(x)
        log_scale = self.log_scale.value
        positions = x.shape[1:-1].num_elements() or 1
        total = tf.cast(positions, x.dtype) * tf.reduce_sum(log_scale)
        return x * tf.exp(log_scale) + self.shift.value, tf.fill(tf.shape(x)[:1], total)

    def invert(self, y, condition):
        return (y - self.shift.value) * tf.exp(-self.log_scale.value)

    def _initialize(self, x: tf.Tensor) -> None:
        mean, variance = tf.nn.moments(tf.stop_gradient(x), list(range(x.shape.rank - 1)))
        log_scale = -0.5 * tf.math.log(tf.maximum(variance, self.min_variance))
        done = self.initialized.value > 0
        for variable, fresh in (
            (self.log_scale, log_scale),
            (self.shift, -mean * tf.exp(log_scale)),
            (self.initialized, tf.ones_like(self.initialized.value)),
        ):
            variable.assign(tf.where(done, variable.value, fresh))

    def get_config(self):
        return {**super().get_config(), "min_variance": self.min_variance}
