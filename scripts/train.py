"""Trains a flow on data and writes a certified model with its report to a directory.

    python scripts/train.py --list
    python scripts/train.py --config=configs/toy.py:checkerboard --workdir=runs/checkerboard
    python scripts/train.py --config=configs/tabular.py --config.data.path=my.csv --workdir=runs/my

The same command again resumes a run, however it was interrupted, prints the figures of one that is
finished, and makes again what is damaged of it or gone. Ctrl-C (SIGINT), SIGTERM and a terminal
that is closed (SIGHUP) end training after the step, with a checkpoint and exit status 130, 143 or
129; a second Ctrl-C or SIGTERM ends it at once, and under nohup SIGHUP has no effect. Every field
of a config can be set, and those that may be None to that: --config.training.epochs=10,
--config.training.max_minutes=None. --strategy=mirrored trains on all GPUs, multi_worker on several
hosts, tpu on a TPU: docs/scale.md.
"""

import early_interrupt  # noqa: F401

# isort: split
import os
import pathlib

from absl import flags

import tensorflow_quietly  # noqa: F401
from tf_iresnet.training import cli, config_files
from tf_iresnet.training.workdir import RunError

CONFIG = config_files.define_config()
WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run: a new one, or one to resume.")
STRATEGY = flags.DEFINE_string(
    "strategy", "one", "Devices: one, mirrored, multi_worker or tpu. See docs/scale.md."
)
LIST = flags.DEFINE_bool("list", False, "Print the configs that there are, a line each, and exit.")

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"


def main() -> None:
    from tf_iresnet.training import report
    from tf_iresnet.training.train import train_and_evaluate

    if LIST.value:
        print(config_files.list_configs(CONFIGS))
        return
    if missing := [f"--{f.name}" for f in (CONFIG, WORKDIR) if not flags.FLAGS[f.name].present]:
        example = f"--config={os.path.relpath(CONFIGS / 'toy.py')} --workdir=runs/toy"
        expected = f"Expected --config and --workdir, such as {example}; --list shows the configs."
        raise RunError(f"{expected} Received: no {' and no '.join(missing)}.")
    figures = train_and_evaluate(CONFIG.value, WORKDIR.value, STRATEGY.value)
    print(report.text(figures))
    print("\nNext:")
    for purpose, command in report.commands(CONFIG.value.to_dict(), WORKDIR.value):
        print(f"  {command}  # {purpose}")
    print(f"Report: {os.path.join(WORKDIR.value, 'report.html')}")


if __name__ == "__main__":
    cli.run(main)
