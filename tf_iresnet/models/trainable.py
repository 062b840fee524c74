"""Keras' methods of a model with a loss of its own: their arguments count or are refused."""

import inspect
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.models.step_checks import StopNotFinite, expect_finite, in_plain_words
from tf_iresnet.models.steps import SteppingModel


class TrainableModel(SteppingModel):
    """A model of steps with Keras' doors: `compile`, `fit`, `evaluate` and their relatives.

    A `sample_weight` `[batch]` weighs the examples with or without targets. Arrays are checked
    before the first step, by `_expect_arrays`. A step that isn't finite is not taken:
    `FloatingPointError` names it.
    """

    def __init__(self, seed: int, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self._jit_compile_argument: bool | str = "auto"

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
        names = [m for m in metrics if isinstance(m, str)] if isinstance(metrics, list) else []
        if names and not self.has_labels:
            raise ValueError(
                "Expected metrics of log-densities: functions (x, log_prob) or keras.metrics. "
                f"Received: {names}, which compare outputs with targets of their shape, and a "
                "density has none. Name latents by metrics={'latents': [...]}."
            )
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
        if self.shows_not_finite:
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
            result = super().train_on_batch(**given)
        if self.shows_not_finite:
            loss = result["loss"] if isinstance(result, dict) else np.ravel(result)[0]
            expect_finite(loss, "this batch")
        return result

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Returns means over a batch, as `keras.Model.test_on_batch` does."""
        with in_plain_words():
            return super().test_on_batch(**self._checked(super().test_on_batch, *args, **kwargs))

    def _checked(self, method: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The arguments by name, checked where they are arrays, with the targets of `_targets`."""
        bound = inspect.signature(method).bind(*args, **kwargs)
        private = bound.arguments.pop("kwargs", {})
        given = {**bound.arguments, **private}
        if private.get("_use_cached_eval_dataset"):  # `fit` has looked at them
            return given
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


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or tf.is_tensor(value)


def _with_callback(callbacks: Any, own: keras.callbacks.Callback) -> Any:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(own)
        return callbacks
    return [*keras.tree.flatten(callbacks or []), own]
