"""A user's mistake is one line on standard error and exit status 2, whatever data it is about."""

import re
import subprocess
import sys

import pytest
import tensorflow as tf
from absl import app, flags

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


def test_a_flag_that_has_to_be_given_says_what_it_is(monkeypatch, capsys):
    values = flags.FlagValues()
    flags.DEFINE_string("output", None, "The file to write.", flag_values=values)
    flags.mark_flag_as_required("output", values)
    monkeypatch.setattr(flags, "FLAGS", values)
    with pytest.raises(SystemExit) as left:
        cli._parse(["look.py"])
    assert left.value.code == 2
    told = "look.py: Expected --output: The file to write. Received: none.\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--temperature=nan", "Expected --temperature to be a finite number. Received: --temperat"),
        ("--temperature=inf", "Expected --temperature to be a finite number. Received: --temperat"),
        ("--num=99999999999999999999", "Expected --num to be 2147483647 at most. Received: --num="),
    ],
)
def test_a_number_that_no_tensor_holds_is_one_line(flag, text, monkeypatch, capsys):
    values = flags.FlagValues()
    flags.DEFINE_float("temperature", 1.0, "", lower_bound=0.0, flag_values=values)
    flags.DEFINE_integer("num", 1, "", lower_bound=1, flag_values=values)
    monkeypatch.setattr(cli.flags, "FLAGS", values)
    with pytest.raises(SystemExit, match="2"):
        cli._parse(["sample.py", flag])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sample.py: {text}")
    cli._parse(["sample.py", "--temperature=0", "--num=2147483647"])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(36, "File name too long", "x" * 300), r"x{200}… \(300 characters\) \(File name"),
        (MemoryError("Unable to allocate 8. TiB"), r"enough memory.*8. TiB.*--batch_size"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM\nwhere"), r"enough memory.*: OOM\. "),
    ],
)
def test_what_the_machine_refuses_is_one_line(error, text, monkeypatch, capsys):
    def fail():
        raise error

    statuses = []
    monkeypatch.setattr(app, "run", lambda main, flags_parser: statuses.append(main(["look.py"])))
    cli.run(fail)
    (line,) = capsys.readouterr().err.splitlines()
    assert statuses == [2] and re.search(text, line)


@pytest.mark.parametrize(
    ("given", "value"),
    [([], None), (["--data"], "test"), (["--data=my.csv"], "my.csv"), (["--data="], "")],
)
def test_a_flag_may_stand_alone(given, value):
    values = flags.FlagValues()
    holder = cli.define_optional("data", "test", "What to measure on.", values)
    values(["look.py", *given])
    assert holder.value == value
