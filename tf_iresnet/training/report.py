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


def rows(figures: Mapping[str, Any]) -> list[Row]:
    """Returns the figures of `evaluation.evaluate` that are there, in reading order."""

    def pair(name: str, unit: str) -> str:
        return f"{figures[name]:.4f} ± {figures[f'{name}_standard_error']:.4f} {unit}"

    lines: dict[str, tuple[str, Any, str]] = {
        "negative_log_likelihood": (
            "negative log-likelihood",
            lambda: pair("negative_log_likelihood", "nats"),
            f"mean over {figures.get('examples')} {figures.get('split')} examples, ± standard error",
        ),
        "bits_per_dim": (
            "bits per dimension",
            lambda: pair("bits_per_dim", "bits/dim"),
            "the same in bits a dimension" + _levels_note(figures),
        ),
        "kl_divergence": (
            "KL(data‖model)",
            lambda: pair("kl_divergence", "nats"),
            "0 would be the data's own density",
        ),
        "truncation_bound": (
            "truncation bound",
            lambda: f"{figures['truncation_bound']:.2g} nats",
            "the log-density of an example is off by at most this for the series being cut short",
        ),
        "reconstruction_error": (
            "largest reconstruction error",
            lambda: f"{figures['reconstruction_error']:.2g}",
            "in the data's units, decode(encode(x)) against x, "
            f"{figures.get('reconstructed_examples')} examples",
        ),
        "sample_reconstruction_error": (
            "the same of samples",
            lambda: f"{figures['sample_reconstruction_error']:.2g}",
            "in latent units, encode(decode(z)) against z",
        ),
        "inverse_iterations": (
            "iterations of the inverse",
            lambda: f"{figures['inverse_iterations']}",
            "most in any block for any example"
            + ("" if figures.get("inverse_converged", True) else "; SOME DID NOT CONVERGE"),
        ),
        "lipschitz_bound": (
            "largest Lipschitz bound",
            lambda: f"{figures['lipschitz_bound']:.4f}",
            "of any block, certified from above: "
            + ("invertible" if figures.get("invertible") else "NOT certified invertible"),
        ),
        "best_epoch": (
            "weights",
            lambda: f"epoch {figures['best_epoch']} of {figures.get('epochs')}",
            f"the best validation; training ended because {figures.get('stopped')}",
        ),
    }
    return [Row(name, value(), note) for key, (name, value, note) in lines.items() if key in figures]


def _levels_note(figures: Mapping[str, Any]) -> str:
    levels = figures.get("levels")
    return f", of data with {levels} levels made continuous by uniform noise" if levels else ""


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
