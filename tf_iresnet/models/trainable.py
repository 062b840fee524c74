"""Keras' training loop for models with a loss of their own: weights, metrics, checks."""

import functools
import inspect
import warnings
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.layers.tracking import Tracked
from tf_iresnet.models.step_checks import StopNotFinite, expect_no_clipping, fail, in_plain_words
from tf_iresnet.numerics import replicas
from tf_iresnet.numerics.probes import Seed, as_seed, fold_in, from_row


class Values(NamedTuple):
    """What a model makes of a batch.

    Attributes:
        means: `[batch]` values of each metric of its own; the mean of "loss" is minimised.
        outputs: what metrics of `compile` can be given, by name.
        targets: what they are compared with, by the same names.
    """

    means: dict[str, tf.Tensor]
    outputs: dict[str, tf.Tensor]
    targets: dict[str, Any]


class TrainableModel(Tracked, keras.Model):
    """A Keras model that brings its own loss, the weighted mean of a value of each example.

    A subclass gives `metric_names`, `output_choices` and `_values`, and may check arrays before
    the first step by `_expect_arrays`. A `sample_weight` `[batch]` weighs the examples of `fit`,
    `evaluate` and their relatives, with or without targets: a step descends the gradient of
    `Σ wᵢ lossᵢ / batch size`, as Keras' do, and metrics are means `Σ wᵢ vᵢ / Σ wᵢ`.

    A step whose loss or gradient isn't finite is not taken: `FloatingPointError` names it.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("loss",)
    # What metrics can be given; the first one is for those in a list.
    output_choices: ClassVar[tuple[str, ...]]
    has_labels: ClassVar[bool] = True

    def __init__(self, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self._means = [keras.metrics.Mean(name=name) for name in self.metric_names]
        self._jit_compile_argument: bool | str = "auto"

    def _values(self, x: Any, y: Any, training: bool, seed: Seed = None) -> Values:
        raise TypeError(f"{type(self).__name__} must define _values()")

    def _inputs_and_targets(self, x: Any, y: Any) -> tuple[Any, Any]:
        """One tensor of inputs, and targets or None."""
        if isinstance(x, (tuple, list)) and len(x) == 1:
            (x,) = x
        if tf.TensorShape(getattr(y, "shape", None))[1:] == (0,):  # see `_targets`
            y = None
        return x, y

    def _expect_arrays(self, x: np.ndarray, y: np.ndarray | None) -> None:
        """Raises for arrays that the model can't be trained on."""
        for name, array in (("x", x), ("y", y)):
            if array is not None and array.dtype.kind == "f":
                bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
                if len(bad):
                    raise ValueError(
                        f"Expected {name} to be finite. Received: NaN or infinity in {len(bad)} "
                        f"of {len(array)} examples, the first in row {bad[0]}. Leave them out."
                    )

    # -- what Keras calls -------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Chooses an optimizer, and metrics of `outputs`.

        Args:
            optimizer, **kwargs: see `keras.Model.compile`. `jit_compile` is for steps and for the
                inverse; "auto" compiles inverses once that pays.
            loss, loss_weights: None, since the model has a loss of its own.
            metrics: Keras metrics, names or functions `(targets, outputs)`: a list for the
                default output, or a dict of lists by output. The outputs and their targets are:
                of a flow "log_prob" `[batch]` (the default) and "latents", both beside the data;
                of a hybrid and a classifier "class_log_prob" `[batch, classes]` (the default)
                beside the labels, and "features" or "latents" beside the data.
            weighted_metrics: the same, weighted by `sample_weight`.

        Raises:
            ValueError: for a loss, or metrics of an unknown output.
        """
        if loss is not None or loss_weights is not None:
            raise ValueError(
                f"Expected no loss: {type(self).__name__} minimises one of its own. Received: "
                f"{loss=}, {loss_weights=}. Measure others by metrics=…, or write a training loop."
            )
        for given in (metrics, weighted_metrics):
            self._expect_metrics(given)
        self._jit_compile_argument = kwargs.get("jit_compile", "auto")
        super().compile(optimizer, metrics=metrics, weighted_metrics=weighted_metrics, **kwargs)

    def get_compile_config(self):
        config = super().get_compile_config()
        return config and {**config, "jit_compile": self._jit_compile_argument}

    def compile_from_config(self, config):
        # Keras leaves this to whoever overrides `compile`.
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def _expect_metrics(self, metrics: Any) -> None:
        """Raises for metrics that the model can't compute."""
        known = self.output_choices
        if isinstance(metrics, dict) and not set(metrics) <= set(known):
            expected = f"metrics of outputs of the model: {', '.join(known)}"
            raise ValueError(f"Expected {expected}. Received: {', '.join(map(str, metrics))}")

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does."""
        given = self._checked(super().fit, *args, **kwargs)
        validation = given.get("validation_data")
        if isinstance(validation, (tuple, list)):
            x, y, weight = keras.utils.unpack_x_y_sample_weight(tuple(validation))
            y = self._targets(x, y, weight)
            given["validation_data"] = keras.utils.pack_x_y_sample_weight(x, y, weight)
        if self.jit_compile:  # XLA drops assertions
            given["callbacks"] = _with_callback(given.get("callbacks"), StopNotFinite())
        with in_plain_words():
            return super().fit(**given)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Returns means over the examples, as `keras.Model.evaluate` does."""
        with in_plain_words():
            return super().evaluate(**self._checked(super().evaluate, *args, **kwargs))

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Takes one step, as `keras.Model.train_on_batch` does."""
        given = self._checked(super().train_on_batch, *args, **kwargs)
        with in_plain_words():
            return super().train_on_batch(**given)

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Returns means over a batch, as `keras.Model.test_on_batch` does."""
        with in_plain_words():
            return super().test_on_batch(**self._checked(super().test_on_batch, *args, **kwargs))

    def _checked(self, method: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The arguments by name, checked where they are arrays, with the targets of `_targets`."""
        bound = inspect.signature(method).bind(*args, **kwargs)
        private = bound.arguments.pop("kwargs", {})
        given = {**bound.arguments, **private}
        if given.get("class_weight") is not None and not self.has_labels:
            raise ValueError(
                f"Expected no class_weight: {type(self).__name__} has no labels. Received: "
                f"class_weight={given['class_weight']}. Weigh examples by sample_weight=[…]."
            )
        weight = given.get("sample_weight")
        given["y"] = self._targets(given.get("x"), given.get("y"), weight)
        return given

    def _targets(self, x: Any, y: Any, weight: Any) -> Any:
        """The targets; empty ones `[batch, 0]` if there are none, or Keras would drop weights."""
        inputs, targets = self._inputs_and_targets(x, y)
        if not _is_array(inputs):
            return y
        rows = len(inputs)
        self._expect_arrays(np.asarray(inputs), None if targets is None else np.asarray(targets))
        if weight is None:
            return y
        weight = np.asarray(weight)
        if weight.shape not in ((rows,), (rows, 1)) or not np.isfinite(weight).all():
            raise ValueError(
                f"Expected sample_weight to be {rows} finite numbers, one for each example. "
                f"Received: shape={weight.shape}, {np.sum(~np.isfinite(weight))} not finite"
            )
        return np.zeros((rows, 0), np.float32) if y is None else y

    @property
    def metrics(self):
        """Means over the examples of an epoch, and what `compile` asked for."""
        others = (metric for metric in super().metrics if metric not in self._means)
        return [*self._means, *(m for m in others if m is not getattr(self, "_loss_tracker", None))]

    def make_train_function(self, force=False):
        if self.distribute_strategy.num_replicas_in_sync > 1:
            expect_no_clipping(self.optimizer)
        # TensorFlow traces a step twice if the first trace creates the optimizer's variables.
        if self.built and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras' hook before a first step: what is made in the step itself can't be compiled, nor
        # be made on several devices.
        batch = data_batch if iterator is None else iterator._distributed_dataset.element_spec
        x, y, _ = keras.utils.unpack_x_y_sample_weight(tf.nest.map_structure(_of_replica, batch))
        x, y = self._inputs_and_targets(x, y)
        with self.distribute_strategy.scope():
            if not self.built:
                self.build((None, *x.shape[1:]))
            metrics = self._compile_metrics
            if metrics is not None and not metrics.built:
                x, y = (v if v is None else tf.zeros([2, *v.shape[1:]], v.dtype) for v in (x, y))
                metrics.build(*self._metric_arguments(self._values(x, y, False)))

    # -- steps ------------------------------------------------------------------------------------

    def train_step(self, data):
        x, y, weight = self._unpack(data)
        # A function of the step alone, so a resumed run sees the noise of an uninterrupted one.
        # Keras' `iterations` stands still while gradients are accumulated.
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        step = tf.cast(optimizer._iterations.value, tf.int32)
        place = replicas.place(x)
        seed = _at(place, fold_in(as_seed(self.seed), step))
        with tf.GradientTape() as tape:
            values = self._values(x, y, True, seed)
            loss = values.means["loss"]
            if weight is not None:
                loss *= tf.cast(weight, loss.dtype)
            # Gradients are summed over replicas: of the examples' sum each has its own, of
            # regularisers, which are the same on all, an equal share.
            loss = tf.reduce_sum(loss) / tf.cast(place.total, loss.dtype)
            if self.losses:
                shares = tf.distribute.get_strategy().num_replicas_in_sync
                loss += tf.add_n([tf.cast(value, loss.dtype) for value in self.losses]) / shares
            scaled = self.optimizer.scale_loss(loss)
        weights = self.trainable_weights
        if weights:
            gradients = tape.gradient(scaled, weights)
            self._apply(gradients, weights, loss, {"step": step, "x": x, "y": y})
        else:
            warnings.warn("The model does not have any trainable weights.", stacklevel=2)
        return self._update_metrics(values, weight)

    def test_step(self, data):
        x, y, weight = self._unpack(data)
        seed = _at(replicas.place(x), as_seed(None))
        return self._update_metrics(self._values(x, y, False, seed), weight)

    def _unpack(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        x, y = self._inputs_and_targets(x, y)
        x, y = (
            v if v is None else tf.convert_to_tensor(v) for v in (x, y)
        )  # eager steps get arrays
        return x, y, None if weight is None else tf.reshape(weight, tf.shape(x)[:1])

    def _apply(self, gradients: Any, weights: Any, loss: tf.Tensor, batch: dict[str, Any]) -> None:
        """Takes the step, if the loss and the gradients are finite."""
        finite = [tf.math.is_finite(loss)]
        if not isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):  # it does so itself
            finite += [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
        all_finite = tf.reduce_all(finite)
        pairs = [*zip(gradients, weights, strict=True)]
        if self.jit_compile:  # and XLA drops assertions: `StopNotFinite` looks at the loss
            apply = self.optimizer.apply_gradients
            tf.cond(all_finite, lambda: tf.cast(apply(pairs), tf.int32), lambda: batch["step"])
            return
        names = [weight.path for weight in weights][: len(finite) - 1]
        failure = functools.partial(fail, loss, finite, names, batch)
        checked = tf.cond(all_finite, lambda: True, failure)
        with tf.control_dependencies([checked]):
            gradients = [tf.identity(gradient) for gradient in gradients]
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))

    def _update_metrics(self, values: Values, weight: tf.Tensor | None) -> dict[str, tf.Tensor]:
        for mean in self._means:
            mean.update_state(values.means[mean.name], sample_weight=weight)
        if self._compile_metrics is not None:
            self._compile_metrics.update_state(*self._metric_arguments(values), weight)
        return self.get_metrics_result()

    def _metric_arguments(self, values: Values) -> tuple[Any, Any]:
        """Targets and outputs for the metrics that `compile` was given."""
        asked = (self._compile_metrics._user_metrics, self._compile_metrics._user_weighted_metrics)
        names = sorted({name for given in asked if isinstance(given, dict) for name in given})
        if not names:
            return values.targets[self.output_choices[0]], values.outputs[self.output_choices[0]]
        return {n: values.targets[n] for n in names}, {n: values.outputs[n] for n in names}


def _at(place: replicas.Place, seed: tf.Tensor) -> tf.Tensor:
    """The seed by which an example has the noise of its place in the batch of all replicas."""
    return seed if place.first is None else from_row(seed, place.first)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or tf.is_tensor(value)


def _with_callback(callbacks: Any, own: keras.callbacks.Callback) -> Any:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(own)
        return callbacks
    return [*keras.tree.flatten(callbacks or []), own]


def _of_replica(spec: Any) -> Any:
    """The spec of the part of one replica; None of an absent one."""
    spec = spec._value_specs[0] if hasattr(spec, "_value_specs") else spec
    return spec if hasattr(spec, "shape") else None
