"""A first signal is noted, a second one ends the process; afterwards all is as it was."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from tf_iresnet.training import interruption
from tf_iresnet.training.interruption import Interrupted, Signals

PATH = pathlib.Path(interruption.__file__)
CODE = f"""
import os, runpy, signal
Signals = runpy.run_path({str(PATH)!r})["Signals"]
with Signals() as signals:
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.received == signal.SIGTERM
    print("noted", flush=True)
    os.kill(os.getpid(), signal.%s)
    print("never", flush=True)
"""


@pytest.mark.parametrize("second", ["SIGTERM", "SIGINT"])
def test_a_second_signal_ends_the_process_at_once(second):
    process = subprocess.run(
        [sys.executable, "-c", CODE % second], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == -signal.Signals[second]
    assert "SIGTERM: finishing the step" in process.stdout
    assert "noted" in process.stdout and "never" not in process.stdout
    assert process.stderr == ""


def test_handlers_are_as_before_and_the_status_is_that_of_shells():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Signals() as signals:
        assert signals.received == 0
        os.kill(os.getpid(), signal.SIGINT)
    assert signals.received == signal.SIGINT
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert Interrupted(signal.SIGTERM, "").status == 143
    assert Interrupted(signal.SIGINT, "").status == 130


def test_another_thread_trains_without_signals():
    found = []

    def work():
        with Signals() as signals:
            found.append(signals.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0]
