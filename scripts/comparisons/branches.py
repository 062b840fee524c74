"""Kinds of block, branch and activation beside one another, at equal training time on one core.

On a toy density, digits, a simulator of known density and a table of measurements.
"""

import itertools
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from comparisons import datasets, pinned, table
from comparisons.blocks import FIT
from comparisons.configs import load_config
from tf_iresnet.training import evaluation
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.workdir import Workdir, write_atomically

BLOCKS = ("residual", "monotone")
BRANCHES = ("spectral", "lipschitz_mlp")
ACTIVATIONS = ("elu", "lipswish", "sine")
# Data → config and its argument.
DATA = {
    "checkerboard": ("toy", ("checkerboard",)),
    "digits": ("digits", ()),
    "oscillator": ("tabular", ()),
    "diamonds": ("tabular", ()),
}
TRUTHS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "oscillator": datasets.oscillator_log_prob
}
MINUTES = 1.5
EPOCHS = 10_000  # more than there is time for: the learning rate follows the clock
COLUMNS = (
    table.Column("data", "{data}", ("data",)),
    table.Column("block", "{block}", ("block",)),
    table.Column("branch", "{branch}", ("branch",)),
    table.Column("activation", "{activation}", ("activation",)),
    table.Column("parameters", "{parameters:,}", ("parameters",)),
    table.Column("epochs", "{epochs}", ("epochs",)),
    *FIT,
    table.Column(
        "NLL, nats",
        "{negative_log_likelihood:.3f} ± {negative_log_likelihood_standard_error:.3f}",
        ("negative_log_likelihood", "negative_log_likelihood_standard_error"),
    ),
    table.Column(
        "above the best, nats",
        "{above_best:.3f} ± {above_best_standard_error:.3f}",
        ("above_best", "above_best_standard_error"),
    ),
    table.Column("inverse, most iterations", "{inverse_iterations}", ("inverse_iterations",)),
)


def compare(
    workdir: str | os.PathLike[str],
    minutes: float = MINUTES,
    jobs: int = 1,
    data: Sequence[str] = tuple(DATA),
    blocks: Sequence[str] = BLOCKS,
    branches: Sequence[str] = BRANCHES,
    activations: Sequence[str] = ACTIVATIONS,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Trains what isn't trained yet, prints a table per data set and writes all to table.csv.

    Every run has the same time on one core, over which its learning rate falls, and the same number
    of blocks and hidden units; it is judged at its best validation epoch.

    Args:
        workdir: directory of the comparison; each run has its own in it, and what is finished there
            isn't run again.
        minutes: of training, for each.
        jobs: trainings side by side, each on a core of its own.
        data: of `DATA`.
        blocks: kinds of block of `mlp_flow`.
        branches: kinds of branch of `mlp_flow`.
        activations: of the branches.
        changes: section of the configs → fields to change in every run.

    Returns:
        A row per run: the figures of `train_and_evaluate`; `kl_divergence` where the density is
        known; `above_best`, the mean difference of −ln p to the best run on the same test points.
    """
    root = pathlib.Path(workdir)
    kinds = list(itertools.product(blocks, branches, activations))
    configs = {
        (name, kind): _config(root, name, kind, minutes, changes) for name in data for kind in kinds
    }
    pinned.train({_path(root, *run): config for run, config in configs.items()}, jobs)
    rows = []
    for name in data:
        found = _rows(root, name, kinds)
        shown = [
            c for c in COLUMNS if any(row.get(k) is not None for row in found for k in c.keys[-1:])
        ]
        print(f"\n{name}, {minutes:g} minutes of training each\n\n{table.text(shown, found)}")
        rows += found
    print(f"\nTable: {table.write_csv(root / 'table.csv', COLUMNS, rows)}")
    return rows


def _config(
    root: pathlib.Path,
    data: str,
    kind: tuple[str, str, str],
    minutes: float,
    changes: Mapping[str, Mapping[str, Any]] | None,
) -> Any:
    sections = dict(changes or {})
    clock = {"epochs": EPOCHS, "max_minutes": minutes, "patience": None}
    sections["training"] = {**clock, **sections.get("training", {})}
    name, arguments = DATA[data]
    config = load_config(name, arguments=arguments, changes=sections)
    config.model.block, config.model.branch, config.model.activation = kind
    if data in datasets.TABLES:
        config.data.path = str(datasets.write(data, root))
    return config


def _path(root: pathlib.Path, data: str, kind: tuple[str, str, str]) -> pathlib.Path:
    return root / data / "_".join(kind)


def _rows(
    root: pathlib.Path, data: str, kinds: Sequence[tuple[str, str, str]]
) -> list[dict[str, Any]]:
    """The rows of a data set, in the order of `kinds`."""
    test = SavedRun(str(_path(root, data, kinds[0]))).dataset().test
    truth = TRUTHS[data](test) if data in TRUTHS else None
    log_probs = [_log_prob(_path(root, data, kind), test) for kind in kinds]
    best = max(log_probs, key=np.mean)
    rows = []
    for kind, log_prob in zip(kinds, log_probs, strict=True):
        row: dict[str, Any] = {"data": data}
        row |= dict(zip(("block", "branch", "activation"), kind, strict=True))
        row |= Workdir(_path(root, data, kind)).read_figures()
        if truth is not None:
            row |= evaluation.divergence(truth, log_prob)
        if log_prob is not best:
            mean, error = evaluation.mean_and_standard_error(best - log_prob)
            row |= {"above_best": mean, "above_best_standard_error": error}
        rows.append(row)
    return rows


def _log_prob(path: pathlib.Path, test: np.ndarray) -> np.ndarray:
    """Log-densities of the test points under a finished run, kept beside its workdir."""
    kept = path.with_name(f"{path.name}_log_prob.json")
    if not kept.exists():
        log_prob = evaluation.log_prob(SavedRun(str(path)).flow, test, batch_size=500)
        write_atomically(kept, json.dumps(log_prob.tolist()))
    return np.array(json.loads(kept.read_text()))
