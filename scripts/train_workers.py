"""Trains in several processes of this machine, as `train.py --strategy=multi_worker` does on hosts.

    python scripts/train_workers.py --workers=2 --config=configs/toy.py --workdir=runs/toy

Further flags are those of train.py. SIGINT and SIGTERM are passed on, SIGHUP (a terminal that is
closed) as SIGTERM: the workers finish their step, the first one saves, and the exit status is 130
or 143. So they do where this process dies, on Linux. A worker that dies takes the others with it,
and all are started again from the last checkpoint, until they have died `--attempts` times without
a new one. Any other exit status of a worker ends the others and is passed on.
"""

import early_interrupt  # noqa: F401

# isort: split
import argparse
import contextlib
import ctypes
import functools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import IO

LOST = 75  # exit status of a worker whose peer has ended: `strategies.WorkerLost`
INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
PATIENCE = 60.0  # seconds for the other workers, once one has ended as it was asked to


def free_addresses(number: int) -> list[str]:
    """Returns so many addresses of this machine at which nothing listens."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for opened in sockets:
            opened.bind(("localhost", 0))
        return [f"localhost:{opened.getsockname()[1]}" for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()


def tied_to_this_process() -> Callable[[], None] | None:
    """Returns what a child process calls to get SIGTERM when this one dies; None but on Linux."""
    if sys.platform != "linux":
        return None
    return functools.partial(_tie, ctypes.CDLL(None).prctl, os.getpid())


def _tie(prctl: Callable[[int, int], int], parent: int) -> None:
    prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG; kept by the program that is started then
    if os.getppid() != parent:  # which has died before that
        os._exit(128 + signal.SIGTERM)


class Job:
    """Processes that run the same command, each with the TF_CONFIG of its place among them.

    The first one, the chief, has the terminal; what the others complain of is kept.
    """

    def __init__(self, command: Sequence[str], workers: int):
        addresses = free_addresses(workers)
        self.complaints: list[IO[str]] = []
        self.processes = []
        for index in range(workers):
            task = {"type": "worker", "index": index}
            config = json.dumps({"cluster": {"worker": addresses}, "task": task})
            self.complaints.append(tempfile.TemporaryFile("w+"))  # noqa: SIM115
            self.processes.append(self.start(command, index, config))

    def start(self, command: Sequence[str], index: int, config: str) -> subprocess.Popen:
        """Starts the worker of an index, with its TF_CONFIG."""
        return subprocess.Popen(
            command,
            env={**os.environ, "TF_CONFIG": config},
            stdout=subprocess.DEVNULL if index else None,
            stderr=self.complaints[index] if index else None,
            start_new_session=True,  # Ctrl-C reaches them through `send` alone
            preexec_fn=tied_to_this_process(),
        )

    def send(self, signum: int) -> None:
        """Sends a signal to those that still run."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signum)

    def wait(self) -> int:
        """Waits for the first that fails, ends the others, and returns its status; 0 if none does.

        The status of one that a signal ended is that signal's number, below 0.
        """
        while None in (found := [process.poll() for process in self.processes]) and not any(found):
            time.sleep(0.05)
        first = next((index for index, status in enumerate(found) if status), 0)
        if found[first] in INTERRUPTED:  # so will the others, at the same step
            self._expect_end(PATIENCE)
        self.send(signal.SIGKILL)
        self._expect_end(None)
        if found[first] and first:
            self.complaints[first].seek(0)
            sys.stderr.write(self.complaints[first].read())
        for complaint in self.complaints:
            complaint.close()
        return found[first] or 0

    def _expect_end(self, seconds: float | None) -> None:
        end = time.monotonic() + (seconds or 0)
        for process in self.processes:
            try:
                process.wait(None if seconds is None else max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                return


def signals_to_pass_on() -> dict[int, int]:
    """Returns what the workers get for each signal.

    A second one would end them at once, so that the several SIGHUP of a terminal that is closed are
    passed on as one; under `nohup`, which ignores them, as none.
    """
    passed: dict[int, int] = {number: number for number in (signal.SIGINT, signal.SIGTERM)}
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        passed[signal.SIGHUP] = signal.SIGTERM
    return passed


def run(command: Sequence[str], workers: int, workdir: str, attempts: int) -> int:
    """Runs a command in so many workers, again after a death, and returns its exit status."""
    received: list[int] = []
    job: Job | None = None

    def pass_on(signum: int, frame: FrameType | None) -> None:
        passed = passed_on[signum]
        if passed == signum or not received:
            received.append(passed)
            if job is not None:
                job.send(passed)

    passed_on = signals_to_pass_on()
    before = {number: signal.signal(number, pass_on) for number in passed_on}
    deaths = 0
    try:
        while True:
            newest = _newest(workdir)
            job = Job(command, workers)
            if received:  # between the last job and this one
                job.send(received[0])
            status = job.wait()
            if status >= 0 and status != LOST:
                return status
            if received:
                return 128 + received[0]
            deaths = 1 if _newest(workdir) != newest else deaths + 1
            name = f"status {status}" if status > 0 else signal.Signals(-status).name
            if deaths == attempts:
                print(
                    f"train_workers.py: Expected workers that go on. Received: {attempts} deaths "
                    f"without a new checkpoint in {workdir}, the last one with {name}.",
                    file=sys.stderr,
                )
                return status if status > 0 else 128 - status
            with contextlib.suppress(OSError):  # of a terminal that is gone
                print(f"A worker has died ({name}); all start again.", flush=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _newest(workdir: str) -> int:
    """When the newest checkpoint was written, in nanoseconds; 0 without one."""
    files = pathlib.Path(workdir).glob("checkpoint*.npz")
    return max((path.stat().st_mtime_ns for path in files), default=0)


def main() -> int:
    """Parses the flags that aren't train.py's, and returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--workers", type=int, default=2, help="processes, 2 by default")
    parser.add_argument("--attempts", type=int, default=3, help="deaths without a checkpoint, 3")
    parser.add_argument("--workdir", required=True, help="directory of the run")
    known, flags = parser.parse_known_args()
    if min(known.workers, known.attempts) < 1:
        parser.error(f"Expected 1 or more workers and attempts. Received: {vars(known)}.")
    if given := [flag for flag in flags if re.fullmatch("--?strategy(=.*)?", flag)]:
        parser.error(
            f"Expected no --strategy, which is multi_worker here. Received: {given[0]}. Leave it "
            "out, or train by train.py."
        )
    script = str(pathlib.Path(__file__).with_name("train.py"))
    flags = [*flags, "--strategy=multi_worker", f"--workdir={known.workdir}"]
    return run([sys.executable, script, *flags], known.workers, known.workdir, known.attempts)


if __name__ == "__main__":
    sys.exit(main())
