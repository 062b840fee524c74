"""Trains what this library is measured against beside it, and prints the table of all.

    python scripts/compare.py --table=patches --workdir=runs/compare_patches
    python scripts/compare.py --table=constraints --workdir=runs/compare_constraints
    python scripts/compare.py --table=mnist_classifier --workdir=runs/mnist_classifier --jobs=2
    python scripts/compare.py --table=hybrid --workdir=runs/compare_hybrid
    python scripts/compare.py --table=blocks --workdir=runs/compare_blocks
    python scripts/compare.py --table=branches --workdir=runs/compare_branches --jobs=2
    python scripts/compare.py --table=bases --workdir=runs/compare_bases
    python scripts/compare.py --table=tables --workdir=runs/compare_tables --minutes=1 --jobs=2
    python scripts/compare.py --table=tables --workdir=runs/compare_tables --only=variants,penguins
    python scripts/compare.py --table=mnist_densities --workdir=runs/compare_mnist --path=mnist.npz
    python scripts/compare.py --table=mnist_report --workdir=runs/mnist

`patches` sets our flow beside a Gaussian and TFP's flows, `constraints` an unconstrained classifier
of small digits beside invertible ones, `mnist_classifier` the same on MNIST, `hybrid` density and
classes at several weights of the former, `blocks` the kinds of block at equal training time,
`branches` kinds of block, branch and activation at equal training time on one core each, `bases`
two bases on heavy tails and two on separate modes, in a minute, `tables` the flow of
configs/tabular.py, or variants of it, and other densities on real tables and simulators,
`mnist_densities` the flow of configs/resflow.py:mnist-small, or variants of it, and other flows.
`mnist_report` trains nothing: it says what a finished run on such images makes of other pictures,
and shows samples beside the training images nearest to them. The same command again goes on where
it was interrupted, and prints a finished table at once.
"""

import early_interrupt  # noqa: F401

# isort: split
import importlib
import inspect

from absl import flags

import tensorflow_quietly  # noqa: F401
from tf_iresnet.training import cli
from tf_iresnet.training.workdir import RunError

# Modules of scripts/comparisons, each with a compare(workdir).
TABLES = ("bases", "blocks", "branches", "constraints", "hybrid", "mnist_classifier")
TABLES += ("mnist_densities", "mnist_report", "patches", "tables")

TABLE = flags.DEFINE_enum("table", None, TABLES, "Which comparison.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the comparison: a new one, or one to go on with."
)
MINUTES = flags.DEFINE_float(
    "minutes", None, "Of training, for each run, where time is what is equal.", lower_bound=0.0
)
JOBS = flags.DEFINE_integer(
    "jobs", None, "Trainings side by side, each on a core of its own.", lower_bound=1
)
PATH = flags.DEFINE_string(
    "path", None, "A copy of the images, such as mnist.npz; the cache of Keras if not given."
)
ONLY = flags.DEFINE_list(
    "only", None, "Names of data sets and methods to restrict the comparison to."
)
SEEDS = flags.DEFINE_integer(
    "seeds", None, "Runs of each setting, where there are several.", lower_bound=1
)
flags.mark_flags_as_required(["table", "workdir"])


def main() -> None:
    compare = importlib.import_module(f"comparisons.{TABLE.value}").compare
    options = {f.name: f.value for f in (MINUTES, JOBS, ONLY, SEEDS, PATH) if f.value is not None}
    for name in options:
        if name not in inspect.signature(compare).parameters:
            raise RunError(
                f"Expected no --{name} for --table={TABLE.value}, which has no use of it."
            )
    compare(WORKDIR.value, **options)


if __name__ == "__main__":
    cli.run(main)
