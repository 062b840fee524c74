"""A normalising flow as a Keras model."""

import functools
import math
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers.contractive import deserialize_layers, register
from tf_iresnet.layers.invertible import InvertibleLayer, InvertibleSequential, inherit_dtype
from tf_iresnet.layers.normalized import SpectralLayer
from tf_iresnet.layers.walk import walk
from tf_iresnet.models import base as bases
from tf_iresnet.models import parts
from tf_iresnet.numerics.probes import Seed, as_seed, fold_in


@register
class ResidualFlow(keras.Model):
    """The density of `x` whose latents `F(x)` follow a base distribution.

    `ln p(x) = ln p_base(F(x)) + ln|det ∂F/∂x|`, with `F: data → latent` (i-ResNet,
    arXiv 1811.00995, eq. 1 and 2). `fit` maximises it: the loss is the mean negative log-density in
    nats, weighted by `sample_weight`; targets `y` are taken as the condition. Called on data, the
    model returns log-densities, so `predict` does too.

    Args:
        layer: the invertible network `F`, or a list of invertible layers.
        base: "normal", "learned_normal", or a layer like `tf_iresnet.models.base.DiagonalNormal`.
        seed: makes training and, with a fixed `seed` argument, sampling reproducible.

    Input shape: `[batch, *event]`. Output shape: `[batch]`.

    Example:

        flow = tf_iresnet.mlp_flow(2)
        flow.compile(optimizer=keras.optimizers.Adam(1e-3))
        flow.fit(x, epochs=10)
        flow.sample(100)
    """

    def __init__(
        self,
        layer: InvertibleLayer | list[InvertibleLayer],
        base: str | bases.DiagonalNormal = "normal",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        layer = InvertibleSequential(layer) if isinstance(layer, (list, tuple)) else layer
        super().__init__(**inherit_dtype(kwargs, [layer]))
        self.layer = layer
        self.base = bases.get(base, self.layer.dtype_policy)
        self.seed = seed
        self._sampling_seeds = keras.random.SeedGenerator(seed)
        self._nats = keras.metrics.Mean(name="loss")
        self._bits = keras.metrics.Mean(name="bits_per_dim")
        self._functions: dict[str, Any] = {}

    def build(self, input_shape):
        if not self.layer.built:
            self.layer.build(input_shape)
        if not self.base.built:
            self.base.build(self.layer.compute_output_shape(input_shape))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        if self.layer.event_shape is None:
            raise ValueError("The flow isn't built yet: call it on data, or build((None, *event)).")
        return self.layer.event_shape

    @property
    def event_size(self) -> int:
        """Number of dimensions of one example."""
        return math.prod(self.event_shape)

    def call(self, inputs, condition=None, training=None, seed=None):
        self._check_condition(condition)
        z, log_det = self.layer.forward_with_log_det(inputs, condition, training, seed)
        return self.base.log_prob(z) + log_det

    def log_prob(self, x: Any, condition: Any = None, seed: Seed = None) -> tf.Tensor:
        """Log-density of `x` `[batch, *event]`, in nats `[batch]`. `seed` is for estimators."""
        return self._run("log_prob", self.call, x, condition, False, as_seed(seed))

    def encode(self, x: Any, condition: Any = None) -> tf.Tensor:
        """Latents `F(x)`."""
        self._check_condition(condition)
        return self._run("encode", self.layer.call, x, condition)

    def decode(self, z: Any, condition: Any = None) -> tf.Tensor:
        """Data `F⁻¹(z)`. Rows whose inverse couldn't be certified are NaN, with a warning."""
        self._check_condition(condition)
        return self._decode(z, condition)

    def sample(self, num: int, condition: Any = None, seed: Seed = None) -> tf.Tensor:
        """`num` samples `[num, *event]`; `condition` is `[num, size]`, or `[size]` for all of them.

        Without a seed every call draws new ones. Rows whose inverse couldn't be certified are NaN,
        with a warning.
        """
        self._check_condition(condition)
        if condition is not None:
            condition = tf.convert_to_tensor(condition, self.layer.variable_dtype)
            if condition.shape.rank == 1:
                condition = tf.tile(condition[tf.newaxis], [num, 1])
        if seed is None:
            seed = tf.cast(self._sampling_seeds.next(), tf.int32)
        z = self._run("base", self.base.sample, num, as_seed(seed))
        return self._decode(z, condition)

    def distribution(self, condition: Any = None) -> Any:
        """The flow as a `tfd.TransformedDistribution`: a view that follows the weights."""
        import tensorflow_probability as tfp

        from tf_iresnet.bijectors import InvertibleBijector

        self._check_condition(condition)
        bijector = InvertibleBijector(self.layer, condition=condition)
        return tfp.distributions.TransformedDistribution(
            self.base.distribution(), tfp.bijectors.Invert(bijector)
        )

    # -- training ---------------------------------------------------------------------------------

    @property
    def metrics(self):
        """Nats per example ("loss") and bits per dimension, in the units of the data."""
        return [self._nats, self._bits]

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As of `keras.Model`; at its end the norms are stored (`store_norms`)."""
        history = super().fit(*args, **kwargs)
        self.store_norms()
        return history

    def store_norms(self) -> None:
        """Stores where power iteration got to with the weights as they are.

        Calls that find the stored vectors older than the weights bring the norms up to date
        themselves, each time anew: this spares them it, which is most of the time of a small batch.
        """
        for layer in walk(self.layer, SpectralLayer):
            layer.store_norm()

    def train_step(self, data):
        x, condition, weight = keras.utils.unpack_x_y_sample_weight(data)
        # A function of the step alone, so a resumed run sees the noise of an uninterrupted one.
        step = tf.cast(self.optimizer.iterations.value, tf.int32)
        seed = fold_in(as_seed(self.seed), step)
        with tf.GradientTape() as tape:
            log_prob = self(x, condition=condition, training=True, seed=seed)
            loss = self._weighted_loss(log_prob, weight)
            if self.losses:  # regularisers
                loss += tf.add_n(self.losses)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self._update_metrics(log_prob, weight)

    def test_step(self, data):
        x, condition, weight = keras.utils.unpack_x_y_sample_weight(data)
        return self._update_metrics(self(x, condition=condition, training=False), weight)

    @staticmethod
    def _weighted_loss(log_prob: tf.Tensor, weight: tf.Tensor | None) -> tf.Tensor:
        """Mean over the global batch of `−w·ln p(x)`."""
        if weight is not None:
            log_prob = log_prob * tf.cast(tf.reshape(weight, [-1]), log_prob.dtype)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return -tf.reduce_mean(log_prob) / replicas

    def _update_metrics(self, log_prob, weight):
        self._nats.update_state(-log_prob, sample_weight=weight)
        bits = -log_prob / (self.event_size * math.log(2))
        self._bits.update_state(bits, sample_weight=weight)
        return self.get_metrics_result()

    # -- the machinery behind the public methods --------------------------------------------------

    def reset_functions(self) -> None:
        """Forgets the traced functions; needed after a change of a Python attribute of a layer."""
        self._functions.clear()

    def _run(self, name: str, function: Any, *args: Any) -> Any:
        """In eager mode through one `tf.function` per method, otherwise in the caller's graph."""
        if not tf.executing_eagerly():
            return function(*args)
        arrays = (np.ndarray, list, float)
        args = tuple(tf.convert_to_tensor(a) if isinstance(a, arrays) else a for a in args)
        return self._traced(name, function)(*args)

    def _traced(self, name: str, function: Any, jit_compile: bool | None = None) -> Any:
        if name not in self._functions:
            self._functions[name] = tf.function(
                function, reduce_retracing=True, autograph=False, jit_compile=jit_compile
            )
        return self._functions[name]

    def _decode(self, z: Any, condition: Any) -> tf.Tensor:
        if not tf.executing_eagerly():
            return self.layer.inverse(z, condition)
        # XLA runs the many small operations of a solver in half the time, on CPUs too.
        inverse = self._traced("inverse", self.layer.inverse, jit_compile=True)
        number = parts.count(len(z))
        function = functools.partial(_decode_and_count, inverse, number)
        x, bad = self._run(f"decode in {number}", function, z, condition)
        if bad := int(bad):
            warnings.warn(
                f"{bad} of {x.shape[0]} examples could not be inverted to the blocks' "
                "tolerance and are NaN. See tf_iresnet.certify(flow), or raise the tolerance.",
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
        return {
            **super().get_config(),
            "layer": keras.saving.serialize_keras_object(self.layer),
            "base": keras.saving.serialize_keras_object(self.base),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = deserialize_layers(config)
        config["base"] = keras.saving.deserialize_keras_object(config["base"])
        return cls(**config)


def _decode_and_count(
    inverse: Any, number: int, z: tf.Tensor, condition: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """The inverse, in a number of parts, and how many rows of it are NaN."""
    x = parts.apply(inverse, number, z, condition)
    nan = tf.math.is_nan(x)
    return x, tf.math.count_nonzero(tf.reduce_any(nan, list(range(1, nan.shape.rank))))
