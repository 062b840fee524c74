"""What the models around an invertible network have in common."""

import functools
import warnings
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers.checks import as_condition, expect_events
from tf_iresnet.layers.composition import InvertibleSequential
from tf_iresnet.layers.convolution import SpectralConv
from tf_iresnet.layers.folding import Folding, folded_model
from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.layers.serialization import build_once, inherit_dtype
from tf_iresnet.layers.spectral import SpectralLayer
from tf_iresnet.models.export import export_saved_model
from tf_iresnet.models.trainable import TrainableModel
from tf_iresnet.numerics import parts
from tf_iresnet.numerics.fixed_point import Solution
from tf_iresnet.numerics.tracing import Traces


class InvertibleModel(TrainableModel):
    """A Keras model around an invertible network: its maps both ways, and its training loop.

    Args:
        layer: the network, or a list of invertible layers.
        seed: of the training noise. `fit` shuffles by Keras' own, `keras.utils.set_random_seed`.
    """

    # What `export` writes; the first is also `serve`.
    served: ClassVar[tuple[str, ...]] = ("encode", "decode")

    def __init__(
        self, layer: InvertibleLayer | list[InvertibleLayer], seed: int = 0, **kwargs: Any
    ) -> None:
        layer = InvertibleSequential(layer) if isinstance(layer, (list, tuple)) else layer
        # Without autocast: data and densities stay in float32 under a policy of half precision.
        super().__init__(seed, **{"autocast": False, **inherit_dtype(kwargs, [layer])})
        self.layer = layer
        self.traces = Traces()

    def build(self, input_shape):
        build_once(self.layer, input_shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        if self.layer.event_shape is None:
            raise ValueError("The model isn't built: call it on data, or build((None, *event)).")
        return self.layer.event_shape

    @property
    def condition_size(self) -> int | None:
        """Size of the condition that the model takes; None without."""
        return self.layer.condition_size

    @property
    def working_dtype(self) -> str:
        """The dtype of inputs and results: see `StackedLayer.working_dtype`."""
        return self.layer.working_dtype

    @property
    def event_size(self) -> int:
        """Number of dimensions of one example."""
        return int(np.prod(self.event_shape))

    def encode(self, x: Any, condition: Any = None) -> tf.Tensor:
        """Outputs of the network, latents or features, of `x` `[batch, *event]`.

        A condition is `[batch, size]`, or `[size]` or `[1, size]` for all examples; here as in all
        other methods.
        """
        x, condition = self._tensors(x, condition)
        return self.traces.run("encode", self._encode, x, self._of_layer(condition))

    def _encode(self, x: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        return self.layer.forward(x, condition).value

    def decode(self, z: Any, condition: Any = None) -> tf.Tensor:
        """Data `F⁻¹(z)` of latents or features.

        Rows whose inverse couldn't be certified are NaN, with a warning.
        """
        return self._decode(*self._tensors(z, condition, latent=True))

    def decode_with_report(self, z: Any, condition: Any = None) -> Solution:
        """`decode` without a warning, and what each solver did: see `inverse_report`."""
        inverse = self.layer.inverse_with_report
        z, condition = self._tensors(z, condition, latent=True)
        return self.traces.run("report", inverse, z, self._of_layer(condition))

    # -- serving ----------------------------------------------------------------------------------

    def fold(self, x: Any, folding: Folding) -> Any:
        """Outputs of `folded` for a symbolic tensor."""
        return self.layer.fold(x, folding)

    def folded(self) -> keras.Model:
        """The map from data as a plain Keras model: of a flow `F`, of a classifier its logits.

        See `StackedLayer.folded`. With a condition it takes `[x, condition]`. Log-determinants,
        densities and inverses have no such form: `export` serves them.
        """
        return folded_model(self)

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
    ) -> None:
        """Writes a SavedModel with the methods in `served`, for use without this package.

        `tf.saved_model.load(filepath)` has functions of the methods' names and arguments, and
        `serve`, which is what calling the model gives; so has it signatures. They take any number
        of examples, in the model's dtype, and `sample` needs a `seed`. Kernels are normalised once,
        here. Rows that couldn't be inverted are NaN, without a warning.

        Args:
            filepath: folder to write.
            format: "tf_saved_model", the only one: `folded().export` writes the others.
            verbose: False prints nothing.
            input_signature: specs of `x` and, of conditional models, the condition, for another
                batch size or dtype.

        Raises:
            ValueError: for a model that isn't built, another format, or specs of another shape.
        """
        if format != "tf_saved_model":
            raise ValueError(
                "Expected format='tf_saved_model', for log-densities and inverses are loops. "
                f"Received: {format=}. model.folded().export(filepath, format={format!r}) writes "
                "the map from data alone, which is all that plain layers can hold."
            )
        export_saved_model(self, filepath, verbose, input_signature)

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

    # -- the machinery behind the public methods --------------------------------------------------

    def _forget_traces(self) -> None:
        """Drops traced functions; needed after a change of a Python attribute of a layer."""
        self.traces.clear()
        for layer in self._flatten_layers():
            if isinstance(layer, InvertibleLayer):
                layer.traces.clear()

    @functools.cached_property
    def _has_convolutions(self) -> bool:
        return any(isinstance(layer, SpectralConv) for layer in self._flatten_layers())

    def _decode(self, z: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        condition = self._of_layer(condition)
        if not tf.executing_eagerly():
            return self.layer.inverse(z, condition)
        # XLA runs the many small operations of a solver in half the time, on CPUs too; but there it
        # takes thrice as long to compile convolutions, which are no faster for it.
        wanted = self._jit_compile_argument
        compiles = None if wanted == "auto" else bool(wanted)
        if compiles is None and self._has_convolutions and parts.only_cpus():
            compiles = False
        x = self.traces.run_compiled("inverse", self.layer.inverse, compiles, z, condition)
        failed = np.isnan(x.numpy()).any(axis=tuple(range(1, x.shape.rank))).sum()
        if failed:
            message = (
                f"{failed} of {len(x)} examples could not be inverted to the blocks' tolerance and "
                "are NaN. See tf_iresnet.certify(model), or raise the tolerance."
            )
            if any(getattr(part, "on_failure", None) == "raise" for part in self._flatten_layers()):
                raise tf.errors.InvalidArgumentError(None, None, message)  # XLA drops assertions
            warnings.warn(message, RuntimeWarning, stacklevel=3)
        return x

    def _tensors(self, value: Any, condition: Any, latent: bool = False) -> tuple[Any, Any]:
        """Events `[batch, *event]` and conditions `[batch, size]` or None, as tensors that fit."""
        value = tf.cast(tf.convert_to_tensor(value), self.working_dtype)
        if not self.built:
            self.build(value.shape)
        expect_events(self.layer, value, inverse=latent)
        return value, self._conditions(condition, tf.shape(value)[0], value.shape[0])

    def _conditions(self, condition: Any, rows: Any, static: int | None = None) -> Any:
        """A condition `[size]`, `[1, size]` or `[rows, size]` as `[rows, size]`; None stays so."""
        condition = as_condition(self, condition, static)
        if condition is None:
            return None
        return tf.broadcast_to(condition, tf.stack([rows, condition.shape[-1]]))

    def _of_layer(self, condition: Any) -> Any:
        """The condition, if the network takes one: a base may be alone to do so."""
        return None if self.layer.condition_size is None else condition

    def get_config(self):
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer, "seed": self.seed}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})


def expect_labels(y: np.ndarray | None, classes: int) -> None:
    """Raises unless `y` holds integer labels `[batch]` or `[batch, 1]`, from 0 to `classes − 1`."""
    expected = f"y to be integer labels [batch], from 0 to {classes - 1}"
    if y is None:
        raise ValueError(f"Expected {expected}. Received: y=None")
    if y.ndim != 1 and y.shape[1:] != (1,):
        raise ValueError(
            f"Expected {expected}. Received: y of shape={y.shape}. One-hot targets become labels "
            "by numpy.argmax(y, axis=-1)."
        )
    wrong = np.flatnonzero((y != np.floor(y)) | (y < 0) | (y >= classes))
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"Expected {expected}. Received: {y.reshape(-1)[row]} in row {row}, one of "
            f"{len(wrong)} such labels"
        )


def classification(log_prob: tf.Tensor, y: Any) -> dict[str, tf.Tensor]:
    """Cross-entropy in nats and whether the likeliest class is the right one, `[batch]` each.

    `log_prob` `[batch, classes]` need not be normalised; `y` holds integer labels `[batch]`. The
    cross-entropy of a label that isn't a class is NaN where an assertion can't be made (XLA).

    Raises:
        ValueError: for targets that are missing, or one-hot.
        InvalidArgumentError: for labels out of range, or between two integers.
    """
    classes = log_prob.shape[-1]
    y = None if y is None else tf.convert_to_tensor(y)
    if y is None or y.shape.rank != 1:
        shape = None if y is None else (0, *y.shape[1:])
        expect_labels(None if shape is None else np.zeros(shape), classes)
    y = tf.reshape(y, [-1])
    labels = tf.cast(y, tf.int32)
    valid = (tf.cast(labels, y.dtype) == y) & (labels >= 0) & (labels < classes)
    wrong = tf.boolean_mask(y, ~valid)
    message = f"Expected y to be integer labels [batch], from 0 to {classes - 1}. Received:"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(valid), [message, wrong])]):
        labels = tf.where(valid, labels, 0)
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, log_prob)
    likeliest = tf.argmax(log_prob, axis=-1, output_type=tf.int32)
    return {
        "cross_entropy": tf.where(valid, cross_entropy, tf.cast(float("nan"), log_prob.dtype)),
        "accuracy": tf.cast((likeliest == labels) & valid, log_prob.dtype),
    }
