"""Any distribution of TensorFlow Probability as a base."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet.layers.serialization import register
from tf_iresnet.models.bases import tfp_config
from tf_iresnet.models.bases.contract import Base


def is_distribution(value: Any) -> bool:
    """Whether it is a `tfd.Distribution`."""
    import tensorflow_probability as tfp

    return isinstance(value, tfp.distributions.Distribution)


@register
class DistributionBase(Base):
    """A `tfd.Distribution` as a base: `base=distribution` is wrapped in it.

    Its `tf.Variable`s, also those in a `tfp.util.TransformedVariable`, become weights of this
    layer: Keras trains and saves them, as the base's are. Parameters that are tensors or numbers
    are fixed. Variables that TFP doesn't find, such as those of a Keras layer in a function, stay
    as they are: write a subclass of `Base` instead. Samples are TFP's, and where these are drawn
    from gamma distributions they don't compile under XLA, unlike those of `StudentT`.

    It is saved by the names of its classes in `tfp.distributions` and `tfp.bijectors` and by their
    arguments; one with functions or classes of one's own among them can be used, but not saved.
    `temperature` multiplies the distance from the mean, and is refused if there is none.

    Args:
        distribution: of one tensor, with `batch_shape` `[]` and the latents' `event_shape`.

    Raises:
        ValueError: for distributions of other shapes or dtypes, and parameters that are
            `keras.Variable`s, which TFP would read only once.

    Example:

        df = tfp.util.TransformedVariable(5.0, tfb.Softplus())
        tf_iresnet.mlp_flow(2, base=tfd.Sample(tfd.StudentT(df, 0.0, 1.0), 2))
    """

    def __init__(self, distribution: Any, **kwargs: Any) -> None:
        if not isinstance(distribution.dtype, tf.DType):
            raise ValueError(
                "Expected a distribution of one tensor. Received: "
                f"{type(distribution).__name__} of dtype {distribution.dtype}."
            )
        super().__init__(**{"dtype": distribution.dtype.name, **kwargs})
        for path, value in _parameters(distribution):
            if isinstance(value, keras.Variable):
                raise ValueError(
                    "Expected tf.Variables as parameters that are learned. Received: the "
                    f"keras.Variable {value.name!r} for {path}, which TFP would read only once. "
                    "Pass its .value, which is a tf.Variable."
                )
        self._distribution = distribution
        self._adopted = [
            keras.Variable(
                variable,
                dtype=variable.dtype.name,
                trainable=variable.trainable,
                name=variable.name.partition(":")[0].replace("/", "_"),
            )
            for variable in distribution.variables
        ]

    def build(self, input_shape):
        super().build(input_shape)
        found = self._distribution
        if found.event_shape == self.event_shape and not found.batch_shape.rank:
            return
        advice = f"Use tfd.Sample(distribution, {self.event_shape}) for independent entries."
        if found.batch_shape.concatenate(found.event_shape) == self.event_shape:
            moved = found.batch_shape.rank
            advice = f"Use tfd.Independent(distribution, {moved}) to make the batch an event."
        raise ValueError(
            f"Expected a distribution of event_shape={self.event_shape} and batch_shape=(). "
            f"Received: {found.name} of event_shape={tuple(found.event_shape)} and "
            f"batch_shape={tuple(found.batch_shape)}. {advice}"
        )

    def distribution(self):
        return self._distribution

    def describe(self):
        return f"{self._distribution.name}, a tfd.{type(self._distribution).__name__.lstrip('_')}"

    def serialized(self, argument):
        if argument == "distribution":
            return tfp_config.encode(self._distribution)
        return super().serialized(argument)

    @classmethod
    def from_config(cls, config):
        rest = {k: v for k, v in config.items() if k != "distribution"}
        rest = {k: keras.saving.deserialize_keras_object(v) for k, v in rest.items()}
        return cls(tfp_config.decode(config["distribution"]), **rest)


def _parameters(value: Any, path: str = "distribution") -> Iterator[tuple[str, Any]]:
    """The parameters of a distribution, those of the ones inside it included."""
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    elif hasattr(value, "parameters"):
        items = value.parameters.items()
    else:
        yield path, value
        return
    for name, item in items:
        yield from _parameters(item, f"{path}.{name}")
