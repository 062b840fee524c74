"""What the models around an invertible network have in common."""

import functools
import warnings
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers.composition import InvertibleSequential
from tf_iresnet.layers.convolution import SpectralConv
from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.layers.serialization import inherit_dtype
from tf_iresnet.layers.spectral import SpectralLayer
from tf_iresnet.models import parts
from tf_iresnet.numerics.fixed_point import Solution
from tf_iresnet.numerics.probes import Seed, as_seed, fold_in


class InvertibleModel(keras.Model):
    """An invertible network that is trained for something: its maps, and its training loop.

    A subclass gives `metric_names`, the first of which is "loss", and

        _values(x, y, training, seed) → one number an example for each of them, `[batch]`

    whose "loss", weighted by `sample_weight`, is minimised in the mean.

    Args:
        layer: the network, or a list of invertible layers.
        seed: makes training reproducible.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("loss",)

    def __init__(
        self, layer: InvertibleLayer | list[InvertibleLayer], seed: int = 0, **kwargs: Any
    ) -> None:
        layer = InvertibleSequential(layer) if isinstance(layer, (list, tuple)) else layer
        super().__init__(**inherit_dtype(kwargs, [layer]))
        self.layer = layer
        self.seed = seed
        self._means = [keras.metrics.Mean(name=name) for name in self.metric_names]
        self._functions: dict[str, Any] = {}

    def build(self, input_shape):
        if not self.layer.built:
            self.layer.build(input_shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        if self.layer.event_shape is None:
            raise ValueError(
                "The model isn't built yet: call it on data, or build((None, *event))."
            )
        return self.layer.event_shape

    @property
    def event_size(self) -> int:
        """Number of dimensions of one example."""
        return int(np.prod(self.event_shape))

    def encode(self, x: Any, condition: Any = None) -> tf.Tensor:
        """Outputs of the network: latents or features."""
        self._check_condition(condition)
        return self._function("encode", self.layer.call)(*as_tensors(x, condition))

    def decode(self, z: Any, condition: Any = None) -> tf.Tensor:
        """Data `F⁻¹(z)`. Rows whose inverse couldn't be certified are NaN, with a warning.

        Args:
            z: latents or features.
            condition: `[batch, size]`, or None.
        """
        self._check_condition(condition)
        return self._decode(z, condition)

    def decode_with_report(self, z: Any, condition: Any = None) -> Solution:
        """`decode` without a warning, and what each solver did: see `inverse_report`."""
        self._check_condition(condition)
        function = self._function("inverse_with_report", self.layer.inverse_with_report)
        return function(*as_tensors(z, condition))

    # -- training ---------------------------------------------------------------------------------

    @property
    def metrics(self):
        """Means over the examples of an epoch."""
        return self._means

    def _values(self, x: Any, y: Any, training: bool, seed: Seed = None) -> dict[str, tf.Tensor]:
        raise TypeError(f"{type(self).__name__} must define _values()")

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model` does, and stores the norms at the end (`store_norms`)."""
        history = super().fit(*args, **kwargs)
        self.store_norms()
        return history

    def store_norms(self) -> None:
        """Stores the leading vectors of all kernels as they are.

        Otherwise every call recomputes norms that it finds older than the weights, which is most of
        the time of a small batch.
        """
        for layer in self._flatten_layers():
            if isinstance(layer, SpectralLayer):
                layer.store_norm()

    def train_step(self, data):
        x, y, weight = self._unpack(data)
        # A function of the step alone, so a resumed run sees the noise of an uninterrupted one.
        step = tf.cast(self.optimizer.iterations.value, tf.int32)
        seed = fold_in(as_seed(self.seed), step)
        with tf.GradientTape() as tape:
            values = self._values(x, y, True, seed)
            loss = _weighted_mean(values["loss"], weight)
            if self.losses:  # regularisers
                loss += tf.add_n(self.losses)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self._update_metrics(values, weight)

    def test_step(self, data):
        x, y, weight = self._unpack(data)
        return self._update_metrics(self._values(x, y, False), weight)

    def _unpack(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        if not self.built:
            self.build((None, *x.shape[1:]))
        return x, y, weight

    def _update_metrics(self, values, weight):
        for mean in self._means:
            mean.update_state(values[mean.name], sample_weight=weight)
        return self.get_metrics_result()

    # -- the machinery behind the public methods --------------------------------------------------

    def _forget_functions(self) -> None:
        """Drops traced functions; needed after a change of a Python attribute of a layer."""
        self._functions.clear()

    def _function(self, name: str, function: Any, jit_compile: bool | None = None) -> Any:
        """The function through one `tf.function` in eager mode, itself in the caller's graph."""
        if not tf.executing_eagerly():
            return function
        if name not in self._functions:
            self._functions[name] = tf.function(
                function, reduce_retracing=True, autograph=False, jit_compile=jit_compile
            )
        return self._functions[name]

    @functools.cached_property
    def _compiles_inverse(self) -> bool:
        # XLA runs the many small operations of a solver in half the time, on CPUs too; but there it
        # takes thrice as long to compile convolutions, which are no faster for it.
        convolutions = (isinstance(layer, SpectralConv) for layer in self._flatten_layers())
        return not (parts.only_cpus() and any(convolutions))

    def _decode(self, z: Any, condition: Any = None) -> tf.Tensor:
        if not tf.executing_eagerly():
            return self.layer.inverse(z, condition)
        compiled = self._compiles_inverse
        inverse = self._function("inverse", self.layer.inverse, jit_compile=compiled)
        number = parts.count(len(z)) if compiled else 1
        function = functools.partial(_decode_and_count, inverse, number)
        x, bad = self._function(f"decode in {number}", function)(*as_tensors(z, condition))
        if bad := int(bad):
            warnings.warn(
                f"{bad} of {x.shape[0]} examples could not be inverted to the blocks' "
                "tolerance and are NaN. See tf_iresnet.certify(model), or raise the tolerance.",
                RuntimeWarning,
                stacklevel=3,
            )
        return x

    def _check_condition(self, condition: Any) -> None:
        expected = self.layer.condition_size
        if (condition is None) == (expected is None):
            return
        shape = "None" if expected is None else f"a tensor of shape [batch, {expected}]"
        raise ValueError(f"Expected condition to be {shape}. Received: condition={condition!r}")

    def get_config(self):
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer, "seed": self.seed}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})


def as_tensors(*values: Any) -> list[Any]:
    """Arrays and lists as tensors, so that a traced function isn't traced for each value."""
    return [None if value is None else tf.convert_to_tensor(value) for value in values]


def labels_of(y: Any, num_classes: int) -> tf.Tensor:
    """Targets as integers `[batch]`.

    Raises:
        ValueError: for targets that are missing, or one-hot.
    """
    if y is None or (len(y.shape) > 1 and y.shape[1:] != (1,)):
        received = "y=None" if y is None else f"y of shape={tuple(y.shape)}"
        raise ValueError(
            f"Expected y to be integer labels [batch], from 0 to {num_classes - 1}. "
            f"Received: {received}. One-hot targets become labels by numpy.argmax(y, axis=-1)."
        )
    return tf.cast(tf.reshape(y, [-1]), tf.int32)


def classification(log_prob: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
    """Cross-entropy in nats and whether the likeliest class is the right one, `[batch]` each.

    Args:
        log_prob: of the classes, `[batch, classes]`; need not be normalised.
        labels: `[batch]`.
    """
    likeliest = tf.argmax(log_prob, axis=-1, output_type=tf.int32)
    return {
        "cross_entropy": tf.nn.sparse_softmax_cross_entropy_with_logits(labels, log_prob),
        "accuracy": tf.cast(likeliest == labels, log_prob.dtype),
    }


def _weighted_mean(loss: tf.Tensor, weight: tf.Tensor | None) -> tf.Tensor:
    """Mean over the global batch of `w·loss`."""
    if weight is not None:
        loss = loss * tf.cast(tf.reshape(weight, [-1]), loss.dtype)
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return tf.reduce_mean(loss) / replicas


def _decode_and_count(
    inverse: Any, number: int, *batches: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """The inverse, in a number of parts, and how many rows of it are NaN."""
    x = parts.apply(inverse, number, *batches)
    nan = tf.math.is_nan(x)
    return x, tf.math.count_nonzero(tf.reduce_any(nan, list(range(1, nan.shape.rank))))
