"""The kinds of block beside one another, at equal parameters and equal training time.

Residual blocks, monotone ones (arXiv 2210.08176), implicit flows (arXiv 2103.09527) and triangular
blocks, on a hard toy density and on digits.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from comparisons import table
from comparisons.configs import load_config
from tf_iresnet.training.train import train_and_evaluate

BLOCKS = ("residual", "monotone", "implicit", "triangular")
# Data → config, its argument, and epochs: no fewer than the fastest kind has time for.
DATA = {"checkerboard": ("toy", ("checkerboard",), 70), "digits": ("digits", (), 18)}
MINUTES = 2.5
FIT = (
    table.Column(
        "KL, nats",
        "{kl_divergence:.4f} ± {kl_divergence_standard_error:.4f}",
        ("kl_divergence", "kl_divergence_standard_error"),
    ),
    table.Column(
        "bits/dim",
        "{bits_per_dim:.4f} ± {bits_per_dim_standard_error:.4f}",
        ("levels", "bits_per_dim", "bits_per_dim_standard_error"),
    ),
)
COLUMNS = (
    table.Column("data", "{data}", ("data",)),
    table.Column("block", "{block}", ("block",)),
    table.Column("parameters", "{parameters:,}", ("parameters",)),
    table.Column("epochs", "{epochs}", ("epochs",)),
    *FIT,
    table.Column("inverse, most iterations", "{inverse_iterations}", ("inverse_iterations",)),
    table.Column("error of inverse", "{reconstruction_error:.1e}", ("reconstruction_error",)),
)


def compare(
    workdir: str | os.PathLike[str],
    blocks: Sequence[str] = BLOCKS,
    minutes: float = MINUTES,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Trains what isn't trained yet, prints the table and writes it to table.csv.

    Every run has the same clock, with which its learning rate falls, and the same number of blocks
    and hidden units; it is judged at its best validation epoch. Run it on a machine that does
    nothing else.

    Args:
        workdir: directory of the comparison; each run has its own in it, and what is finished there
            isn't run again.
        blocks: kinds of `mlp_flow`.
        minutes: of training, for each.
        changes: section of the configs → fields to change in every run.

    Returns:
        A row for each data set and kind, with the figures of `train_and_evaluate`.
    """
    root = pathlib.Path(workdir)
    rows = []
    for data, (name, arguments, epochs) in DATA.items():
        clock = {"epochs": epochs, "max_minutes": minutes}
        sections = dict(changes or {})
        sections["training"] = {**clock, **sections.get("training", {})}
        for block in blocks:
            print(f"{data}, {block}:", flush=True)
            config = load_config(name, arguments=arguments, changes=sections)
            config.model.block, config.model.branch = block, "spectral"  # which all kinds take
            figures = train_and_evaluate(config, root / data / block)
            rows.append({"data": data, "block": block, **figures})
    print(f"\n{minutes:g} minutes of training each\n\n{table.text(COLUMNS, rows)}")
    print(f"\nTable: {table.write_csv(root / 'table.csv', COLUMNS, rows)}")
    return rows
