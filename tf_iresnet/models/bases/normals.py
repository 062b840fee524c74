"""Normal latents, and mixtures of them."""

import math
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.serialization import register
from tf_iresnet.models.bases.contract import Base
from tf_iresnet.numerics.probes import gaussian, split, uniform


class Normal(Base):
    """Independent normal entries, one distribution or several.

    A subclass calls `add_normals` in `build`, or overrides `normals`. With several, `log_prob` and
    `distribution` are those of each of them; the subclass combines them.
    """

    def add_normals(self, trainable: bool, count: tuple[int, ...] = (), loc: Any = "zeros") -> None:
        """Makes the weights `loc` and `log_scale`, `[*count, *event]`."""
        options = {"shape": (*count, *(self.event_shape or ())), "trainable": trainable}
        self.loc = self.add_weight(name="loc", initializer=loc, **options)
        self.log_scale = self.add_weight(name="log_scale", initializer="zeros", **options)

    def normals(self, *condition: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Means and logarithms of the scales, which broadcast against latents."""
        return self.loc.value, self.log_scale.value

    def log_prob(self, z, *condition):
        loc, log_scale = self.normals(*condition)
        standard = (z - loc) * tf.exp(-log_scale)
        entries = -0.5 * tf.square(standard) - log_scale - 0.5 * math.log(2 * math.pi)
        return tf.reduce_sum(entries, axis=range(-len(self.event_shape), 0))

    def sample(self, num, seed, temperature=1.0, *condition):
        """`num` latents `[num, *event]`; the same seed gives the same ones.

        `temperature` multiplies their distance from the mean of the normal they are drawn from.
        """
        return self.draw(num, seed, temperature, *self.normals(*condition))

    def draw(self, num: Any, seed: tf.Tensor, temperature: Any, loc: Any, log_scale: Any) -> Any:
        """Draws from normals given by tensors that broadcast to `[num, *event]`."""
        standard = gaussian(tf.concat([[num], self.event_shape], 0), seed, loc.dtype)
        return loc + tf.exp(log_scale) * (temperature * standard)

    def distribution(self, *condition):
        import tensorflow_probability as tfp

        # The raw variables, so that TFP tracks them and reads them when it evaluates.
        scale = tfp.util.DeferredTensor(self.log_scale._value, tf.exp)
        normals = tfp.distributions.Normal(self.loc._value, scale)
        return tfp.distributions.Independent(normals, len(self.event_shape))


@register
class DiagonalNormal(Normal):
    """Independent normal latents, standard or, if `learned`, with trained means and scales."""

    def __init__(self, learned: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.learned = learned

    def build(self, input_shape):
        super().build(input_shape)
        self.add_normals(self.learned)

    def describe(self):
        return "learned normal" if self.learned else "standard normal"


class _Mixture(Normal):
    """A mixture of `count` normals, with learned means, scales and frequencies."""

    def add_mixture(self, count: int, loc: Any = "zeros") -> None:
        self.add_normals(True, (count,), loc)
        self.logits = self.add_weight(name="logits", shape=(count,), initializer="zeros")

    def joint_log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """`ln p(z, normal)` of latents `[batch, *event]` with each normal: `[batch, count]`."""
        return tf.nn.log_softmax(self.logits.value) + super().log_prob(z[:, tf.newaxis])

    def log_prob(self, z):
        return tf.reduce_logsumexp(self.joint_log_prob(z), axis=1)

    def sample(self, num, seed, temperature=1.0, label=None):
        """`num` latents, see `Normal`; `label`, an integer or `[num]` of them, is their normal."""
        if label is None:
            of_label, seed = split(seed, 2)
            drawn = uniform(tf.stack([num]), of_label, self.loc.value.dtype)
            ends = tf.cumsum(tf.nn.softmax(self.logits.value))[:-1]  # rounding can't leave them out
            label = tf.searchsorted(ends, drawn)
        label = tf.broadcast_to(tf.cast(label, tf.int32), tf.stack([num]))
        loc, log_scale = (tf.gather(v.value, label) for v in (self.loc, self.log_scale))
        return self.draw(num, seed, temperature, loc, log_scale)

    def distribution(self):
        import tensorflow_probability as tfp

        which = tfp.distributions.Categorical(logits=self.logits._value)
        return tfp.distributions.MixtureSameFamily(which, super().distribution())


@register
class NormalMixture(_Mixture):
    """A mixture of diagonal normals with learned means, scales and frequencies.

    For data that fall into separate groups: an invertible network would have to tear one mode
    apart, which its Lipschitz bounds forbid, and leaves bridges of density between the groups.
    It starts out as normals of scale 1, about one apart from one another, so that training can
    tell them apart in any number of dimensions.

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
        spread = 1 / math.sqrt(math.prod(self.event_shape))
        self.add_mixture(self.components, keras.initializers.RandomNormal(0.0, spread, self.seed))

    def describe(self):
        return f"learned mixture of {self.components} normals"


@register
class ClassNormal(_Mixture):
    """A mixture of one diagonal normal per class, with learned means, scales and class frequencies.

    The softmax of `joint_log_prob` is the probability of each class given the latents.
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(f"Expected num_classes ≥ 2. Received: num_classes={num_classes}")
        self.num_classes = num_classes

    def build(self, input_shape):
        super().build(input_shape)
        self.add_mixture(self.num_classes)

    def describe(self):
        return f"learned normal for each of {self.num_classes} classes"
