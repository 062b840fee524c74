"""Independent latents that aren't normal."""

from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.layers.serialization import register
from tf_iresnet.models.bases.contract import Base
from tf_iresnet.models.bases.normals import Normal
from tf_iresnet.numerics.probes import student_t, uniform

MIN_DF = 0.5  # below it samples leave the range of float32


@register
class StudentT(Normal):
    """Independent latents with Student's t-distribution, whose tails are heavier than a normal's.

    A residual network is Lipschitz both ways, so data have the tails of the base: with normal
    latents, no finite network has data whose density decays like a power (Jaini et al., arXiv
    1907.04481). `temperature` multiplies the distance from the location.

    Args:
        df: degrees of freedom, above 0.5; 1 is Cauchy's distribution, ∞ a normal. Moments of
            order `df` and above are infinite.
        learned: whether location, scale and, by a softplus, the degrees of freedom of each entry
            are trained; they begin at 0, 1 and `df`.

    Raises:
        ValueError: for a `df` of 0.5 or less.
    """

    def __init__(self, df: float = 5.0, learned: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not MIN_DF < df < np.inf:
            raise ValueError(
                f"Expected {MIN_DF} < df < ∞: below it float32 can't hold the samples. "
                f"Received: df={df}"
            )
        self.df, self.learned = df, learned

    def build(self, input_shape):
        super().build(input_shape)
        self.add_normals(self.learned)
        excess = self.df - MIN_DF
        start = excess + np.log(-np.expm1(-excess))  # softplus takes it back
        self.raw_df = self.add_weight(
            name="raw_df",
            shape=self.event_shape,
            initializer=lambda shape, dtype: tf.fill(shape, tf.cast(start, dtype)),
            trainable=self.learned,
        )

    def degrees_of_freedom(self) -> tf.Tensor:
        """Those of each entry, `[*event]`."""
        return _degrees(self.raw_df.value)

    def log_prob(self, z):
        return self.distribution().log_prob(z)

    def draw(self, num, seed, temperature, loc, log_scale):
        shape = tf.concat([[num], self.event_shape], 0)
        standard = student_t(shape, seed, self.degrees_of_freedom())
        return loc + tf.exp(log_scale) * (temperature * standard)

    def distribution(self):
        import tensorflow_probability as tfp

        df = tfp.util.DeferredTensor(self.raw_df._value, _degrees)
        scale = tfp.util.DeferredTensor(self.log_scale._value, tf.exp)
        entries = tfp.distributions.StudentT(df, self.loc._value, scale)
        return tfp.distributions.Independent(entries, len(self.event_shape))

    def moments(self):
        """Location and scale of each entry: mean and deviation need not exist."""
        return tf.convert_to_tensor(self.loc.value), tf.exp(self.log_scale.value)

    def describe(self):
        if not self.learned:
            return f"Student-t with {self.df:g} degrees of freedom"
        df = np.asarray(self.degrees_of_freedom()) if self.built else np.array([self.df])
        return f"learned Student-t with {df.min():.3g} to {df.max():.3g} degrees of freedom"


def _degrees(raw: tf.Tensor) -> tf.Tensor:
    return MIN_DF + tf.nn.softplus(raw)


@register
class Uniform(Base):
    """Latents uniform on a cube `[low, high)` in each entry.

    Outside, log-densities are −∞, and their gradients 0: nothing pulls latents back inside. So it
    is for a network whose outputs can't leave the cube, which ends with a squashing layer:

        squash = [Inverse(Logit(alpha=0.0)), Rescale(1.0, -0.5)]  # to (−½, ½)
        flow = tf_iresnet.ResidualFlow([*blocks, *squash], base="uniform")

    or one that isn't trained. `temperature` multiplies the distance from the middle of the cube;
    above 1 samples leave it.

    Raises:
        ValueError: unless `low < high`, both finite.
    """

    def __init__(self, low: float = -0.5, high: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not (low < high and np.isfinite([low, high]).all()):
            raise ValueError(f"Expected finite low < high. Received: {low=}, {high=}")
        self.low, self.high = low, high

    def sample(self, num, seed, temperature=1.0):
        shape = tf.concat([[num], self.event_shape], 0)
        drawn = uniform(shape, seed, tf.as_dtype(self.variable_dtype)) - 0.5
        return (self.low + self.high) / 2 + (self.high - self.low) * (temperature * drawn)

    def distribution(self):
        import tensorflow_probability as tfp

        low, high = (
            np.full(self.event_shape, v, self.variable_dtype) for v in (self.low, self.high)
        )
        entries = tfp.distributions.Uniform(low, high)
        return tfp.distributions.Independent(entries, len(self.event_shape))

    def describe(self):
        return f"uniform on [{self.low:g}, {self.high:g})"
