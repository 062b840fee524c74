"""The scripts as a user starts them, and the same in the process of the tests, which is quicker."""

import contextlib
import io
import os
import pathlib
import runpy
import subprocess
import sys

import pytest
from absl import flags

ROOT = pathlib.Path(__file__).parents[2]


def in_a_process(name, *arguments, cwd=ROOT):
    """Runs scripts/`name`.py; returns its exit status, output and what it complained of."""
    process = subprocess.run(
        [sys.executable, _path(name), *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=600,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    return process.returncode, process.stdout, process.stderr.splitlines()


def in_this_process(name, *arguments, cwd=ROOT):
    """The same without the seconds that a process needs to load TensorFlow.

    For what a script does once it has started; `in_a_process` shows that it starts.
    """
    output, errors = io.StringIO(), io.StringIO()
    before = set(flags.FLAGS)
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        pytest.raises(SystemExit) as left,
    ):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", [_path(name), *map(str, arguments)])
        try:
            runpy.run_path(_path(name), run_name="__main__")
        finally:
            for flag in set(flags.FLAGS) - before:
                delattr(flags.FLAGS, flag)
    return left.value.code or 0, output.getvalue(), errors.getvalue().splitlines()


def _path(name):
    return str(ROOT / "scripts" / f"{name}.py")
