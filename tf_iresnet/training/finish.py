"""What comes after the last step: figures, certificate, pictures and the report of them."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.certify import Certificate, certify
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.training import evaluation, pictures, report, sampling
from tf_iresnet.training.checkpoints import RunState
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import Workdir, write_atomically


def finish(
    model: InvertibleModel,
    dataset: data.Dataset,
    config: Mapping[str, Any],
    state: RunState,
    run: Workdir,
) -> dict[str, Any]:
    """Evaluates a trained model and writes all about it; figures.json, the mark of the end, last.

    Args:
        model: with the weights to keep.
        dataset: whose test split is used here for the first time.
        config: resolved, of the run.
        state: of the run, ended.
        run: where everything goes.

    Returns:
        The figures: those of `evaluation.evaluate`, and how training went.
    """
    meta = sampling.describe(dataset) | {"digest": state.data}
    write_atomically(run.dataset, json.dumps(meta) + "\n")
    certificate = certify(model)
    options = TrainingOptions(**config["training"])
    figures = measure(model, dataset, certificate, options, state)
    batch_size = options.evaluation_batch_size
    made = pictures.of_run(model, dataset, certificate, state, batch_size)
    run.pictures.mkdir(exist_ok=True)
    for picture in made:
        write_atomically(run.pictures / f"{picture.name}.png", picture.png)
    write_tensorboard(run, figures, made, step=state.epoch)
    page = report.html(
        title=f"{dataset.name}: {_kind(config)}",
        summary=summary(figures, dataset, config, state),
        figures=figures,
        certificate=certificate,
        pictures=made,
        commands=commands(config, run, isinstance(model, ResidualFlow)),
        config=config,
    )
    write_atomically(run.report, page)
    write_atomically(run.figures, json.dumps(figures, indent=2) + "\n")
    return figures


def measure(
    model: InvertibleModel,
    dataset: data.Dataset,
    certificate: Certificate,
    options: TrainingOptions,
    state: RunState,
) -> dict[str, Any]:
    """Returns the figures of the model on the test split, and of its training."""
    figures = evaluation.evaluate(
        model,
        dataset.test,
        certificate,
        dataset.log_prob,
        options.evaluation_batch_size,
        options.evaluation_examples,
        sampling.describe(dataset)["deviation"],
        None if dataset.labels is None else dataset.labels.test,
    )
    return {
        "data": dataset.name,
        "split": "test",
        "levels": dataset.levels,
        **figures,
        "parameters": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        "best_epoch": state.best_epoch,
        "epochs": state.epoch,
        "validation": state.best,
        "stopped": state.stopped,
        "reproducible": not state.capped,
    }


def summary(
    figures: Mapping[str, Any], dataset: data.Dataset, config: Mapping[str, Any], state: RunState
) -> str:
    """Returns in two sentences what was trained on what, and how long."""
    model = config["model"]
    blocks = f"{model['num_blocks']} residual blocks" if "num_blocks" in model else "A network"
    promise = "" if figures["reproducible"] else (
        " The clock had a say in it (max_minutes), so another run won't end with the same bits."
    )  # fmt: skip
    return (
        f"{blocks} with {figures['parameters']:,} parameters in all, of events of "
        f"{dataset.event_size} dimensions. Trained for {state.epoch} epochs in "
        f"{state.elapsed / 60:.1f} minutes, until {state.stopped}.{promise}"
    )


_KINDS = {
    "density": "a residual flow",
    "classifier": "a residual network that tells classes",
    "hybrid": "a flow that tells classes",
}


def _kind(config: Mapping[str, Any]) -> str:
    return _KINDS[config["model"].get("task", "density")]


def commands(config: Mapping[str, Any], run: Workdir, density: bool) -> dict[str, str]:
    """Returns what one may do with a run → the command for it; samples are of densities only."""
    where = f"--workdir={shlex.quote(str(run.path))}"
    ending = "png" if config["data"].get("name") != "table" else "csv"
    draw = f"python scripts/sample.py {where} --num=1000 --output=samples.{ending}"
    return {
        "evaluate it": f"python scripts/evaluate.py {where}",
        **({"draw samples": draw} if density else {}),
        "certify its inverse": f"python scripts/certify.py {where}",
        "watch its curves": f"tensorboard --logdir={shlex.quote(str(run.tensorboard))}",
        "use it in Python": "import keras, tf_iresnet; "
        f"model = keras.models.load_model({str(run.model)!r})",
    }


def write_tensorboard(
    run: Workdir, figures: Mapping[str, Any], made: Sequence[report.Picture], step: int
) -> None:
    """Adds pictures and final figures to the curves that are in TensorBoard already."""
    writer = tf.summary.create_file_writer(str(run.tensorboard / "final"))
    with writer.as_default(step):
        for picture in made:
            tf.summary.image(picture.name, tf.image.decode_png(picture.png, channels=3)[None])
        for name, value in figures.items():
            if isinstance(value, float):
                tf.summary.scalar(f"final/{name}", value)
    writer.close()
