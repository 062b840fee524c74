"""Training from any step on."""

from collections.abc import Iterable, Sequence

import keras

from tf_iresnet.models.step_checks import expect_finite, in_plain_words
from tf_iresnet.training.checkpoints import RunState
from tf_iresnet.training.events import Seconds
from tf_iresnet.training.options import TrainingOptions


def train_epochs(
    model: keras.Model,
    batches: Iterable,
    validation: Iterable,
    state: RunState,
    options: TrainingOptions,
    callbacks: Sequence[keras.callbacks.Callback],
    validation_steps: int | None = None,
    seconds: Seconds | None = None,
) -> None:
    """Does what `model.fit` does, but begins at `state.step`, in the middle of an epoch or not.

    There the running means go on from what they are, as do the model and its optimizer; `batches`
    begin with that step. These and `validation` are data sets of TensorFlow, distributed ones for a
    model of several replicas; of the latter Keras wants to know the `validation_steps`.
    `on_epoch_end` of a callback has to count `state.epoch`. What the time goes to is added to
    `seconds`.
    Raises FloatingPointError, with the step and what is known of it, for one that isn't finite.
    """
    seconds = seconds or Seconds()
    listeners = keras.callbacks.CallbackList(
        callbacks, model=model, epochs=options.epochs, steps=options.epoch_steps
    )
    model.stop_training, iterator = False, iter(batches)
    model.make_train_function()
    listeners.on_train_begin()
    for epoch in range(state.epoch, options.epochs):
        first = state.step - epoch * options.epoch_steps
        if first == 0:
            model.reset_metrics()
        listeners.on_epoch_begin(epoch)
        for batch in range(first, options.epoch_steps):
            with seconds.spent_on("data"):
                examples = next(iterator)
            listeners.on_train_batch_begin(batch)
            with seconds.spent_on("step"), in_plain_words():
                logs = model.train_function([examples])
            if getattr(model, "shows_not_finite", False):
                expect_finite(logs["loss"], f"step {state.step}")
            state.step += 1
            listeners.on_train_batch_end(batch, logs)
            if model.stop_training:
                break
        with seconds.spent_on("step"):  # what a device has still to do
            logs = {name: float(value) for name, value in model.get_metrics_result().items()}
        quietly = {"callbacks": listeners, "return_dict": True, "verbose": 0}
        with seconds.spent_on("validation"):
            held_out = model.evaluate(validation, steps=validation_steps, **quietly)
        logs |= {f"val_{name}": value for name, value in held_out.items()}
        listeners.on_epoch_end(epoch, logs)
        seconds.write(epoch)
        if model.stop_training:
            break
    listeners.on_train_end()
