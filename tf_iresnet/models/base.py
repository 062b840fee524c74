"""Base distributions: the law of the latents."""

import math
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.contractive import register
from tf_iresnet.numerics.probes import gaussian


@register
class DiagonalNormal(keras.layers.Layer):
    """Independent normal latents, standard or with learned means and scales.

    Args:
        learned: whether `loc` and `log_scale` are trained (they start at 0).
    """

    def __init__(self, learned: bool = False, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.learned = learned

    def build(self, input_shape):
        event_shape = tuple(input_shape[1:])
        for name in ("loc", "log_scale"):
            weight = self.add_weight(
                name=name, shape=event_shape, initializer="zeros", trainable=self.learned
            )
            setattr(self, name, weight)

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """Log-density of latents `[batch, *event]`: `[batch]` nats."""
        log_scale = self.log_scale.value
        standard = (z - self.loc.value) * tf.exp(-log_scale)
        entries = -0.5 * tf.square(standard) - log_scale - 0.5 * math.log(2 * math.pi)
        return tf.reduce_sum(entries, axis=range(1, z.shape.rank))

    def sample(self, num: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """`num` latents `[num, *event]`; the same seed gives the same ones."""
        shape = tf.concat([[num], self.loc.shape], 0)
        standard = gaussian(shape, seed, self.loc.value.dtype)
        return self.loc.value + tf.exp(self.log_scale.value) * standard

    def distribution(self) -> Any:
        """The same law as a `tfd.Distribution`, a view of these weights."""
        import tensorflow_probability as tfp

        tfd = tfp.distributions
        # The raw variables, so that TFP tracks them and reads them when it evaluates.
        loc, log_scale = self.loc._value, self.log_scale._value
        scale = tfp.util.DeferredTensor(log_scale, tf.exp)
        return tfd.Independent(tfd.Normal(loc, scale), reinterpreted_batch_ndims=loc.shape.rank)

    def get_config(self):
        return {**super().get_config(), "learned": self.learned}


BASES = {"normal": False, "learned_normal": True}


def get(identifier: str | DiagonalNormal, dtype: Any) -> DiagonalNormal:
    """The base distribution for a layer or a name."""
    if isinstance(identifier, keras.layers.Layer):
        return identifier
    if identifier not in BASES:
        raise ValueError(f"Expected base to be one of {list(BASES)}. Received: base={identifier!r}")
    return DiagonalNormal(BASES[identifier], dtype=dtype, name="base")
