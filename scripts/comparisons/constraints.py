"""What a bound on the Lipschitz constant costs a classifier: i-ResNet's table 2, on small digits.

The same network, unconstrained and at several coefficients, from several seeds each
(arXiv 1811.00995, section 5.1).
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from comparisons import table
from comparisons.configs import load_config
from tf_iresnet.training import evaluation, pictures, plots
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.train import train_and_evaluate
from tf_iresnet.training.workdir import write_atomically

COEFFICIENTS = ("unconstrained", "0.9", "0.7", "0.5")
SEEDS = 5
COLUMNS = (
    table.Column("coefficient", "{coefficient}", ("coefficient",)),
    table.Column(
        "test accuracy, %",
        "{accuracy:.2f} ± {accuracy_standard_error:.2f}",
        ("accuracy", "accuracy_standard_error"),
    ),
    table.Column("largest bound of Lip(g)", "{lipschitz_bound:.3g}", ("lipschitz_bound",)),
    table.Column("certified", "{certified}", ("certified",)),
    table.Column("inputs not recovered", "{failures} of {examples}", ("failures", "examples")),
    table.Column("error of the others", "{reconstruction_error}", ("reconstruction_error",)),
)


def compare(
    workdir: str | os.PathLike[str],
    coefficients: Sequence[str] = COEFFICIENTS,
    seeds: int = SEEDS,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Trains what isn't trained yet, prints the table, writes it to table.csv, and spectra.png.

    Args:
        workdir: directory of the comparison; each run has its own in it, and what is finished there
            isn't run again.
        coefficients: arguments of configs/digits_classifier.py.
        seeds: runs of each; at least 2, to have a standard error.
        changes: section of the config → fields to change in every run.

    Returns:
        A row per coefficient: `accuracy` in percent, its mean and standard error over the seeds;
        over all seeds the largest certified `lipschitz_bound` of a block, whether all are
        `certified`, the `failures` among the test `examples` whose features couldn't be inverted,
        and the largest `reconstruction_error` of the others, in grey levels.
    """
    root = pathlib.Path(workdir)
    rows = []
    for coefficient in coefficients:
        runs = []
        for seed in range(seeds):
            print(f"coefficient {coefficient}, seed {seed}:", flush=True)
            config = load_config("digits_classifier", arguments=(coefficient,), changes=changes)
            config.training.seed = seed
            runs.append(train_and_evaluate(config, _path(root, coefficient, seed)))
        rows.append(row(coefficient, runs))
    spectra = {
        f"coefficient {c}": pictures.singular_values(SavedRun(str(_path(root, c, 0))).invertible)
        for c in coefficients[:2]
    }
    write_atomically(root / "spectra.png", plots.png(plots.spectra(spectra)))
    print(f"\ndigits, {seeds} seeds, {runs[0]['parameters']:,} parameters\n")
    print(table.text(COLUMNS, rows))
    print(f"\nTable: {table.write_csv(root / 'table.csv', COLUMNS, rows)}")
    print(f"Singular values of each layer, with a constraint and without: {root / 'spectra.png'}")
    return rows


def _path(root: pathlib.Path, coefficient: str, seed: int) -> pathlib.Path:
    return root / coefficient / f"seed_{seed}"


def row(coefficient: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns a row of `compare` from the figures of its runs, one per seed."""
    accuracy = np.array([100 * run["accuracy"] for run in runs])
    mean, error = evaluation.mean_and_standard_error(accuracy)
    errors = [e for run in runs if (e := run["reconstruction_error"]) is not None]
    return {
        "coefficient": coefficient,
        "accuracy": mean,
        "accuracy_standard_error": error,
        "lipschitz_bound": max(run["lipschitz_bound"] for run in runs),
        "certified": "yes" if all(run["invertible"] for run in runs) else "no",
        "failures": sum(run["reconstruction_failures"] for run in runs),
        "examples": sum(run["reconstructed_examples"] for run in runs),
        "reconstruction_error": f"{max(errors):.2g} grey levels" if errors else "none came back",
    }
