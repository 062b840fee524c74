"""`train_and_evaluate(config, workdir)`: a config in, a certified model and its report out."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.training import build, checkpoints, trained
from tf_iresnet.training.callbacks import Pace, ProgressBar, Recorder, write_metrics
from tf_iresnet.training.checkpoints import RunState
from tf_iresnet.training.finish import finish
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import RunError, Workdir, to_plain

SECTIONS = ("model", "data", "training")


def train_and_evaluate(config: Any, workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Trains a model by a config, or goes on with it, and writes it, its figures and its report.

    Called again after being killed at any moment, it goes on from the last complete epoch and
    ends with the same bits as if it hadn't been, on the same machine with the same versions,
    provided that `max_minutes` never came into play. A finished run is not run again.

    Args:
        config: `ConfigDict` or nested mapping with the sections `model` (see
            `build.model`), `data` (`name` and options of `tf_iresnet.data.load`) and
            `training` (`TrainingOptions`).
        workdir: directory of the run; new, empty, or that of the same config.

    Returns:
        The final figures, as in figures.json: see `evaluation.evaluate`.

    Raises:
        RunError: for what the user can put right: a wrong config, another run's workdir, ….
        tf_iresnet.data.TableError: for a bad table. In both cases nothing has been written.
    """
    config = resolve(config)
    run = Workdir(workdir)
    finished = run.finished(config)
    if finished is not None:
        return finished
    options = TrainingOptions(**config["training"])
    dataset = build.dataset(config)  # a bad table is found out before anything is written
    model = build.model(config, dataset)
    with run.claim(config), reproducible_sums():
        state = fit(model, dataset, options, run, build.labelled(config))
        model.optimizer, model.compiled = None, False  # whoever loads it compiles it as they like
        trained.save(model, run.model)
        return finish(model, dataset, config, state, run)


@contextlib.contextmanager
def reproducible_sums() -> Iterator[None]:
    """Has graphs traced here add up in the order they were written in, to the same bits each time.

    TensorFlow's arithmetic optimizer gathers additions into `AddN` operations, which begin with
    whichever operand's buffer is free for reuse: that is a matter of timing. With the truncated
    series unrolled, 39 of 40 repetitions of a training step differed in their last bits; without
    the optimizer none of 240 did, and a step took no longer.
    """
    name = "arithmetic_optimization"
    before = tf.config.optimizer.get_experimental_options().get(name, True)
    tf.config.optimizer.set_experimental_options({name: False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({name: before})


def resolve(config: Any) -> dict[str, Any]:
    """Returns a config as plain data with every training option written out.

    Raises:
        RunError: naming the section or field that is unknown or missing.
    """
    plain = to_plain(config)
    if not isinstance(plain, Mapping) or sorted(plain) != sorted(SECTIONS):
        found = sorted(plain) if isinstance(plain, Mapping) else type(plain).__name__
        raise RunError(
            f"Expected a config of the sections {', '.join(SECTIONS)}. Received: {found}."
        )
    training = TrainingOptions.from_config(plain["training"])
    return dict(plain, training=to_plain(dataclasses.asdict(training)))


def fit(
    model: InvertibleModel,
    dataset: data.Dataset,
    options: TrainingOptions,
    run: Workdir,
    labelled: bool = False,
) -> RunState:
    """Trains from the checkpoint in `run`, or from the start, until something ends it.

    The model is left with the best of its averaged weights.
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
    if not state.stopped:
        _go_on(model, dataset, options, run, state, labelled)
    for variable, value in zip(model.weights, state.best_weights, strict=True):
        variable.assign(value)
    model.store_norms()
    return state


def _go_on(
    model: InvertibleModel,
    dataset: data.Dataset,
    options: TrainingOptions,
    run: Workdir,
    state: RunState,
    labelled: bool,
) -> None:
    if state.epoch:
        print(f"Going on after epoch {state.epoch} of {options.epochs}.", flush=True)
    first_step = state.epoch * options.steps_per_epoch
    model.fit(
        build.batches(dataset, options, first_step, labelled),
        epochs=options.epochs,
        initial_epoch=state.epoch,
        steps_per_epoch=options.steps_per_epoch,
        validation_data=build.validation(dataset, options, labelled),
        callbacks=[
            Pace(state, options),
            keras.callbacks.TensorBoard(run.tensorboard, write_graph=False),
            Recorder(state, options, run),
            ProgressBar(state, options, _measures(model, dataset)),
        ],
        shuffle=False,  # the batches are shuffled already, as a function of seed and step
        verbose=0,
    )


def _measures(model: InvertibleModel, dataset: data.Dataset) -> tuple[str, ...]:
    """The metrics that the progress bar shows beside the loss."""
    bits = ("bits_per_dim",) if dataset.bits_per_dim else ()
    return tuple(name for name in (*bits, "accuracy") if name in model.metric_names)
