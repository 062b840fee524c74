"""Measures a trained model on held-out data, prints the figures and writes them as JSON.

    python scripts/evaluate.py --workdir=runs/digits
    python scripts/evaluate.py --workdir=runs/my --data=new_rows.csv --output=new_rows.json
    python scripts/evaluate.py --workdir=runs/my --data=new_rows.csv --scores=scores.csv

Nats and bits per dimension have standard errors, the log-density a bound on the truncation error of
its series, the inverse its largest error and its iterations.

For --data of a run on a table, a .png beside the .json shows the rows' log-densities beside those
of the run's held-out rows. --scores writes a line for each row: its log-density in nats, the
standard error of that, the share of training rows that are at most as likely, and the columns that
stand out: those whose cell alone, by what similar training rows hold there, makes it unlikely.
"""

import early_interrupt  # noqa: F401

# isort: split
from absl import flags

import tensorflow_quietly  # noqa: F401
from tf_iresnet.training import cli

WORKDIR = flags.DEFINE_string("workdir", None, "Directory of a finished run.")
MODEL = flags.DEFINE_string("model", None, "A .keras file, instead of --workdir.")
SPLIT = flags.DEFINE_enum(
    "split",
    None,
    ["test", "validation"],
    "Which part of the run's data to measure on; the test part if not given.",
)
DATA = flags.DEFINE_string(
    "data", None, "Another table with the same columns to measure on, all rows of it."
)
OUTPUT = flags.DEFINE_string(
    "output", None, "The .json file to write; by default evaluation.json in the workdir."
)
SCORES = flags.DEFINE_string(
    "scores", None, "The .csv file to write the scores of each row of --data to."
)
OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Replace --output, its picture and --scores if they exist."
)
EXAMPLES = flags.DEFINE_integer(
    "examples", 1000, "On how many examples, at most, to check the inverse.", lower_bound=1
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 500, "Examples per call.", lower_bound=1)


def main() -> None:
    from tf_iresnet.training import commands

    commands.evaluate(
        workdir=WORKDIR.value,
        model=MODEL.value,
        split=SPLIT.value,
        table=DATA.value,
        output=OUTPUT.value,
        overwrite=OVERWRITE.value,
        examples=EXAMPLES.value,
        batch_size=BATCH_SIZE.value,
        scores=SCORES.value,
    )


if __name__ == "__main__":
    cli.run(main)
