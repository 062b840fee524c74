"""The figures of a run as lines a reader understands, on the console and in report.html."""

import base64
import importlib.metadata
import json
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jinja2

TEMPLATE = "report.html.jinja"


class Row(NamedTuple):
    """One figure: what it is, its value with its unit, and how to read it."""

    name: str
    value: str
    note: str


class Picture(NamedTuple):
    """A PNG file's bytes and what is seen in it."""

    name: str
    caption: str
    png: bytes


_ABOVE_0 = ("reconstruction_failures",)  # not worth a line otherwise
# Keys of the figures, the name, the value with its unit, and how to read it; {fields} are figures.
_ROWS = (
    (
        "negative_log_likelihood",
        "negative log-likelihood",
        "{negative_log_likelihood:.4f} ± {negative_log_likelihood_standard_error:.4f} nats",
        "mean over {examples} {split} examples, ± its standard error",
    ),
    (
        "levels bits_per_dim",
        "bits per dimension",
        "{bits_per_dim:.4f} ± {bits_per_dim_standard_error:.4f} bits/dim",
        "the same a dimension; of data of {levels} levels with uniform noise",
    ),
    (
        "kl_divergence",
        "KL(data‖model)",
        "{kl_divergence:.4f} ± {kl_divergence_standard_error:.4f} nats",
        "0 for the data's own density",
    ),
    (
        "estimator_standard_error",
        "noise of the log-det",
        "± {estimator_standard_error:.2g} nats",
        "part of the mean's standard error: what its random probes leave; 0 if it is exact",
    ),
    (
        "truncation_bound",
        "truncation bound",
        "{truncation_bound:.2g} nats",
        "cutting the log-det's series short changes a log-density by no more, proven",
    ),
    (
        "accuracy",
        "accuracy",
        "{accuracy:.2%} ± {accuracy_standard_error:.2%}",
        "of {examples} {split} examples, the class that the model finds likeliest is right",
    ),
    (
        "cross_entropy",
        "cross-entropy",
        "{cross_entropy:.4f} ± {cross_entropy_standard_error:.4f} nats",
        "mean -ln p(class | x)",
    ),
    (
        "reconstruction_error",
        "reconstruction error",
        "{reconstruction_error:.2g}",
        "largest |decode(encode(x)) - x| in {reconstructed_examples} examples, in {error_unit}",
    ),
    (
        "reconstruction_failures",
        "not reconstructed",
        "{reconstruction_failures}",
        "of {reconstructed_examples} examples, as no inverse was found for them",
    ),
    (
        "sample_reconstruction_error",
        "samples encoded again",
        "{sample_reconstruction_error:.2g}",
        "largest |encode(decode(z)) - z| in as many samples",
    ),
    (
        "inverse_iterations",
        "iterations of the inverse",
        "{inverse_iterations}",
        "the most that a block took for an example",
    ),
    (
        "lipschitz_bound",
        "Lipschitz bound",
        "{lipschitz_bound:.4f}",
        "the largest of a block, certified from above; invertible below 1",
    ),
    (
        "best_epoch",
        "weights",
        "epoch {best_epoch} of {epochs}",
        "the best validation; training ended because {stopped}",
    ),
)


def rows(figures: Mapping[str, Any]) -> list[Row]:
    """Returns those figures of `evaluation.evaluate` that are there, in reading order."""
    return [
        Row(name, value.format(**figures), note.format(**figures))
        for keys, name, value, note in _ROWS
        if all(figures.get(key) is not None for key in keys.split())
        and (keys not in _ABOVE_0 or figures[keys])
    ]


def text(figures: Mapping[str, Any]) -> str:
    """Returns the figures as aligned lines for a console."""
    table = rows(figures)
    wide = [max(len(row[i]) for row in table) for i in (0, 1)]
    return "\n".join(f"{r.name:<{wide[0]}}  {r.value:>{wide[1]}}  {r.note}" for r in table)


def versions() -> dict[str, str]:
    """Returns the versions that a figure depends on."""
    names = ("tf_iresnet", "tensorflow", "keras", "numpy")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), **found, "machine": platform.platform()}


def html(
    title: str,
    summary: str,
    figures: Mapping[str, Any],
    certificate: Any,
    pictures: Sequence[Picture],
    commands: Mapping[str, str],
    config: Mapping[str, Any],
) -> str:
    """Returns report.html: one file, with its pictures inside and nothing loaded from elsewhere.

    Args:
        title, summary: what was trained on what.
        figures: final figures.
        certificate: of the model; its `str` is a table.
        pictures: in the order they are shown.
        commands: what one may want to do next → the command.
        config: of the run.
    """
    source = pathlib.Path(__file__).with_name(TEMPLATE).read_text()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.from_string(source).render(
        title=title,
        summary=summary,
        figures=rows(figures),
        invertible=figures["invertible"],
        certificate=str(certificate),
        pictures=[
            {"caption": p.caption, "base64": base64.b64encode(p.png).decode()} for p in pictures
        ],
        commands=commands,
        config=json.dumps(config, indent=2),
        versions=versions(),
    )
