"""One flow as density and classifier, at several weights of the density: who gains, who loses.

Residual Flows, arXiv 1906.02735, table 3, on small digits; and what `ln p(x)` says of pictures that
aren't digits.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from comparisons import table
from comparisons.configs import load_config
from tf_iresnet.data.dequantization import dequantize_rows
from tf_iresnet.data.digits import LEVELS
from tf_iresnet.data.images.patches import cut, load_photographs
from tf_iresnet.data.randomness import TEST
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.hybrid import HybridFlow
from tf_iresnet.training import evaluation
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.train import train_and_evaluate

WEIGHTS = ("0", "1/D", "1")
COLUMNS = (
    table.Column("λ", "{density_weight}", ("density_weight",)),
    table.Column(
        "test accuracy",
        "{accuracy:.2%} ± {accuracy_standard_error:.2%}",
        ("accuracy", "accuracy_standard_error"),
    ),
    table.Column(
        "test bits/dim",
        "{bits_per_dim:.3f} ± {bits_per_dim_standard_error:.3f}",
        ("bits_per_dim", "bits_per_dim_standard_error"),
    ),
    table.Column("class consistency", "{class_consistency:.1%}", ("class_consistency",)),
    table.Column("AUROC, patches", "{auroc_patches:.4f}", ("auroc_patches",)),
    table.Column("AUROC, noise", "{auroc_noise:.4f}", ("auroc_noise",)),
)


def compare(
    workdir: str | os.PathLike[str],
    weights: Sequence[str] = WEIGHTS,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Trains what isn't trained yet, prints the table and writes it to table.csv.

    Args:
        workdir: directory of the comparison; each run has its own in it, and what is finished there
            isn't run again.
        weights: λ, arguments of configs/digits_hybrid.py.
        changes: section of the config → fields to change in every run.

    Returns:
        A row per weight: the figures of the run; `class_consistency`, the share of samples of a
        class that a reference classifier assigns to it; and how well `ln p(x)` separates held-out
        digits from `patches` of photographs and from uniform `noise`: the area under the curve of
        true against false positives (1: always; ½: by chance).
    """
    root = pathlib.Path(workdir)
    rows = []
    for weight in weights:
        print(f"λ = {weight}:", flush=True)
        config = load_config("digits_hybrid", arguments=(weight,), changes=changes)
        path = root / f"weight_{weight.replace('/', '_over_')}"
        figures = train_and_evaluate(config, path)
        trained = SavedRun(str(path))
        digits = trained.dataset().test
        scores = auroc(trained.flow, digits, out_of_distribution(len(digits)))
        scores["class_consistency"] = class_consistency(trained.flow)
        rows.append({"density_weight": weight, **figures, **scores})
    print(f"\ndigits, {rows[0]['parameters']:,} parameters\n")
    print(table.text(COLUMNS, rows))
    print(f"\nTable: {table.write_csv(root / 'table.csv', COLUMNS, rows)}")
    return rows


def reference_classifier() -> Any:
    """Returns an unfitted support-vector machine, which gets about 97 % of unseen digits right."""
    from sklearn.svm import SVC

    return SVC(C=10, gamma=1e-3)


def class_consistency(flow: HybridFlow, num: int = 100) -> float:
    """Returns the share of samples of a class that the reference classifier assigns to that class.

    Args:
        flow: of digits.
        num: samples of each class.
    """
    from sklearn.datasets import load_digits

    fitted = reference_classifier().fit(*load_digits(return_X_y=True))
    labels = np.repeat(np.arange(flow.num_classes), num)
    levels = np.floor(flow.sample(len(labels), label=labels, seed=(0, 0)))
    return float(np.mean(fitted.predict(levels.reshape(len(labels), -1)) == labels))


def out_of_distribution(num: int) -> dict[str, np.ndarray]:
    """Returns dequantised pictures that aren't digits, float32 [num, 8, 8, 1].

    `patches` are grey ones of the two photographs, from all over them, at the digits' levels; every
    pixel of the `noise` has each level with the same probability.
    """
    random = np.random.RandomState(0)
    grey = [photograph.mean(axis=-1, keepdims=True) for photograph in load_photographs()]
    cuts = np.concatenate([part for photo in grey for part in cut(photo, 8, 8)])
    chosen = cuts[random.permutation(len(cuts))[:num]]
    patches = np.floor(chosen / 256 * LEVELS)
    noise = random.randint(LEVELS, size=patches.shape)
    width = np.ones(patches.shape[1:], np.float32)
    return {
        name: dequantize_rows(levels, width, TEST)
        for name, levels in (("patches", patches), ("noise", noise))
    }


def auroc(
    flow: ResidualFlow, known: np.ndarray, others: Mapping[str, np.ndarray], batch_size: int = 500
) -> dict[str, float]:
    """Returns `auroc_name` for each set of other examples, with `ln p(x)` as the score.

    Args:
        flow: trained on the distribution of `known`.
        known: [n, *event].
        others: name → [m, *event].
        batch_size: examples per call.
    """
    inside = evaluation.log_prob(flow, known, batch_size)
    return {
        f"auroc_{name}": area(inside, evaluation.log_prob(flow, examples, batch_size))
        for name, examples in others.items()
    }


def area(inside: np.ndarray, outside: np.ndarray) -> float:
    """Returns the area under the curve of scores [n] that should be above others [m]."""
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([1, 0], [len(inside), len(outside)])
    return float(roc_auc_score(truth, np.concatenate([inside, outside])))
