"""Prints the certificate of a model's inverse; exits with 1 if it isn't certified invertible.

    python scripts/certify.py --workdir=runs/digits
    python scripts/certify.py --workdir=runs/digits --data
    python scripts/certify.py --model=mine.keras --enforce --output=certified.keras

With --data, or --data=validation or --data=my.csv, another column shows the largest norm of the
Jacobian of each block's branch at any of the examples, which is below the bound for all inputs.

With --enforce, a copy is written in which the kernels of blocks that aren't certified are scaled
down until they are; the exit status is that of the copy.
"""

import early_interrupt  # noqa: F401

# isort: split
from absl import flags

import tensorflow_quietly  # noqa: F401
from tf_iresnet.training import cli

WORKDIR = flags.DEFINE_string("workdir", None, "Directory of a finished run.")
MODEL = flags.DEFINE_string(
    "model", None, "A .keras file, instead of --workdir: any Keras model with our layers."
)
ENFORCE = flags.DEFINE_bool("enforce", False, "Write a copy in which every block is certified.")
DATA = cli.define_optional(
    "data",
    "test",
    'What to measure on as well: "test" (if nothing follows) or "validation" of the run, or a '
    "table with the same columns.",
)
OUTPUT = flags.DEFINE_string("output", None, "The .keras file to write the copy to.")
EXAMPLES = flags.DEFINE_integer(
    "examples",
    None,
    "On how many examples, at most, to measure with --data; 200 if not given.",
    lower_bound=1,
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace --output if it exists.")


def main() -> int:
    from tf_iresnet.training import commands

    return commands.certify(
        workdir=WORKDIR.value,
        model=MODEL.value,
        enforce=ENFORCE.value,
        output=OUTPUT.value,
        overwrite=OVERWRITE.value,
        data=DATA.value,
        examples=EXAMPLES.value,
    )


if __name__ == "__main__":
    cli.run(main)
