"""Trains a flow on data and writes a certified model with its report to a directory.

    python scripts/train.py --config=configs/toy.py:checkerboard --workdir=runs/checkerboard
    python scripts/train.py --config=configs/tabular.py --config.data.path=my.csv --workdir=runs/my

The same command again resumes a run, however it was interrupted, and prints the figures of one that
is finished. Every field of a config can be set: --config.training.epochs=10.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import flags
from ml_collections import config_flags

from tf_iresnet.training import cli

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/, with its argument after a colon if it takes one."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run: a new one, or one to resume.")
flags.mark_flags_as_required(["config", "workdir"])


def main() -> None:
    from tf_iresnet.training import report
    from tf_iresnet.training.train import train_and_evaluate

    figures = train_and_evaluate(CONFIG.value, WORKDIR.value)
    print(report.text(figures))
    print(f"Report: {os.path.join(WORKDIR.value, 'report.html')}")


if __name__ == "__main__":
    cli.run(main)
