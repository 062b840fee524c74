"""The contract of a base distribution."""

from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.serialization import StackedLayer
from tf_iresnet.numerics.structures import lifted


class Base(StackedLayer):
    """A distribution of latents `[batch, *event]`, as a Keras layer that owns its weights.

    A subclass makes its weights by `add_weight` in `build`, after `super().build(input_shape)`, and
    defines `distribution()`. From it follow `log_prob`, `sample` and `moments`, to be overridden
    where a closed form is quicker or `temperature` is to mean something else. TFP has to be given
    the raw variables, `self.loc._value`, or a `tfp.util.DeferredTensor` of them: what it was given
    as a tensor would stay as it is. Arguments of the constructor that are kept in attributes of the
    same name are part of the config.

    A conditional base sets `self.condition_size` in its constructor, and all four methods take the
    condition as one more argument, the last: `[batch, condition_size]`, or in `distribution` and
    `moments` `[..., condition_size]`, whose leading dimensions are the batch shape.

    Example:

        @keras.saving.register_keras_serializable()
        class Correlated(tf_iresnet.bases.Base):
            def build(self, input_shape):
                super().build(input_shape)
                size = self.event_shape[0]
                self.factor = self.add_weight(name="factor", shape=(size, size), initializer="eye")

            def distribution(self):
                lower = tfp.util.DeferredTensor(
                    self.factor._value, lambda factor: tf.linalg.band_part(factor, -1, 0)
                )
                return tfd.MultivariateNormalTriL(scale_tril=lower)
    """

    event_shape: tuple[int, ...] | None = None

    def __init__(self, **kwargs: Any) -> None:
        policy = keras.dtype_policies.get(kwargs.get("dtype"))
        dtype = lifted(policy.variable_dtype)  # float32 at least, whatever the policy
        super().__init__(**{"autocast": False, **kwargs, "dtype": dtype})

    def build(self, input_shape):
        self.event_shape = tuple(input_shape[1:])

    def distribution(self, *condition: Any) -> Any:
        """The base as a `tfd.Distribution`, a view that follows the weights."""
        raise TypeError(f"{type(self).__name__} must define distribution()")

    def log_prob(self, z: tf.Tensor, *condition: tf.Tensor) -> tf.Tensor:
        """Log-density of latents `[batch, *event]`: `[batch]` nats."""
        return self.distribution(*condition).log_prob(z)

    def sample(
        self,
        num: int | tf.Tensor,
        seed: tf.Tensor,
        temperature: float | tf.Tensor = 1.0,
        *condition: tf.Tensor,
    ) -> tf.Tensor:
        """`num` latents `[num, *event]`; the same seed gives the same ones.

        Args:
            num: how many, as many as there are rows in a condition.
            seed: int32 `[2]`.
            temperature: factor of their distance from the mean.

        Raises:
            ValueError: for a `temperature` other than 1 of a distribution without a mean.
        """
        distribution = self.distribution(*condition)
        z = distribution.sample(() if condition else num, seed=seed)
        if not tf.is_tensor(temperature) and temperature == 1:
            return z
        center = self._center(distribution)
        return center + tf.cast(temperature, z.dtype) * (z - center)

    def _center(self, distribution: Any) -> tf.Tensor:
        """The mean of a distribution, if it has one that is known."""
        try:
            with tf.init_scope():  # the values, where a graph is made as well
                mean = distribution.mean()
                known = not tf.executing_eagerly() or tf.reduce_all(tf.math.is_finite(mean))
        except NotImplementedError:
            known = False
        except (TypeError, ValueError, tf.errors.OpError):  # it depends on the graph's condition
            known = True
        if not known:
            raise ValueError(
                f"Expected temperature=1 of a base without a mean, {self.describe()}: there is no "
                "point from which distances could be scaled. Received another one. Override "
                "sample() in a subclass of tf_iresnet.bases.Base to say what it means."
            )
        return distribution.mean()

    def moments(self, *condition: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and standard deviation of each entry, `[*event]`."""
        distribution = self.distribution(*condition)
        return distribution.mean(), distribution.stddev()

    def describe(self) -> str:
        """What it is, in a few words for a report."""
        return type(self).__name__

    def arguments(self, condition: Any) -> tuple[tf.Tensor, ...]:
        """What the methods take after their other arguments: the condition, if they take one.

        Raises:
            ValueError: for a condition of another size.
        """
        if self.condition_size is None:
            return ()
        condition = tf.cast(tf.convert_to_tensor(condition), self.variable_dtype)
        if not condition.shape[-1:].is_compatible_with([self.condition_size]):
            raise ValueError(
                f"Expected condition to be a tensor of shape [..., {self.condition_size}] for the "
                f"base {self.name!r}. Received: shape={tuple(condition.shape)}"
            )
        return (condition,)

    def build_for(self, output_shape: Any) -> None:
        """Builds the base for a network of that output shape, and checks its contract.

        Raises:
            ValueError: for a base that was built for latents of another shape, or whose samples or
                log-densities have the wrong shape.
        """
        event_shape = tuple(output_shape)[1:]
        if not self.built:
            self.build((None, *event_shape))
        if self.event_shape != event_shape:
            advice = "" if self.event_shape else " Call super().build(input_shape) in build()."
            raise ValueError(
                f"Expected a base of latents of shape {event_shape}. Received: "
                f"{type(self).__name__} {self.name!r} for shape {self.event_shape}.{advice}"
            )
        if not type(self).__module__.startswith("tf_iresnet."):
            self._check_contract(event_shape)

    def _check_contract(self, event_shape: tuple[int, ...]) -> None:
        rows = 3
        condition = self.arguments(tf.zeros([rows, self.condition_size or 0]))
        z = self.sample(rows, tf.constant([0, 0]), 1.0, *condition)
        found = {"sample": z.shape}
        if z.shape == (rows, *event_shape):
            found["log_prob"] = self.log_prob(z, *condition).shape
        if found.get("log_prob") != (rows,):
            expected = f"sample() of shape [num, *{event_shape}] and log_prob() of shape [num]"
            received = ", ".join(f"{name}() of shape {shape}" for name, shape in found.items())
            raise ValueError(
                f"Expected the {type(self).__name__} {self.name!r} to have {expected}. Received "
                f"for num={rows}: {received}. tfd.Independent and tfd.Sample move dimensions into "
                "the event."
            )
