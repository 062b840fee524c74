"""`train_and_evaluate(config, workdir)`: from a config to a certified model and its report."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.training import build, replica_batches, strategies
from tf_iresnet.training.by_rows import fill_in
from tf_iresnet.training.callbacks import (
    LOWER_RATE,
    ProgressBar,
    Recorder,
    Schedule,
    write_metrics,
)
from tf_iresnet.training.checkpoints import Checkpoints, RunState, restore_config
from tf_iresnet.training.events import EpochEvents, Seconds, writing_events
from tf_iresnet.training.fields import check_names
from tf_iresnet.training.interruption import Signals
from tf_iresnet.training.loop import train_epochs
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.report import write_report
from tf_iresnet.training.saved_run import save_model
from tf_iresnet.training.scores import write_reference
from tf_iresnet.training.workdir import RunError, Workdir, to_plain

ROLLBACKS = 10  # at most, of `on_nan="rollback"`


def train_and_evaluate(
    config: Any,
    workdir: str | os.PathLike[str],
    strategy: str | tf.distribute.Strategy = "one",
) -> dict[str, Any]:
    """Trains the model of a config, or resumes its training; writes model, figures and report.

    Called again after a kill at any moment, it resumes after the last checkpoint. On the same
    machine with the same versions it ends with the same bits as an uninterrupted run, unless the
    time limit `max_minutes` affected it. A finished run is not run again; what is damaged of it, or
    gone, is made again from the checkpoint. docs/faults.md lists what else may happen.

    Args:
        config: `ConfigDict` or nested mapping with the sections `model` (`build.make_model`),
            `data` (`build.make_dataset`) and `training` (`TrainingOptions`).
        workdir: directory of the run; new, empty, or that of the same config. Of several workers
            the first one writes there, and all read.
        strategy: the devices, by a name in `strategies.NAMES` or made already. A run may go on with
            others than it began with: batches, noise and means are the same, but for rounding.

    Returns:
        The figures in figures.json: those of `evaluation.evaluate`, and how training went.

    Raises:
        RunError: for what the user can correct, such as a wrong config, another run's workdir or a
            full disk.
        tf_iresnet.data.DataError: for bad data, before anything is written.
        Interrupted: after SIGINT, SIGTERM or SIGHUP, to any of the workers, and a checkpoint.
        WorkerLost: for another worker that has ended.
    """
    config = resolve(config)
    if isinstance(strategy, str):
        strategy = strategies.make_strategy(strategy)
    run = Workdir(workdir, writes=strategies.is_chief(strategy))
    with strategies.one_of_many(strategy):
        return _train_and_evaluate(config, run, strategy)


def _train_and_evaluate(
    config: dict[str, Any], run: Workdir, strategy: tf.distribute.Strategy
) -> dict[str, Any]:
    strategies.expect_same_config(strategy, config)
    strategies.check_strategy(strategy, TrainingOptions(**config["training"]))
    with strategies.failing_together(strategy):
        if run.writes:
            restore_config(run)
        figures = run.finished(config) if run.writes else None
    (finished,) = strategies.largest(strategy, figures is not None)
    if finished:
        return figures or run.read_figures()
    with strategies.failing_together(strategy):
        # What is None is filled in below; a large table isn't read for a misspelt field.
        build.check_model({k: v for k, v in config["model"].items() if v is not None})
        dataset = build.make_dataset(config)  # a bad table is found out before anything is written
    if described := dataset.describe():
        print(*described, sep="\n", flush=True)
    filled = fill_in(config, dataset)
    options = TrainingOptions(**filled["training"])
    strategies.expect_same_data(strategy, dataset, options)
    with strategy.scope():
        model = build.make_model(filled, dataset)
    with contextlib.ExitStack() as stack:
        with strategies.failing_together(strategy):
            stack.enter_context(run.claim(config))
        stack.enter_context(reproducible_sums())
        state = fit(model, dataset, options, run)
        model.optimizer, model.compiled = None, False  # whoever loads it compiles it as they like
        if run.writes:
            save_model(model, run.model)
            if strategy is not tf.distribute.get_strategy():  # what follows is for one device
                model = keras.models.load_model(run.model)
            if dataset.forms:
                write_reference(run.reference, model, dataset, options.evaluation_batch_size)
            figures = write_report(model, dataset, filled, state, run)
            run.seal()
        strategies.largest(strategy)  # the others wait for that
        return figures or run.read_figures()


@contextlib.contextmanager
def reproducible_sums() -> Iterator[None]:
    """Makes the sums of graphs that are traced here bit-reproducible, at no cost.

    TensorFlow's arithmetic optimizer gathers additions into `AddN` operations, which begin with
    whichever operand's buffer is free: a matter of timing. With the truncated series unrolled, 39
    of 40 repetitions of a training step differed; without the optimizer none of 240.
    """
    name = "arithmetic_optimization"
    before = tf.config.optimizer.get_experimental_options().get(name, True)
    tf.config.optimizer.set_experimental_options({name: False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({name: before})


def resolve(config: Any) -> dict[str, Any]:
    """Returns a config as plain data with every training option. RunError names what is wrong."""
    plain = to_plain(config)
    sections = ("model", "data", "training")
    found = plain if isinstance(plain, Mapping) else {}
    check_names("config", list(found), sections)
    for name in sections:
        if not isinstance(found.get(name), Mapping):
            expected = f"Expected a config of the sections {', '.join(sections)}, each of fields."
            received = f"{name}={found[name]!r}" if name in found else f"no section {name}"
            raise RunError(f"{expected} Received: {received}.")
    training = TrainingOptions.from_config(plain["training"])
    return dict(plain, training=to_plain(dataclasses.asdict(training)))


def fit(
    model: InvertibleModel, dataset: data.Dataset, options: TrainingOptions, run: Workdir
) -> RunState:
    """Trains a compiled model from the checkpoint in `run`, or from the start, until it ends.

    The model is left with the best of its averaged weights, by validation, or the last ones if no
    validation was finite. A classifier learns from the labels, a conditional density from the
    conditions.
    Raises RunError for an unusable checkpoint, changed data, or a loss that is never finite;
    Interrupted after SIGINT, SIGTERM or SIGHUP and a checkpoint.
    """
    checkpoints = Checkpoints(run)
    lost = not any(path.exists() for path in run.checkpoints)
    lost &= any(path.exists() for path in (run.metrics, run.tensorboard, run.manifest))
    state = _load(checkpoints, model)
    digest = build.fingerprint(dataset, options)
    if state.data not in ("", digest):
        raise RunError(
            f"Expected the data that {run.path} was started with. Received: other values under the "
            "same name. Restore the file, or choose another --workdir."
        )
    state.data, state.config = digest, run.read_config()
    write_metrics(run, state)  # a kill may have come between the table and its checkpoint
    if state.step and not state.stopped:
        epoch = f"epoch {state.epoch + 1} of {options.epochs}"
        print(f"Going on after step {state.step} of {options.total_steps}, in {epoch}.", flush=True)
    if lost:
        print("There is no checkpoint any more: training from the start.", flush=True)
    if not state.step and options.keep_start and not state.best_weights:
        _validate_start(model, dataset, options, state)
    if not state.step:  # a full disk is found out before hours of training
        checkpoints.save(model, state)
    with Signals() as signals:
        while not state.stopped:
            try:
                _train(model, dataset, options, state, checkpoints, signals)
            except FloatingPointError as error:
                state = _after_explosion(model, options, state, checkpoints, str(error))
    for variable, value in zip(model.weights, state.best_weights, strict=True):
        variable.assign(value)
    model.store_norms()
    return state


def _load(checkpoints: Checkpoints, model: InvertibleModel, older: bool = False) -> RunState:
    """Restores a checkpoint in all workers, which wait for each other here."""
    strategy = model.distribute_strategy
    with strategies.failing_together(strategy):
        state = checkpoints.load(model, older)
    strategies.expect_same(strategy, state.step, checkpoints.run.path)
    return state


def _has_targets(model: InvertibleModel, dataset: data.Dataset) -> bool:
    """Whether the model learns from the labels or conditions of the data."""
    return hasattr(model, "class_log_prob") or dataset.conditions is not None


def _validate_start(
    model: InvertibleModel, dataset: data.Dataset, options: TrainingOptions, state: RunState
) -> None:
    """Takes the untrained model for the best one, as "epoch 0", if its validation is finite."""
    strategy, labelled = model.distribute_strategy, _has_targets(model, dataset)
    validation = replica_batches.distribute_validation(strategy, dataset, options, labelled)
    steps = replica_batches.validation_steps(dataset, options)
    loss = model.evaluate(validation, steps=steps, verbose=0, return_dict=True)["loss"]
    if math.isfinite(loss):
        state.best, state.best_weights = float(loss), [np.asarray(w) for w in model.weights]


def _train(
    model: InvertibleModel,
    dataset: data.Dataset,
    options: TrainingOptions,
    state: RunState,
    checkpoints: Checkpoints,
    signals: Signals,
) -> None:
    """Trains from `state` until `state.stopped`."""
    labelled = _has_targets(model, dataset)
    shown = ("bits_per_dim", "accuracy") if dataset.bits_per_dim else ("accuracy",)
    bar = ProgressBar(state, options, [m for m in shown if m in model.metric_names])
    model.skip_not_finite = options.on_nan == "skip"
    model.accumulate_steps = options.accumulate_steps
    run, strategy = checkpoints.run, model.distribute_strategy
    seconds = Seconds(run.tensorboard / "seconds" if run.writes else None)
    events = writing_events(run.tensorboard)
    with bar.display, events, build.naming_unreadable_files(dataset):
        train_epochs(
            model,
            replica_batches.distribute_batches(strategy, dataset, options, state.step, labelled),
            replica_batches.distribute_validation(strategy, dataset, options, labelled),
            state,
            options,
            callbacks=[
                Schedule(state, options),
                *([EpochEvents(run.tensorboard)] if run.writes else []),
                Recorder(state, options, checkpoints, signals, seconds),
                bar,
            ],
            validation_steps=replica_batches.validation_steps(dataset, options),
            seconds=seconds,
        )


def _after_explosion(
    model: InvertibleModel,
    options: TrainingOptions,
    lost: RunState,
    checkpoints: Checkpoints,
    text: str,
) -> RunState:
    """Returns to the last checkpoint, to train on with a lower rate or not at all.

    To the one before if training from the last one would fail again: at once, where its weights and
    the next batch are those that have just failed; or because a rollback got no further than the
    failure before it. Raises RunError if nothing has been trained that could be kept.
    """
    state, older = _load(checkpoints, model), False
    again = options.on_nan == "rollback" and lost.rate_factor > 0.5**ROLLBACKS
    if again and lost.step <= max(state.step, state.failed_step):
        state, older = _load(checkpoints, model, older=True), True
    state.elapsed, state.capped = lost.elapsed, lost.capped
    state.notes, state.rate_factor = [*lost.notes], lost.rate_factor
    if again:
        state.rate_factor, state.failed_step = state.rate_factor / 2, lost.step
        text += f" Going on after step {state.step}, with {state.rate_factor:g} of the rate."
    elif state.best_weights:
        state.stopped = f"the loss or its gradients weren't finite after step {lost.step}"
    else:
        raise RunError(f"{text} Nothing was validated before. {LOWER_RATE}")
    state.notes.append(text)
    print(text, flush=True)
    write_metrics(checkpoints.run, state)
    checkpoints.save(model, state, keep_older=not older)
    return state
