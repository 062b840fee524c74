"""Ctrl-C while a script starts is one line and the status that train.py has for it, too."""

import ast
import signal
import subprocess
import sys

import pytest
from absl import app
from support.scripts import ROOT

from tf_iresnet.training import cli

pytestmark = pytest.mark.usefixtures("usual_signals")

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
OTHERS = ("early_interrupt.py", "tensorflow_quietly.py")  # modules of the scripts


def run(code):
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "scripts", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return process.returncode, process.stderr


CODE = "import early_interrupt, os, signal, sys; {}; os.kill(os.getpid(), signal.SIGINT)"


def test_an_interruption_is_a_line_and_a_status():
    assert run(CODE.format("pass")) == (130, "\nInterrupted.\n")


def test_a_process_that_ignores_the_signal_goes_on_to():
    before = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    assert run(before + CODE.format("pass")) == (0, "")


def test_a_guest_leaves_the_signal_to_the_process():
    status, errors = run("import numpy; " + CODE.format("pass"))
    assert status != 130 and "KeyboardInterrupt" in errors


@pytest.mark.parametrize("path", [p for p in SCRIPTS if p.name not in OTHERS], ids=lambda p: p.stem)
def test_every_script_begins_with_it(path):
    imports = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.Import)]
    others = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ImportFrom)]
    assert imports[0].names[0].name == "early_interrupt"
    assert all(imports[0].lineno < other.lineno for other in others)


def test_a_script_that_runs_may_clean_up_and_then_ends_with_the_line(monkeypatch, capsys):
    """Python's own handler while it runs; before and after it whatever there was."""
    ended = []
    monkeypatch.setattr(app, "run", lambda main, flags_parser: ended.append(main(["look.py"])))
    before = signal.signal(signal.SIGINT, lambda *_: ended.append("at once"))
    try:
        signal.raise_signal(signal.SIGINT)
        cli.run(lambda: signal.raise_signal(signal.SIGINT))
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == ["at once", 130, "at once"]
    assert capsys.readouterr().err == "\nInterrupted.\n"
