"""What follows training: figures, certificate and pictures, as files and as report.html."""

import base64
import contextlib
import importlib.metadata
import json
import math
import pathlib
import platform
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import numpy as np
import tensorflow as tf
from scipy import stats
from tabulate import tabulate

from tf_iresnet import data
from tf_iresnet.certify import certify
from tf_iresnet.layers.gaussianize import Gaussianize
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.training import evaluation, sampling, table_fit
from tf_iresnet.training.attempts import Attempts
from tf_iresnet.training.checkpoints import RunState
from tf_iresnet.training.events import writing_events
from tf_iresnet.training.files import writing
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.pictures import Picture, run_pictures, table_pictures
from tf_iresnet.training.workdir import Config, Workdir, write_atomically

# "name: value" and how to read it, in reading order. {fields} are figures, {error[x]} is the
# standard error of x.
_ROWS = """\
negative log-likelihood: {negative_log_likelihood:.4f} ± {error[negative_log_likelihood]:.4f} nats
    mean over {examples} {split} examples, ± its standard error
better than a Gaussian by: {gaussian_difference:.4f} ± {error[gaussian_difference]:.4f} nats
    log-density per example beside a full-covariance normal fitted to the training rows; < 0: worse
better than a mixture by: {mixture_difference:.4f} ± {error[mixture_difference]:.4f} nats
    the same beside {mixture_components} normals, their number chosen by BIC
bits per dimension: {bits_per_dim:.4f} ± {error[bits_per_dim]:.4f} bits/dim
    the same per dimension; of data of {levels} levels with uniform noise
KL(data‖model): {kl_divergence:.4f} ± {error[kl_divergence]:.4f} nats
    0 for the data's own density
noise of the log-det: ± {error[estimator]:.2g} nats
    part of the mean's standard error, due to random probes; 0 if the log-det is exact
truncation bound: {truncation_bound:.2g} nats
    proven bound on the change of a log-density by truncating the log-det's series
accuracy: {accuracy:.2%} ± {error[accuracy]:.2%}
    share of {examples} {split} examples whose most probable class is right
cross-entropy: {cross_entropy:.4f} ± {error[cross_entropy]:.4f} nats
    mean -ln p(class | x)
coverage of 50 % intervals: {coverage_50:.1%} ± {error[coverage_50]:.1%}
    of {predicted_examples} observations, by samples given their conditions; 50 % if that is right
coverage of 90 % intervals: {coverage_90:.1%} ± {error[coverage_90]:.1%}
    the same; the picture of calibration shows each column
reconstruction error: {reconstruction_error:.2g}
    largest |decode(encode(x)) - x| in {reconstructed_examples} examples, in {error_unit}
not reconstructed: {reconstruction_failures}
    of {reconstructed_examples} examples, as no inverse was found for them
samples encoded again: {sample_reconstruction_error:.2g}
    largest |encode(decode(z)) - z| in as many samples
iterations of the inverse: {inverse_iterations}
    the most that a block took for an example
Lipschitz bound: {lipschitz_bound:.4f}
    the largest of a block, certified from above; invertible below 1
base: {base}
    distribution of the latents
weights: epoch {best_epoch} of {epochs}{as_it_began}
    the best validation; training ended because {stopped}
"""

# Figures that are None of a model whose log-densities, samples or inverses aren't finite.
_OF_THE_MODEL = (
    "negative_log_likelihood",
    "cross_entropy",
    "reconstruction_error",
    "sample_reconstruction_error",
)


def rows(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Returns name, value with its unit and explanation of the `_ROWS` whose figures are known."""
    known = {key: value for key, value in figures.items() if value is not None}
    if known.get("reconstruction_failures") == 0:
        del known["reconstruction_failures"]  # not worth a row
    known["as_it_began"] = ", as it began" if known.get("best_epoch") == 0 else ""
    ending = "_standard_error"
    known["error"] = {k.removesuffix(ending): v for k, v in known.items() if k.endswith(ending)}
    found, lines = [], _ROWS.splitlines()
    for head, note in zip(lines[::2], lines[1::2], strict=True):
        name, _, value = head.partition(": ")
        with contextlib.suppress(KeyError):
            found.append((name, value.format(**known), note.strip().format(**known)))
    return found


def text(figures: Mapping[str, Any]) -> str:
    """Returns the figures as aligned lines for a console, and the warnings below them."""
    align = ("left", "right", "left")
    table = tabulate(rows(figures), tablefmt="plain", colalign=align, disable_numparse=True)
    return "\n".join([table, *(f"Warning: {text}" for text in figures.get("warnings", ()))])


def write_report(
    model: InvertibleModel, dataset: data.Dataset, config: Config, state: RunState, run: Workdir
) -> dict[str, Any]:
    """Evaluates a trained model, writes its figures, pictures and report; returns the figures.

    They are those of `evaluation.evaluate_split`, and how training went. The test split is used
    here for the first time. What can't be made is named in `warnings`, and the rest completed.
    """
    meta = sampling.describe_data(dataset)
    write_atomically(run.dataset, json.dumps(meta | {"digest": state.data}) + "\n")
    certificate, attempts = certify(model), Attempts(_notes(state))
    options = TrainingOptions(**config["training"])
    batch_size, examples = options.evaluation_batch_size, options.evaluation_examples
    sizes: dict[str, Any] = {"batch_size": batch_size, "examples": examples}
    compared = table_fit.is_table(model, dataset) and dataset.conditions is None
    if compared:
        bound = evaluation.largest_bound(certificate)
        sizes["density"] = evaluation.log_prob_with_error(model, dataset.test, batch_size, bound)
    figures = {
        **evaluation.evaluate_split(model, dataset, "test", certificate, **sizes),
        "parameters": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        "best_epoch": state.best_epoch,
        "epochs": state.epoch,
        "validation": state.best,
        "stopped": state.stopped,
        "reproducible": not state.capped,
    }
    attempts.warnings += figures.pop("warnings", [])
    attempts.model_is_finite = all(figures.get(name, 0.0) is not None for name in _OF_THE_MODEL)
    pictures, table = [], None
    if table_fit.is_table(model, dataset):
        if compared:
            with attempts("the comparison with a Gaussian and a mixture"):
                log_q = sizes["density"].value.astype(np.float64)
                figures |= table_fit.baselines(dataset, log_q, options.seed)
        with attempts("the fit of each column"):
            beside = table_fit.draw_beside(model, dataset)
            table = table_section(model, dataset, beside)
            worst = [fit.column for fit in table.fits]
            pictures = table_pictures(model, dataset, beside, worst, batch_size)
    pictures += run_pictures(model, dataset, certificate, state, batch_size, attempts)
    figures = attempts.finite(figures)
    with writing(run.pictures):
        run.pictures.mkdir(exist_ok=True)
    for picture in pictures:
        write_atomically(run.pictures / f"{picture.name}.png", picture.png)
    _write_tensorboard(run, figures, pictures, step=state.epoch)
    shown = {"pictures": pictures, "certificate": certificate, "config": config, "run": run}
    shown |= {"dataset": dataset, "table": table, "minutes": state.elapsed / 60}
    write_atomically(run.report, html(figures, **shown))
    write_atomically(run.figures, json.dumps(figures, indent=2, allow_nan=False) + "\n")
    return figures


def _notes(state: RunState) -> list[str]:
    """What is to be known of a training that didn't go as it should."""
    notes = list(state.notes)
    if state.skipped:
        notes.append(f"{state.skipped} steps were skipped: their loss or gradients weren't finite.")
    if not math.isfinite(state.best):
        notes.append("No validation loss was finite, so the last weights were kept.")
    return notes


class TableSection(NamedTuple):
    """What a report says of a table's columns.

    Args:
        fits: of the columns, the worst first.
        forms, maps: of each column, what it holds and how it is mapped to the network.
        correlations: of the pairs of columns whose correlations differ most.
        by_chance: distance of a column that 5 % of samples of the right density exceed.
        what: rows the samples are compared with, and how many.
    """

    fits: list[table_fit.ColumnFit]
    forms: list[str]
    maps: list[str]
    correlations: list[table_fit.CorrelationFit]
    by_chance: float
    what: str


def table_section(
    model: InvertibleModel, dataset: data.Dataset, beside: table_fit.Beside
) -> TableSection:
    """Returns what a report says of a table, `beside` samples of its flow."""
    maps = [
        marginal.describe()
        for layer in model._flatten_layers()
        if isinstance(layer, Gaussianize)
        for marginal in layer.marginals
    ]
    return TableSection(
        table_fit.column_fits(beside),
        [form.describe() for form in dataset.forms] or [""] * dataset.event_size,
        maps if len(maps) == dataset.event_size else ["standardised"] * dataset.event_size,
        table_fit.correlation_fits(beside),
        table_fit.distance_by_chance(beside),
        f"{len(beside.rows)} {beside.what}",
    )


def verdict(figures: Mapping[str, Any]) -> str | None:
    """Says in a sentence whether a flow is better than simpler densities; None if not compared.

    A difference is clear if the 95 % interval of Student's distribution doesn't contain 0.
    """
    names = {"gaussian": "a Gaussian", "mixture": "a mixture of Gaussians"}
    told = []
    for name, words in names.items():
        difference = figures.get(f"{name}_difference")
        error = figures.get(f"{name}_difference_standard_error")
        if difference is not None and error is not None:
            clear = abs(difference) > error * stats.t.isf(0.025, figures["examples"] - 1)
            rank = ("better" if difference > 0 else "worse") if clear else "not clearly different"
            told.append(f"{rank} {'than' if clear else 'from'} {words}")
    if not told:
        return None
    return f"On rows that it wasn't trained on, this flow is {' and '.join(told)}."


def commands(config: Config, workdir: Any) -> list[tuple[str, str]]:
    """Returns what can be done with a finished run, each a purpose and a command to type."""
    where = f"--workdir={shlex.quote(str(workdir))}"
    ending = "csv" if config["data"]["name"] == "table" else "png"
    found = [("evaluate it", f"python scripts/evaluate.py {where}")]
    if config["model"].get("task", "density") != "classifier":
        given = config["data"].get("target") or config["data"].get("condition")
        output = "--given=rows.csv --num=100" if given else "--num=1000"
        output += f" --output=samples.{ending}"
        found.append(("draw samples", f"python scripts/sample.py {where} {output}"))
    found.append(("certify its inverse", f"python scripts/certify.py {where}"))
    return found


def _write_tensorboard(
    run: Workdir, figures: Mapping[str, Any], pictures: Sequence[Picture], step: int
) -> None:
    with writing_events(run.tensorboard):
        writer = tf.summary.create_file_writer(str(run.tensorboard / "final"))
        with writer.as_default(step):
            for picture in pictures:
                tf.summary.image(picture.name, tf.image.decode_png(picture.png, channels=3)[None])
            for name, value in figures.items():
                if isinstance(value, float):
                    tf.summary.scalar(f"final/{name}", value)
        writer.close()


def versions() -> dict[str, str]:
    """Returns the versions that a figure depends on."""
    names = ("tf_iresnet", "tensorflow", "keras", "numpy")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), **found, "machine": platform.platform()}


def html(figures: Mapping[str, Any], **parts: Any) -> str:
    """Returns report.html: one file that contains its pictures and loads nothing from elsewhere.

    The `parts` are `pictures` (each a `Picture`), `certificate`, `config`, `run` (a `Workdir`),
    `dataset`, `minutes` of training and `table`, the `TableSection` of a table or None.
    """
    source = pathlib.Path(__file__).with_name("report.html.jinja").read_text()
    strict = jinja2.StrictUndefined
    environment = jinja2.Environment(autoescape=True, undefined=strict, trim_blocks=True)
    environment.filters["base64"] = lambda png: base64.b64encode(png).decode()
    environment.filters["shell"] = lambda path: shlex.quote(str(path))
    environment.filters["python"] = lambda path: repr(str(path))
    environment.filters["json"] = lambda value: json.dumps(value, indent=2)
    known: dict[str, Any] = {"figures": figures, "rows": rows(figures), "versions": versions()}
    known |= {"verdict": verdict(figures), "commands": commands(parts["config"], parts["run"].path)}
    return environment.from_string(source).render(known, **parts)
