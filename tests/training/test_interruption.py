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

pytestmark = pytest.mark.usefixtures("usual_signals")

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


def start(code, descriptor):
    """A process that writes to a descriptor, in which `Signals` is known."""
    code = f"""
import os, runpy, signal, sys, time
Signals = runpy.run_path({str(PATH)!r})["Signals"]
{code}
"""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor
    )


def test_a_terminal_that_is_closed_ends_training_after_the_step():
    """Of its several signals none ends the process, nor does what is printed to it then."""
    pty = pytest.importorskip("pty")
    terminal, descriptor = pty.openpty()
    process = start(
        """
with Signals() as signals:
    print("ready", flush=True)
    while not signals.received:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGHUP)
    for stream in (sys.stdout, sys.stderr):
        print("saved", file=stream, flush=True)
    sys.exit(128 + signals.received)
""",
        descriptor,
    )
    os.close(descriptor)
    assert b"ready" in os.read(terminal, 100)
    os.close(terminal)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 129


def test_under_nohup_a_terminal_that_is_closed_changes_nothing():
    process = start(
        """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with Signals() as signals:
    os.kill(os.getpid(), signal.SIGHUP)
    assert signals.received == 0
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.received == signal.SIGTERM
assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
""",
        subprocess.DEVNULL,
    )
    assert process.wait(60) == 0


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
