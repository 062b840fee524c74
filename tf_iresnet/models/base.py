"""Base distributions of the latents."""

import math
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.serialization import register
from tf_iresnet.numerics.probes import fold_in, gaussian, uniform
from tf_iresnet.numerics.structures import lifted

NAMES = ("normal", "learned_normal")


class Base(keras.layers.Layer):
    """A distribution of latents `[batch, *event]`: a diagonal normal, or a mixture of several.

    A subclass calls `_add_normals` in `build`. With several normals, `log_prob` and `distribution`
    are those of each of them; the subclass combines them, and overrides `sample`. Weights and
    densities are in float32 at least, whatever the dtype policy.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})

    def add_weight(self, *args, **kwargs):
        options = {"dtype": lifted(self.variable_dtype), "autocast": False, **kwargs}
        return super().add_weight(*args, **options)

    def _add_normals(self, event_shape: Any, trainable: bool, count: tuple[int, ...] = ()) -> None:
        """Makes the weights `loc` and `log_scale`, `[*count, *event]`."""
        self.event_shape = tuple(event_shape)
        options = {"shape": (*count, *event_shape), "initializer": "zeros", "trainable": trainable}
        self.loc = self.add_weight(name="loc", **options)
        self.log_scale = self.add_weight(name="log_scale", **options)

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """Log-density of latents `[batch, *event]`: `[batch]` nats."""
        log_scale = self.log_scale.value
        standard = (z - self.loc.value) * tf.exp(-log_scale)
        entries = -0.5 * tf.square(standard) - log_scale - 0.5 * math.log(2 * math.pi)
        return tf.reduce_sum(entries, axis=range(-len(self.event_shape), 0))

    def sample(self, num: int | tf.Tensor, seed: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
        """`num` latents `[num, *event]`; the same seed gives the same ones.

        `temperature` multiplies their distance from the mean of the normal they are drawn from.
        """
        return self._sample(num, seed, temperature, self.loc.value, self.log_scale.value)

    def _sample(self, num: Any, seed: tf.Tensor, temperature: Any, loc: Any, log_scale: Any) -> Any:
        """Draws from normals given by tensors that broadcast to `[num, *event]`."""
        standard = gaussian(tf.concat([[num], self.event_shape], 0), seed, loc.dtype)
        return loc + tf.exp(log_scale) * (temperature * standard)

    def distribution(self) -> Any:
        """The same as a `tfd.Distribution`, a view of these weights."""
        import tensorflow_probability as tfp

        # The raw variables, so that TFP tracks them and reads them when it evaluates.
        scale = tfp.util.DeferredTensor(self.log_scale._value, tf.exp)
        normals = tfp.distributions.Normal(self.loc._value, scale)
        return tfp.distributions.Independent(normals, len(self.event_shape))

    def moments(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and standard deviation of each entry, `[*event]`."""
        distribution = self.distribution()
        return distribution.mean(), distribution.stddev()


@register
class DiagonalNormal(Base):
    """Independent normal latents, standard or, if `learned`, with trained means and scales."""

    def __init__(self, learned: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.learned = learned

    def build(self, input_shape):
        self._add_normals(input_shape[1:], self.learned)

    def get_config(self):
        return {**super().get_config(), "learned": self.learned}


@register
class ClassNormal(Base):
    """A mixture of one diagonal normal per class, with learned means, scales and class frequencies.

    The softmax of `joint_log_prob` is the probability of each class given the latents.
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(f"Expected num_classes ≥ 2. Received: num_classes={num_classes}")
        self.num_classes = num_classes

    def build(self, input_shape):
        self._add_normals(input_shape[1:], True, count=(self.num_classes,))
        self.logits = self.add_weight(name="logits", shape=(self.num_classes,), initializer="zeros")

    def joint_log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """`ln p(z, class)` of latents `[batch, *event]` with each class: `[batch, classes]`."""
        return tf.nn.log_softmax(self.logits.value) + super().log_prob(z[:, tf.newaxis])

    def log_prob(self, z):
        return tf.reduce_logsumexp(self.joint_log_prob(z), axis=1)

    def sample(self, num, seed, temperature=1.0, label=None):
        """`num` latents, see `Base`; `label`, an integer or `[num]` of them, is their class."""
        if label is None:
            drawn = uniform(tf.stack([num]), fold_in(seed, 1), self.loc.value.dtype)
            ends = tf.cumsum(tf.nn.softmax(self.logits.value))[:-1]  # rounding can't leave them out
            label = tf.searchsorted(ends, drawn)
        label = tf.broadcast_to(tf.cast(label, tf.int32), tf.stack([num]))
        loc, log_scale = (tf.gather(v.value, label) for v in (self.loc, self.log_scale))
        return self._sample(num, seed, temperature, loc, log_scale)

    def distribution(self):
        import tensorflow_probability as tfp

        classes = tfp.distributions.Categorical(logits=self.logits._value)
        return tfp.distributions.MixtureSameFamily(classes, super().distribution())

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}


def get(identifier: str | Base, dtype: Any) -> Base:
    """The base distribution for a layer or a name."""
    if isinstance(identifier, keras.layers.Layer):
        return identifier
    if identifier not in NAMES:
        raise ValueError(f"Expected base to be one of {list(NAMES)}. Received: base={identifier!r}")
    return DiagonalNormal(identifier == "learned_normal", dtype=dtype, name="base")
