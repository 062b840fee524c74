"""Base distributions of the latents."""

import math
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.serialization import register
from tf_iresnet.numerics.probes import fold_in, gaussian, uniform


class Base(keras.layers.Layer):
    """A distribution of latents `[batch, *event]` made of diagonal normals.

    A subclass makes the weights `loc` and `log_scale`, and gives `log_prob`, `sample`, `moments`
    and `distribution`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})

    def _add_normals(self, shape: tuple[int, ...], trainable: bool) -> None:
        for name in ("loc", "log_scale"):
            weight = self.add_weight(
                name=name, shape=shape, initializer="zeros", trainable=trainable
            )
            setattr(self, name, weight)

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """Log-density of latents `[batch, *event]`: `[batch]` nats."""
        raise TypeError(f"{type(self).__name__} must define log_prob()")

    def sample(self, num: int | tf.Tensor, seed: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
        """`num` latents `[num, *event]`; the same seed gives the same ones.

        `temperature` multiplies their distance from the mean of the normal they are drawn from.
        """
        raise TypeError(f"{type(self).__name__} must define sample()")

    def moments(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and standard deviation of each entry, `[*event]`."""
        raise TypeError(f"{type(self).__name__} must define moments()")

    def distribution(self) -> Any:
        """The same as a `tfd.Distribution`, a view of these weights."""
        raise TypeError(f"{type(self).__name__} must define distribution()")

    def _normals(self) -> Any:
        """The diagonal normals, `[…, *event]`, as TFP's."""
        import tensorflow_probability as tfp

        # The raw variables, so that TFP tracks them and reads them when it evaluates.
        loc, log_scale = self.loc._value, self.log_scale._value
        return tfp.distributions.Normal(loc, tfp.util.DeferredTensor(log_scale, tf.exp))


def _log_normal(z: tf.Tensor, loc: tf.Tensor, log_scale: tf.Tensor, event_rank: int) -> tf.Tensor:
    """Log-densities of diagonal normals, the last `event_rank` axes summed."""
    standard = (z - loc) * tf.exp(-log_scale)
    entries = -0.5 * tf.square(standard) - log_scale - 0.5 * math.log(2 * math.pi)
    return tf.reduce_sum(entries, axis=range(-event_rank, 0))


@register
class DiagonalNormal(Base):
    """Independent normal latents, standard or with learned means and scales.

    Args:
        learned: whether `loc` and `log_scale` are trained (they start at 0).
    """

    def __init__(self, learned: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.learned = learned

    def build(self, input_shape):
        self._add_normals(tuple(input_shape[1:]), self.learned)

    def log_prob(self, z):
        return _log_normal(z, self.loc.value, self.log_scale.value, len(self.loc.shape))

    def sample(self, num, seed, temperature=1.0):
        shape = tf.concat([[num], self.loc.shape], 0)
        standard = temperature * gaussian(shape, seed, self.loc.value.dtype)
        return self.loc.value + tf.exp(self.log_scale.value) * standard

    def moments(self):
        return self.loc.value, tf.exp(self.log_scale.value)

    def distribution(self):
        import tensorflow_probability as tfp

        return tfp.distributions.Independent(self._normals(), len(self.loc.shape))

    def get_config(self):
        return {**super().get_config(), "learned": self.learned}


@register
class ClassNormal(Base):
    """A diagonal normal for each class, with learned means, scales and frequencies of the classes.

    Where the class isn't known, it is their mixture; where the latents are, Bayes' rule gives the
    class.

    Args:
        num_classes: how many.
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(f"Expected num_classes ≥ 2. Received: num_classes={num_classes}")
        self.num_classes = num_classes

    def build(self, input_shape):
        self._add_normals((self.num_classes, *input_shape[1:]), trainable=True)
        self.logits = self.add_weight(name="logits", shape=(self.num_classes,), initializer="zeros")

    def joint_log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """`ln p(z, class)` of latents `[batch, *event]` with each class: `[batch, classes]`."""
        loc, log_scale = self.loc.value, self.log_scale.value
        given_class = _log_normal(z[:, tf.newaxis], loc, log_scale, len(loc.shape) - 1)
        return tf.nn.log_softmax(self.logits.value) + given_class

    def log_prob(self, z):
        return tf.reduce_logsumexp(self.joint_log_prob(z), axis=1)

    def sample(self, num, seed, temperature=1.0, label=None):
        """`num` latents, as of `Base`; of the classes `label`, an integer or `[num]` of them."""
        dtype = self.loc.value.dtype
        if label is None:
            drawn = uniform(tf.stack([num]), fold_in(seed, 1), dtype)
            ends = tf.cumsum(tf.nn.softmax(self.logits.value))[:-1]  # rounding can't leave them out
            label = tf.searchsorted(ends, drawn)
        label = tf.broadcast_to(tf.cast(label, tf.int32), tf.stack([num]))
        shape = tf.concat([[num], self.loc.shape[1:]], 0)
        standard = temperature * gaussian(shape, seed, dtype)
        loc, log_scale = (tf.gather(v.value, label) for v in (self.loc, self.log_scale))
        return loc + tf.exp(log_scale) * standard

    def moments(self):
        weights = tf.nn.softmax(self.logits.value)
        loc, variance = self.loc.value, tf.exp(2 * self.log_scale.value)
        mean = tf.tensordot(weights, loc, 1)
        return mean, tf.sqrt(tf.tensordot(weights, variance + tf.square(loc - mean), 1))

    def distribution(self):
        import tensorflow_probability as tfp

        tfd = tfp.distributions
        components = tfd.Independent(self._normals(), len(self.loc.shape) - 1)
        return tfd.MixtureSameFamily(tfd.Categorical(logits=self.logits._value), components)

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}


BASES = {"normal": False, "learned_normal": True}


def get(identifier: str | Base, dtype: Any) -> Base:
    """The base distribution for a layer or a name."""
    if isinstance(identifier, keras.layers.Layer):
        return identifier
    if identifier not in BASES:
        raise ValueError(f"Expected base to be one of {list(BASES)}. Received: base={identifier!r}")
    return DiagonalNormal(BASES[identifier], dtype=dtype, name="base")
