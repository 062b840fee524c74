"""Draws samples of a trained flow, in the units of its data, into a file.

    python scripts/sample.py --workdir=runs/my --num=10000 --output=samples.csv
    python scripts/sample.py --workdir=runs/digits --num=64 --seed=3 --output=samples.png
    python scripts/sample.py --workdir=runs/digits --num=64 --temperature=0.7 --output=likely.png
    python scripts/sample.py --workdir=runs/hybrid --num=64 --label=3 --output=threes.png

    python scripts/sample.py --workdir=runs/conditional --given=x.csv --num=100 --output=y.csv

A .csv has the columns of the training table; an .npz holds the arrays `samples` [num, …] and
`columns`; a .png shows the samples. A --temperature below 1 draws latents nearer to their mean: the
samples are more probable, but vary less than those of the flow's density. Of a density of some
columns given others, --num samples are drawn for each row of the table --given.
"""

import early_interrupt  # noqa: F401

# isort: split
from absl import flags

import tensorflow_quietly  # noqa: F401
from tf_iresnet.training import cli

WORKDIR = flags.DEFINE_string("workdir", None, "Directory of a finished run.")
MODEL = flags.DEFINE_string("model", None, "A .keras file, instead of --workdir.")
NUM = flags.DEFINE_integer("num", 1000, "How many samples.", lower_bound=1)
SEED = flags.DEFINE_integer(
    "seed", 0, "The same seed gives the same samples.", lower_bound=0, upper_bound=2**31 - 1
)
TEMPERATURE = flags.DEFINE_float(
    "temperature",
    1.0,
    "Scale of the latents about their mean; 1 is the density's.",
    lower_bound=0.0,
)
LABEL = flags.DEFINE_integer(
    "label", None, "The class of the samples, for a flow that classifies; all if not given."
)
GIVEN = flags.DEFINE_string(
    "given", None, "A table of the columns that the density is given: --num samples for each row."
)
OUTPUT = flags.DEFINE_string("output", None, "The file to write: .npz, .csv or .png.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace --output if it exists.")
flags.mark_flag_as_required("output")


def main() -> None:
    from tf_iresnet.training import commands

    commands.sample(
        workdir=WORKDIR.value,
        model=MODEL.value,
        num=NUM.value,
        seed=SEED.value,
        output=OUTPUT.value,
        overwrite=OVERWRITE.value,
        temperature=TEMPERATURE.value,
        label=LABEL.value,
        given=GIVEN.value,
    )


if __name__ == "__main__":
    cli.run(main)
