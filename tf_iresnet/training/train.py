"""`train_and_evaluate(config, workdir)`: from a config to a certified model and its report."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.training import build, checkpoints
from tf_iresnet.training.by_rows import fill_in
from tf_iresnet.training.callbacks import ProgressBar, Recorder, Schedule, write_metrics
from tf_iresnet.training.checkpoints import RunState
from tf_iresnet.training.fields import check_names
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.report import write_report
from tf_iresnet.training.saved_run import save_model
from tf_iresnet.training.scores import write_reference
from tf_iresnet.training.workdir import RunError, Workdir, to_plain


def train_and_evaluate(config: Any, workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Trains the model of a config, or resumes its training; writes model, figures and report.

    Called again after a kill at any moment, it resumes after the last complete epoch. On the same
    machine with the same versions it ends with the same bits as an uninterrupted run, unless the
    time limit `max_minutes` affected it. A finished run is not run again.

    Args:
        config: `ConfigDict` or nested mapping with the sections `model` (`build.make_model`),
            `data` (`build.make_dataset`) and `training` (`TrainingOptions`).
        workdir: directory of the run; new, empty, or that of the same config.

    Returns:
        The figures in figures.json: those of `evaluation.evaluate`, and how training went.

    Raises:
        RunError: for what the user can correct, such as a wrong config or another run's workdir.
        tf_iresnet.data.DataError: for bad data. In both cases nothing has been written.
    """
    config, run = resolve(config), Workdir(workdir)
    if (figures := run.finished(config)) is not None:
        return figures
    dataset = build.make_dataset(config)  # a bad table is found out before anything is written
    if described := dataset.describe():
        print(*described, sep="\n", flush=True)
    filled = fill_in(config, dataset)
    options = TrainingOptions(**filled["training"])
    model = build.make_model(filled, dataset)
    with run.claim(config), reproducible_sums():
        state = fit(model, dataset, options, run)
        model.optimizer, model.compiled = None, False  # whoever loads it compiles it as they like
        save_model(model, run.model)
        if dataset.forms:
            write_reference(run.reference, model, dataset, options.evaluation_batch_size)
        return write_report(model, dataset, filled, state, run)


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

    The model is left with the best of its averaged weights. A classifier learns from the labels,
    a conditional density from the conditions.
    Raises RunError for an unusable checkpoint, changed data, or a loss that is never finite.
    """
    state = checkpoints.load(run.checkpoint, model)
    digest = build.fingerprint(dataset, options)
    if state.data not in ("", digest):
        raise RunError(
            f"Expected the data that {run.path} was started with. Received: other values under the "
            "same name. Restore the file, or choose another --workdir."
        )
    state.data = digest
    write_metrics(run, state)  # a kill may have come between the checkpoint and its table
    if state.epoch and not state.stopped:
        print(f"Going on after epoch {state.epoch} of {options.epochs}.", flush=True)
    if not state.stopped:
        labelled = hasattr(model, "class_log_prob") or dataset.conditions is not None
        shown = ("bits_per_dim", "accuracy") if dataset.bits_per_dim else ("accuracy",)
        bar = ProgressBar(state, options, [m for m in shown if m in model.metric_names])
        first_step = state.epoch * options.epoch_steps
        with bar.display, build.naming_unreadable_files(dataset):
            model.fit(
                build.make_batches(dataset, options, first_step, labelled),
                epochs=options.epochs,
                initial_epoch=state.epoch,
                steps_per_epoch=options.epoch_steps,
                validation_data=build.make_validation_batches(dataset, options, labelled),
                callbacks=[
                    Schedule(state, options),
                    keras.callbacks.TensorBoard(run.tensorboard, write_graph=False),
                    Recorder(state, options, run),
                    bar,
                ],
                shuffle=False,  # the batches are shuffled already, as a function of seed and step
                verbose=0,
            )
    for variable, value in zip(model.weights, state.best_weights, strict=True):
        variable.assign(value)
    model.store_norms()
    return state
