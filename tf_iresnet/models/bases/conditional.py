"""Latents whose distribution depends on the condition."""

import math
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.serialization import register
from tf_iresnet.models.bases.normals import Normal


@register
class ConditionalNormal(Normal):
    """Independent normal latents, with means and scales that a network makes of the condition.

    The layers of the flow may take the condition as well, or none of them. `temperature` multiplies
    the distance from the mean that belongs to a latent's condition.

    Args:
        condition_size: of a condition, `[..., condition_size]`.
        network: any Keras layer or model `[batch, condition_size] → [batch, features]`; None for
            one hidden layer of 64 units. A dense layer of zeros goes on top, so that the latents
            are standard normal at first.

    Example:

        base = tf_iresnet.bases.ConditionalNormal(3)
        flow = tf_iresnet.mlp_flow(2, base=base)
        flow.fit(x, condition)
    """

    def __init__(
        self, condition_size: int, network: keras.layers.Layer | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if condition_size < 1:
            expected = "Expected condition_size ≥ 1."
            raise ValueError(f"{expected} Received: condition_size={condition_size}")
        self.condition_size = condition_size
        if network is None:
            initializer = keras.initializers.GlorotUniform(seed=0)
            options = {"kernel_initializer": initializer, "dtype": self.variable_dtype}
            network = keras.layers.Dense(64, "silu", name="network", **options)
        self.network = network

    def build(self, input_shape):
        super().build(input_shape)
        size = math.prod(self.event_shape)
        options = {"kernel_initializer": "zeros", "dtype": self.variable_dtype}
        self.head = keras.layers.Dense(2 * size, name="head", **options)
        condition = tf.zeros([1, self.condition_size], self.variable_dtype)
        self.head.build(self.network(condition).shape)

    def normals(self, condition):
        rows = tf.reshape(condition, [-1, self.condition_size])
        features = tf.cast(self.network(rows), self.variable_dtype)
        shape = tf.concat([tf.shape(condition)[:-1], self.event_shape], 0)
        static = condition.shape[:-1].concatenate(self.event_shape)
        return tuple(
            tf.ensure_shape(tf.reshape(part, shape), static)
            for part in tf.split(self.head(features), 2, axis=-1)
        )

    def distribution(self, condition):
        import tensorflow_probability as tfp

        condition = tf.convert_to_tensor(condition, self.variable_dtype)
        options = {
            "shape": condition.shape[:-1].concatenate(self.event_shape),
            "also_track": [weight._value for weight in self.weights],
        }
        loc, scale = (
            tfp.util.DeferredTensor(condition, function, name=name, **options)
            for name, function in (
                ("loc", lambda condition: self.normals(condition)[0]),
                ("scale", lambda condition: tf.exp(self.normals(condition)[1])),
            )
        )
        normals = tfp.distributions.Normal(loc, scale)
        return tfp.distributions.Independent(normals, len(self.event_shape))

    def describe(self):
        return f"normal given a condition of size {self.condition_size}"
