"""Densities of MNIST's images, 28×28×1, at equal CPU seconds on one core: variants and peers.

All see the same training images, dequantised anew in every batch, and are judged on the same
dequantised validation images. Everything within the fit counts as time, the tracing of graphs and
the validations included; imports and reading don't. Test images are left for the run that is
chosen: configs/resflow.py:mnist-small.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from comparisons import pinned, table
from comparisons.configs import load_config
from tf_iresnet import data
from tf_iresnet.training import build, evaluation
from tf_iresnet.training.train import resolve
from tf_iresnet.training.workdir import RunError

OURS = "ours"  # configs/resflow.py:mnist-small as it is, but for the time
MINUTES = 10.0
EPOCHS = 10_000  # more than there is time for: the learning rate follows the clock
EPOCH_STEPS = 400  # between two validations
SIZE = 28 * 28
VALIDATION = 1000  # images, so that validations take little of the time


def _estimated_by(name: str, **arguments: Any) -> dict[str, Any]:
    """The field that makes another estimator of log-determinants train; figures keep theirs."""
    return {"model.log_det": {"name": "auto", "training": {"name": name, **arguments}}}


# Variants of ours → fields of the config that they change.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "centered": {"model.preprocessing": "centered"},
    "alpha-.05": {"model.preprocessing": {"name": "logit", "alpha": 0.05}},
    "factor-out": {"model.factor_out": True},
    "no-act-norm": {"model.act_norm": False},
    "dense": {"model.growth": 16, "model.depth": 2, "model.activation": "clipswish"}
    | {"model.tail_growth": 16},
    "monotone": {"model.block": "monotone"},
    "kernels-3-1-3": {"model.kernels": (3, 1, 3)},
    "lipswish": {"model.activation": "lipswish"},
    "one-scale": {"model.blocks": (10,), "model.width": 32},
    "shallow": {"model.blocks": (2, 3)},
    "deep": {"model.blocks": (8, 12)},
    "narrow": {"model.width": (16, 32)},
    "wide": {"model.width": (64, 128)},
    "no-tail": {"model.tail_blocks": 0},
    "long-tail": {"model.tail_blocks": 4},
    "wide-tail": {"model.tail_width": 256},
    "learned-base": {"model.base": "learned_normal"},
    "terms-2": _estimated_by("power_series", terms=2),
    "terms-8": _estimated_by("power_series", terms=8),
    "krylov-4": _estimated_by("krylov", steps=4),
    "unbiased": _estimated_by("russian_roulette"),
    "slow": {"training.learning_rate": 2e-3},
    "fast": {"training.learning_rate": 8e-3},
    "batch-32": {"training.batch_size": 32},
    "batch-128": {"training.batch_size": 128},
}
_LOGIT = {"name": "logit", "alpha": 1e-6}
# TFP's flows, see `tfp_flows.make_flow`, and where their training differs from ours; and Glow, see
# `mnist_fit.fit_glow`.
PEERS: Mapping[str, Mapping[str, Any]] = {
    "realnvp": {
        "peer": {
            "layer": "real_nvp",
            "arguments": {"num_layers": 4, "hidden_units": [72, 72]},
            "preprocessing": _LOGIT,
        },
        "training": {"learning_rate": 1e-3},
    },
    "maf": {
        "peer": {
            "layer": "maf",
            "arguments": {"num_layers": 2, "hidden_units": [128, 128]},
            "preprocessing": _LOGIT,
        },
        "training": {"learning_rate": 1e-3},
    },
    "glow": {
        "glow": {
            "scales": 2,
            "steps": 8,
            "channels": 104,
            "alpha": 1e-6,
            "batch_size": 64,
            "rate": 1e-3,
        }
    },
}
COLUMNS = (
    table.Column("flow", "{flow}", ("flow",)),
    table.Column(
        "validation bits/dim",
        "{bits_per_dim:.3f} ± {bits_per_dim_standard_error:.3f}",
        ("bits_per_dim", "bits_per_dim_standard_error"),
    ),
    table.Column(
        "above ours",
        "{above_ours:+.3f} ± {above_ours_standard_error:.3f}",
        ("above_ours", "above_ours_standard_error"),
    ),
    table.Column("parameters", "{parameters:,}", ("parameters",)),
    table.Column("steps", "{steps:,}", ("steps",)),
    table.Column("CPU s", "{cpu_seconds:.0f}", ("cpu_seconds",)),
    table.Column("chosen", "{chosen}", ("chosen",)),
)


def compare(
    workdir: str | os.PathLike[str],
    minutes: float = MINUTES,
    jobs: int = 1,
    only: Sequence[str] = (),
    path: str | None = None,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    peers: Mapping[str, Mapping[str, Any]] = PEERS,
) -> list[dict[str, Any]]:
    """Trains what isn't trained yet, prints the table and writes it to table.csv.

    Args:
        workdir: directory of the comparison; each fit has its own in it, whose name holds a digest
            of its settings, and what is finished there isn't run again.
        minutes: CPU time of each fit.
        jobs: fits side by side, each on a core of its own.
        only: names to restrict it to: "ours", peers, single `VARIANTS` of ours, or "variants" for
            all of them, which are left out unless they are named.
        path: a copy of MNIST, see `tf_iresnet.data.images.published.load_published`; the cache of
            Keras if None.
        changes: section of the config → fields to change in every fit, `training` also in peers'.
        peers: name → settings, as in `PEERS`.

    Returns:
        A row per fit, ours first: `bits_per_dim` of the validation images and `above_ours`, the
        mean difference to ours on the same images, each with its standard error; `parameters` that
        are trained; `steps`; `cpu_seconds`; and what validation has `chosen`.

    Raises:
        RunError: for unknown names, or a fit that failed.
    """
    names = _select(only, peers)
    root = pathlib.Path(workdir)
    runs = {name: _run(root, name, minutes, path, changes, peers) for name in names}
    pinned.finish(runs.values(), jobs)
    rows: list[dict[str, Any]] = []
    values: list[np.ndarray] = []
    for name, run in runs.items():
        found = json.loads(run.results.read_text())
        log_prob = np.array(found.pop("validation"))
        values.append(data.bits_per_dim(log_prob, SIZE))
        known = {key: found[key] for key in ("parameters", "steps", "cpu_seconds", "chosen")}
        rows.append({"flow": name, **_mean("bits_per_dim", values[-1]), **known})
        if name != OURS:
            rows[-1] |= _mean("above_ours", values[-1] - values[0])
    print(f"\nMNIST, {len(values[0]):,} validation images, {minutes:g} CPU minutes each\n")
    print(table.text(COLUMNS, rows))
    print(f"\nTable: {table.write_csv(root / 'table.csv', COLUMNS, rows)}")
    return rows


def _select(only: Sequence[str], peers: Mapping[str, Any]) -> list[str]:
    """The fits that the names stand for, ours first: what the others are compared with."""
    known = [OURS, *peers, *VARIANTS]
    if unknown := [name for name in only if name not in (*known, "variants")]:
        expected = f"Expected --only to name flows: {', '.join([*known, 'variants'])}."
        raise RunError(f"{expected} Received: {', '.join(unknown)}.")
    chosen = [m for m in known if m in only or (m in VARIANTS and "variants" in only)]
    return [OURS, *(chosen or peers)] if OURS not in chosen else chosen


def _run(
    root: pathlib.Path,
    name: str,
    minutes: float,
    path: str | None,
    changes: Mapping[str, Mapping[str, Any]] | None,
    peers: Mapping[str, Mapping[str, Any]],
) -> pinned.Run:
    """The fit of that name; where the images lie has no part in the digest."""
    training = {"max_minutes": minutes, "epochs": EPOCHS, "steps_per_epoch": EPOCH_STEPS}
    sections = {**(changes or {})}
    sections["training"] = {**training, **sections.get("training", {})}
    sections["data"] = {"validation_size": VALIDATION, **sections.get("data", {})}
    config = resolve(load_config("resflow", arguments=("mnist-small",), changes=sections))
    for field, value in VARIANTS.get(name, {}).items():
        section, _, key = field.partition(".")
        config[section][key] = value
    settings = dict(peers.get(name, {}))
    config["training"] |= settings.pop("training", {})
    if settings:
        del config["model"]
    digest = pinned.digest([config, settings])
    config["data"]["path"] = path
    function, argument = "fit_flow", {"config": config, **settings}
    if "glow" in settings:
        seconds, seed = 60 * minutes, config["training"]["seed"]
        function, argument = "fit_glow", {**settings, "seconds": seconds, "seed": seed}
        argument |= _write_images(root, config)
    return pinned.Run(root / f"{name}_{digest}", f"comparisons.mnist_fit:{function}", argument)


def _write_images(root: pathlib.Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the images for a process without TensorFlow; returns their path and levels."""
    known = {key: value for key, value in config["data"].items() if key != "path"}
    path = root / f"images_{pinned.digest(known)}.npz"
    if not path.exists():
        dataset = build.make_dataset(config)
        assert dataset.training_rows is not None
        root.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"partial_{path.name}")
        train = np.floor(dataset.training_rows()).astype(np.uint8)
        np.savez(partial, train=train, validation=dataset.validation)
        os.replace(partial, path)
    return {"images": str(path), "levels": 256}


def _mean(name: str, values: np.ndarray) -> dict[str, Any]:
    mean, error = evaluation.mean_and_standard_error(values)
    return {name: mean, f"{name}_standard_error": error}
