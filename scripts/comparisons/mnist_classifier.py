"""What a bound on the Lipschitz constant costs a classifier of MNIST: i-ResNet's table 2.

    python scripts/compare.py --table=mnist_classifier --workdir=runs/mnist_classifier --jobs=2
    python scripts/compare.py --table=mnist_classifier --workdir=… --only=0.9,0.8 --seeds=5

The network of configs/iresnet_classifier.py:mnist, unconstrained and at each coefficient of the
paper (arXiv 1811.00995, section 5.1), from several seeds. The columns of the validation part are
what settings are to be chosen by.
"""

import csv
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from comparisons import constraints, pinned, table
from comparisons.configs import load_config
from tf_iresnet.training import evaluation, pictures, plots
from tf_iresnet.training.callbacks import Schedule
from tf_iresnet.training.checkpoints import Checkpoints
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.train import resolve, train_and_evaluate
from tf_iresnet.training.workdir import RunError, Workdir, to_plain, write_atomically

UNCONSTRAINED = "unconstrained"
COEFFICIENTS = (UNCONSTRAINED, "0.9", "0.8", "0.7", "0.6", "0.5")
ENTRIES = 2**25  # of a layer's matrix: all of this network's, in minutes
_ERROR = "validation_errors_standard_error"
COLUMNS = (
    table.Column("coefficient", "{coefficient}", ("coefficient",)),
    table.Column("seeds", "{seeds}", ("seeds",)),
    table.Column("validation errors, %", "{validation_errors:.2f}", ("validation_errors",)),
    table.Column("±", f"{{{_ERROR}:.2f}}", (_ERROR,)),
    table.Column("test errors, %", "{errors:.2f}", ("errors",)),
    table.Column("±", "{errors_standard_error:.2f}", ("errors_standard_error",)),
    *constraints.COLUMNS[2:],
    table.Column("epochs", "{epochs:.0f}", ("epochs",)),
    table.Column("CPU hours each", "{cpu_hours:.2f}", ("cpu_hours",)),
)


def compare(
    workdir: str | os.PathLike[str],
    path: str | None = None,
    seeds: int = 3,
    jobs: int = 1,
    only: Sequence[str] = COEFFICIENTS,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Trains what isn't trained yet, prints the table, writes it to table.csv, and spectra.png.

    Seed by seed, so that the first ones of all coefficients are there soon. A run that was killed
    goes on from its last checkpoint.

    Args:
        workdir: directory of the comparison; each run has its own in it, and what is finished there
            isn't run again.
        path: of a copy of MNIST, see `data.images.published`; that of Keras if None.
        seeds: runs of each coefficient.
        jobs: trainings side by side, each on a core of its own.
        only: of `COEFFICIENTS`.
        changes: section of the config → fields to change in every run.

    Returns:
        A row per coefficient: those of `constraints.compare`, `errors` and `validation_errors` in
        percent with their standard errors over the seeds, the mean number of `epochs`, and the mean
        `cpu_hours` of a training, with its validation.
    """
    if unknown := [name for name in only if name not in COEFFICIENTS]:
        expected = f"Expected --only to name coefficients: {', '.join(COEFFICIENTS)}."
        raise RunError(f"{expected} Received: {', '.join(unknown)}.")
    root = pathlib.Path(workdir)
    chosen = [name for name in COEFFICIENTS if name in only]
    configs = {
        (name, seed): to_plain(_config(name, seed, path, changes))
        for seed in range(seeds)
        for name in chosen
    }
    pinned.call(
        {
            _path(root, *run): (f"{__name__}:train", config)
            for run, config in configs.items()
            if Workdir(_path(root, *run)).finished(resolve(config)) is None
        },
        jobs,
    )
    rows = [_row(root, name, seeds) for name in chosen]
    parameters = Workdir(_path(root, chosen[0], 0)).read_figures()["parameters"]
    print(f"\nMNIST, {parameters:,} parameters\n\n{table.text(COLUMNS, rows)}")
    print(f"\nTable: {table.write_csv(root / 'table.csv', COLUMNS, rows)}")
    spectra = {f"coefficient {name}": _spectrum(_path(root, name, 0)) for name in chosen[:2]}
    write_atomically(root / "spectra.png", plots.png(plots.spectra(spectra)))
    print(f"Singular values of each layer of the first two: {root / 'spectra.png'}")
    return rows


def train(config: Mapping[str, Any], path: str) -> None:
    """Trains a config in the workdir `path`; the time that is noted there is that of the CPU."""
    Schedule.clock = staticmethod(time.process_time)
    train_and_evaluate(config, path)


def _config(
    coefficient: str,
    seed: int,
    path: str | None,
    changes: Mapping[str, Mapping[str, Any]] | None,
) -> Any:
    free = coefficient == UNCONSTRAINED
    argument = f"mnist-{UNCONSTRAINED}" if free else "mnist"
    config = load_config("iresnet_classifier", arguments=(argument,), changes=changes)
    config.model.coefficient = None if free else float(coefficient)
    config.training.seed = seed
    if path is not None:
        config.data.path = os.path.abspath(path)
    return config


def _path(root: pathlib.Path, coefficient: str, seed: int) -> pathlib.Path:
    return root / coefficient / f"seed_{seed}"


def _row(root: pathlib.Path, coefficient: str, seeds: int) -> dict[str, Any]:
    runs = [Workdir(_path(root, coefficient, seed)) for seed in range(seeds)]
    figures = [run.read_figures() for run in runs]
    found = constraints.row(coefficient, figures)
    accuracies = {"errors": [f["accuracy"] for f in figures]}
    accuracies["validation_errors"] = [_validation_accuracy(run) for run in runs]
    for name, values in accuracies.items():
        mean, error = evaluation.mean_and_standard_error(100 * (1 - np.array(values)))
        found |= {name: mean, f"{name}_standard_error": error}
    states = [state for run in runs if (state := Checkpoints(run).read_state())]
    if len(states) == seeds:
        found["cpu_hours"] = float(np.mean([state.elapsed for state in states]) / 3600)
    return {**found, "seeds": seeds, "epochs": float(np.mean([f["epochs"] for f in figures]))}


def _validation_accuracy(run: Workdir) -> float:
    """That of the weights which were kept."""
    best = run.read_figures()["best_epoch"]
    with open(run.metrics) as file:
        (accuracy,) = (r["val_accuracy"] for r in csv.DictReader(file) if int(r["epoch"]) == best)
    return float(accuracy)


def _spectrum(path: pathlib.Path) -> list[np.ndarray]:
    """The singular values of each layer of a finished run, kept beside its workdir."""
    kept = path.with_name(f"{path.name}_singular_values.npz")
    if not kept.exists():
        values = pictures.singular_values(SavedRun(str(path)).invertible, entries=ENTRIES)
        partial = kept.with_name(f"partial_{kept.name}")
        np.savez(partial, *values)
        os.replace(partial, kept)
    with np.load(kept) as arrays:
        return list(arrays.values())
