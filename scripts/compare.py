"""Trains what this library is measured against beside it, and prints the table of all.

    python scripts/compare.py --table=patches --workdir=runs/compare_patches
    python scripts/compare.py --table=constraints --workdir=runs/compare_constraints
    python scripts/compare.py --table=hybrid --workdir=runs/compare_hybrid
    python scripts/compare.py --table=blocks --workdir=runs/compare_blocks

`patches` sets our flow beside a Gaussian and TFP's flows, `constraints` an unconstrained classifier
beside invertible ones, `hybrid` density and classes at several weights of the former, `blocks` the
kinds of block at equal training time. The same command again goes on where it was interrupted, and
prints a finished table at once.
"""

import importlib
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import flags

from tf_iresnet.training import cli

# Modules of scripts/comparisons, each with a compare(workdir).
TABLES = ("blocks", "constraints", "hybrid", "patches")

TABLE = flags.DEFINE_enum("table", None, TABLES, "Which comparison.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the comparison: a new one, or one to go on with."
)
flags.mark_flags_as_required(["table", "workdir"])


def main() -> None:
    importlib.import_module(f"comparisons.{TABLE.value}").compare(WORKDIR.value)


if __name__ == "__main__":
    cli.run(main)
