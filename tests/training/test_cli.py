"""A user's mistake is one line on standard error and exit status 2, whatever data it is about."""

import subprocess
import sys

import pytest
from absl import flags

from tf_iresnet.training import cli

CODE = """
from tf_iresnet.training import cli

def main():
    from tf_iresnet import data
    data.load("image_folder", path="nowhere")

cli.run(main)
"""


def test_data_that_cannot_be_used_is_one_line(tmp_path):
    script = tmp_path / "look.py"
    script.write_text(CODE)
    process = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1] == (
        "look.py: nowhere: Expected a folder of images. Received: no such folder. "
        f"Check the path; relative ones start in {tmp_path}."
    )
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("given", "value"),
    [([], None), (["--data"], "test"), (["--data=my.csv"], "my.csv"), (["--data="], "")],
)
def test_a_flag_may_stand_alone(given, value):
    values = flags.FlagValues()
    holder = cli.define_optional("data", "test", "What to measure on.", values)
    values(["look.py", *given])
    assert holder.value == value
