"""What TensorFlow logs about itself is left out; errors are shown, even those of a crash."""

import signal
import subprocess
import sys

from support.scripts import ROOT

# With something else in TensorFlow's place, so that what it logs is known.
CODE = """
import os, sys
sys.modules["tensorflow"] = None
import tensorflow_quietly
print("before", file=sys.stderr)
with tensorflow_quietly.without_noise():
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written\\n")
    os.write(2, b"I0000 00:00:17 1 port.cc:153] oneDNN custom operations are on.\\n")
    os.write(2, b"2026-01-02 03:04:05.678901: I tensorflow/core/util/port.cc:153] oneDNN\\n")
    os.write(2, b"E0000 00:00:17 1 cuda_fft.cc:467] Unable to register cuFFT factory: twice\\n")
    os.write(2, b"E0000 00:00:17 1 cuda_platform.cc:51] failed call to cuInit: UNKNOWN (303)\\n")
    os.write(2, b"E0000 00:00:17 1 cuda_platform.cc:51] failed call to cuInit: DRIVER MISMATCH\\n")
    print("a warning of Python's", file=sys.stderr)
    {}
print("I0000 after", file=sys.stderr)
"""
SHOWN = [
    "before",
    "E0000 00:00:17 1 cuda_platform.cc:51] failed call to cuInit: DRIVER MISMATCH",
    "a warning of Python's",
]


def run(last):
    return subprocess.run(
        [sys.executable, "-c", CODE.format(last)],
        cwd=ROOT / "scripts", capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_noise_is_left_out_only_while_tensorflow_is_loaded():
    process = run("pass")
    assert process.returncode == 0
    assert process.stderr.splitlines() == [*SHOWN, "I0000 after"]


def test_what_a_crash_says_is_shown():
    process = run("os.write(2, b'F0000 illegal instruction'); os.abort()")
    assert process.returncode == -signal.SIGABRT
    assert process.stderr.splitlines() == [*SHOWN, "F0000 illegal instruction"]
