"""The steps of a Keras model with a loss of its own: over replicas, checked, with any metrics."""

import functools
import math
import sys
import warnings
from typing import Any, ClassVar, NamedTuple

import keras
import tensorflow as tf

from tf_iresnet.layers.tracking import Tracked
from tf_iresnet.models.accumulation import over_parts
from tf_iresnet.models.step_checks import describe, expect_no_accumulation, fail
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


class SteppingModel(Tracked, keras.Model):
    """A Keras model whose steps descend the gradient of a value of each example.

    A subclass gives `metric_names`, `output_choices` and `_values`. A step descends the gradient of
    `Σ wᵢ lossᵢ / batch size`, as Keras' do; metrics are means `Σ wᵢ vᵢ / Σ wᵢ`. One whose loss or
    gradient isn't finite is not taken.

    Attributes:
        skip_not_finite: whether such a step is left out, and named on standard output, instead of
            raising an error. Neither the weights nor the means know of it.
        accumulate_steps: the number of equal parts that the batch of a step is evaluated in, one
            after the other, which takes the memory of one part. Their gradients add up to that of
            the batch, so nothing else of the step changes; but each part has training noise of its
            own, and batch normalisation by its own moments. On one device only.
    """

    skip_not_finite: bool = False
    accumulate_steps: int = 1

    metric_names: ClassVar[tuple[str, ...]] = ("loss",)
    # What metrics can be given; the first one is for those in a list.
    output_choices: ClassVar[tuple[str, ...]]
    has_labels: ClassVar[bool] = True

    def __init__(self, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        as_seed(seed)  # raises for one beyond int32
        self.seed = seed
        self._means = [keras.metrics.Mean(name=name) for name in self.metric_names]

    def _values(self, x: Any, y: Any, training: bool, seed: Seed = None) -> Values:
        raise TypeError(f"{type(self).__name__} must define _values()")

    def _inputs_and_targets(self, x: Any, y: Any) -> tuple[Any, Any]:
        """One tensor of inputs, and targets or None."""
        if isinstance(x, (tuple, list)) and len(x) == 1:
            (x,) = x
        if tf.TensorShape(getattr(y, "shape", None))[1:] == (0,):  # see `_targets`
            y = None
        return x, y

    @property
    def metrics(self):
        """Means over the examples of an epoch, and what `compile` asked for."""
        dropped = [*self._means, getattr(self, "_loss_tracker", None)]  # Keras' is of its own loss
        return [*self._means, *(metric for metric in super().metrics if metric not in dropped)]

    @property
    def shows_not_finite(self) -> bool:
        """Whether a step that wasn't taken has a loss of NaN, rather than an error of its own.

        So it is under XLA, which drops assertions, and on several replicas, where one that fails
        would leave the others waiting.
        """
        several = self.distribute_strategy.num_replicas_in_sync > 1
        return bool(self.jit_compile or several) and not self.skip_not_finite

    def _make_function(self, step_function):
        if not replicas.over_workers(self.distribute_strategy):
            return super()._make_function(step_function)

        # Keras takes means over workers along a first axis, which scalars lack: its issue 20585.
        def step(data: Any) -> dict[str, tf.Tensor]:
            return {name: value[tf.newaxis] for name, value in step_function(data).items()}

        return super()._make_function(step)

    def make_train_function(self, force=False):
        if self.distribute_strategy.num_replicas_in_sync > 1:
            expect_no_accumulation(self.optimizer)
            if self.accumulate_steps > 1:
                raise ValueError(
                    "Expected each replica to evaluate its share of a batch at once. Received: "
                    f"accumulate_steps={self.accumulate_steps}. Train on one device, take smaller "
                    "batches, or keep less by memory='recompute'."
                )
            # Steps sum gradients themselves, before Keras clips them.
            optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
            optimizer._all_reduce_sum_gradients = list
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
        skipping = self.skip_not_finite
        states = self.non_trainable_variables if skipping else []
        before = [tf.identity(state.value) for state in states]
        if self.accumulate_steps == 1:
            (loss, gradients), values = self._differentiated((x, y, weight), seed, place.total)
        else:
            (loss, gradients), values = over_parts(
                lambda part, index: self._differentiated(part, fold_in(seed, index), place.total),
                self.accumulate_steps,
                (x, y, weight),
            )
        weights, taken = self.trainable_weights, tf.constant(True)
        if weights:
            taken = self._apply(gradients, weights, loss, {"step": step, "x": x, "y": y})
            if self.shows_not_finite:
                shown = tf.where(taken, values.means["loss"], math.nan)
                values = values._replace(means={**values.means, "loss": shown})
        else:
            warnings.warn("The model does not have any trainable weights.", stacklevel=2)
        if not skipping:
            return self._update_metrics(values, weight)

        def undo(before: list[tf.Tensor], *_: Any) -> None:
            for state, value in zip(states, before, strict=True):
                state.assign(value)

        def update(_: Any, values: Values, weight: tf.Tensor | None) -> None:
            self._update_metrics(values, weight)

        replicas.when(taken, update, undo, before, values, weight)
        return self.get_metrics_result()

    def _differentiated(
        self, examples: tuple[Any, Any, Any], seed: Seed, total: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, list[tf.Tensor]], Values]:
        """The share that examples have in the loss of `total` ones and in its gradients; values."""
        x, y, weight = examples
        with tf.GradientTape() as tape:
            values = self._values(x, y, True, seed)
            loss = values.means["loss"]
            if weight is not None:
                loss *= tf.cast(weight, loss.dtype)
            # Gradients are summed over replicas: of the examples' sum each has its own, of
            # regularisers, which are the same on all, an equal share. So are those of parts.
            loss = tf.reduce_sum(loss) / tf.cast(total, loss.dtype)
            if self.losses:
                shares = tf.distribute.get_strategy().num_replicas_in_sync * self.accumulate_steps
                loss += tf.add_n([tf.cast(value, loss.dtype) for value in self.losses]) / shares
            scaled = self.optimizer.scale_loss(loss)
        return (loss, tape.gradient(scaled, self.trainable_weights)), values

    def test_step(self, data):
        x, y, weight = self._unpack(data)
        seed = _at(replicas.place(x), as_seed(None))
        return self._update_metrics(self._values(x, y, False, seed), weight)

    def _unpack(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        x, y = self._inputs_and_targets(x, y)
        # Eager steps get arrays.
        x, y = (None if value is None else tf.convert_to_tensor(value) for value in (x, y))
        return x, y, None if weight is None else tf.reshape(weight, tf.shape(x)[:1])

    def _apply(
        self, gradients: Any, weights: Any, loss: tf.Tensor, batch: dict[str, Any]
    ) -> tf.Tensor:
        """Takes the step if the loss and the gradients are finite, and returns whether it did.

        Otherwise it raises, if that isn't left to the model's methods: see `shows_not_finite`.
        """
        loss, *gradients = replicas.summed([loss, *gradients])
        finite = [tf.math.is_finite(loss)]
        if not isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):  # it does so itself
            finite += [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
        all_finite = tf.reduce_all(finite)
        names = [weight.path for weight in weights][: len(finite) - 1]
        message = functools.partial(describe, loss, finite, names, batch)

        def apply(gradients: Any) -> None:
            self.optimizer.apply_gradients(zip(gradients, weights, strict=True))

        if self.shows_not_finite or self.skip_not_finite:

            def leave_out(_: Any) -> None:
                if not self.jit_compile:  # XLA prints nothing
                    tf.cond(replicas.is_first(), show, lambda: tf.constant(0))

            def show() -> tf.Tensor:
                tf.print(message(), output_stream=sys.stdout)
                return tf.constant(0)

            replicas.when(all_finite, apply, leave_out, gradients)
            return all_finite
        checked = tf.cond(all_finite, lambda: True, lambda: fail(message))
        with tf.control_dependencies([checked]):
            apply([tf.identity(gradient) for gradient in gradients])
        return all_finite

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


def _of_replica(spec: Any) -> Any:
    """The spec of the part of one replica; None of an absent one."""
    spec = spec._value_specs[0] if hasattr(spec, "_value_specs") else spec
    return spec if hasattr(spec, "shape") else None
