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
from tf_iresnet.layers.serialization import build_once, inherit_dtype
from tf_iresnet.layers.spectral import SpectralLayer
from tf_iresnet.models import parts
from tf_iresnet.numerics.fixed_point import Solution
from tf_iresnet.numerics.probes import Seed, as_seed, fold_in


class InvertibleModel(keras.Model):
    """A Keras model around an invertible network: its maps both ways, and its training loop.

    A subclass gives `metric_names` and `_values`, the `[batch]` values of each metric. The mean of
    the first, "loss", weighted by `sample_weight`, is minimised.

    Args:
        layer: the network, or a list of invertible layers.
        seed: makes training reproducible.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("loss",)

    def __init__(
        self, layer: InvertibleLayer | list[InvertibleLayer], seed: int = 0, **kwargs: Any
    ) -> None:
        layer = InvertibleSequential(layer) if isinstance(layer, (list, tuple)) else layer
        # Without autocast: data and densities stay in float32 under a policy of half precision.
        super().__init__(**{"autocast": False, **inherit_dtype(kwargs, [layer])})
        self.layer = layer
        self.seed = seed
        self._means = [keras.metrics.Mean(name=name) for name in self.metric_names]
        self._functions: dict[str, Any] = {}

    def build(self, input_shape):
        build_once(self.layer, input_shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        if self.layer.event_shape is None:
            raise ValueError("The model isn't built: call it on data, or build((None, *event)).")
        return self.layer.event_shape

    @property
    def event_size(self) -> int:
        """Number of dimensions of one example."""
        return int(np.prod(self.event_shape))

    def encode(self, x: Any, condition: Any = None) -> tf.Tensor:
        """Outputs of the network: latents or features."""
        return self._function("encode", self._encode)(*self._tensors(x, condition))

    def _encode(self, x: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        return self.layer.forward(x, condition).value

    def decode(self, z: Any, condition: Any = None) -> tf.Tensor:
        """Data `F⁻¹(z)` of latents or features, given a condition `[batch, size]` or None.

        Rows whose inverse couldn't be certified are NaN, with a warning.
        """
        return self._decode(*self._tensors(z, condition))

    def decode_with_report(self, z: Any, condition: Any = None) -> Solution:
        """`decode` without a warning, and what each solver did: see `inverse_report`."""
        function = self._function("inverse_with_report", self.layer.inverse_with_report)
        return function(*self._tensors(z, condition))

    # -- training ---------------------------------------------------------------------------------

    @property
    def metrics(self):
        """Means over the examples of an epoch."""
        return self._means

    def _values(self, x: Any, y: Any, training: bool, seed: Seed = None) -> dict[str, tf.Tensor]:
        raise TypeError(f"{type(self).__name__} must define _values()")

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model` does, then calls `store_norms`."""
        history = super().fit(*args, **kwargs)
        self.store_norms()
        return history

    def store_norms(self) -> None:
        """Stores the leading singular vectors of all kernels.

        Otherwise every call computes them anew, which takes most of the time of a small batch.
        """
        for layer in self._flatten_layers():
            if isinstance(layer, SpectralLayer):
                layer.store_norm()

    def make_train_function(self, force=False):
        # TensorFlow traces a step twice if the first trace creates the optimizer's variables.
        if self.built and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, data):
        x, y, weight = self._unpack(data)
        # A function of the step alone, so a resumed run sees the noise of an uninterrupted one.
        step = tf.cast(self.optimizer.iterations.value, tf.int32)
        seed = fold_in(as_seed(self.seed), step)
        with tf.GradientTape() as tape:
            values = self._values(x, y, True, seed)
            loss = values["loss"]
            if weight is not None:
                loss *= tf.cast(tf.reshape(weight, [-1]), loss.dtype)
            # The mean over the global batch.
            loss = tf.reduce_mean(loss) / tf.distribute.get_strategy().num_replicas_in_sync
            if self.losses:  # regularisers
                loss += tf.add_n([tf.cast(value, loss.dtype) for value in self.losses])
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
        """The function, in eager mode as a `tf.function` that is kept, in a graph as it is."""
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

    def _decode(self, z: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        if not tf.executing_eagerly():
            return self.layer.inverse(z, condition)
        compiles = self._compiles_inverse
        inverse = self._function("inverse", self.layer.inverse, jit_compile=compiles)
        number = parts.count(len(z)) if compiles else 1

        def decode_and_count(*batches: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
            x = parts.apply(inverse, number, *batches)
            failed = tf.reduce_any(tf.math.is_nan(x), list(range(1, x.shape.rank)))
            return x, tf.math.count_nonzero(failed)

        function = self._function(f"decode in {number}", decode_and_count)
        x, failed = function(z, condition)
        if failed := int(failed):
            warnings.warn(
                f"{failed} of {len(x)} examples could not be inverted to the blocks' tolerance and "
                "are NaN. See tf_iresnet.certify(model), or raise the tolerance.",
                RuntimeWarning,
                stacklevel=3,
            )
        return x

    def _tensors(self, value: Any, condition: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
        """The arguments as tensors, so that a traced function isn't traced for each value."""
        self._check_condition(condition)
        condition = None if condition is None else tf.convert_to_tensor(condition)
        return tf.convert_to_tensor(value), condition

    def _check_condition(self, condition: Any) -> None:
        size = self.layer.condition_size
        if (condition is None) != (size is None):
            expected = "None" if size is None else f"a tensor of shape [batch, {size}]"
            raise ValueError(f"Expected condition to be {expected}. Received: {condition=}")

    def get_config(self):
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer, "seed": self.seed}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})


def classification(log_prob: tf.Tensor, y: Any) -> dict[str, tf.Tensor]:
    """Cross-entropy in nats and whether the likeliest class is the right one, `[batch]` each.

    `log_prob` `[batch, classes]` need not be normalised; `y` holds integer labels `[batch]`.

    Raises:
        ValueError: for targets that are missing, or one-hot.
    """
    if y is None or (len(y.shape) > 1 and y.shape[1:] != (1,)):
        received = "y=None" if y is None else f"y of shape={tuple(y.shape)}"
        raise ValueError(
            f"Expected y to be integer labels [batch], from 0 to {log_prob.shape[-1] - 1}. "
            f"Received: {received}. One-hot targets become labels by numpy.argmax(y, axis=-1)."
        )
    labels = tf.cast(tf.reshape(y, [-1]), tf.int32)
    likeliest = tf.argmax(log_prob, axis=-1, output_type=tf.int32)
    return {
        "cross_entropy": tf.nn.sparse_softmax_cross_entropy_with_logits(labels, log_prob),
        "accuracy": tf.cast(likeliest == labels, log_prob.dtype),
    }
