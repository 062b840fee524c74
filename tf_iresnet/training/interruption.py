"""Signals while a run trains: it finishes the step, saves, and says how to go on."""

import os
import signal
import threading
from types import FrameType
from typing import Any

# Ctrl-C; the end of a job, or of a machine; a terminal that is closed, which Windows doesn't tell.
_SIGNALS = [n for n in signal.Signals if n.name in ("SIGINT", "SIGTERM", "SIGHUP")]


class Interrupted(KeyboardInterrupt):
    """Training was ended by a signal, after a checkpoint. The message says how to go on.

    Attributes:
        status: exit status of a process that ends for it: 128 + the signal's number.
    """

    def __init__(self, signum: int, text: str):
        super().__init__(text)
        self.status = 128 + signum


class Signals:
    """Notes a first signal while its `with` block runs; a second one ends the process at once.

    But not a second SIGHUP: a terminal that is closed sends several. After the first signal nothing
    is printed to a terminal that is gone. Outside of the main thread, where Python knows no
    signals, nothing is noted; nor is SIGHUP where it is ignored, as by `nohup`.

    Attributes:
        received: the number of the signal; 0 if there was none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}
        self._terminals = [number for number in (1, 2) if os.isatty(number)]

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for signum in _SIGNALS:
                if signum.name != "SIGHUP" or signal.getsignal(signum) != signal.SIG_IGN:
                    self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum
        for number in self._before:  # the next one is in the hands of the system: at once
            again = signal.SIG_IGN if signal.Signals(number).name == "SIGHUP" else signal.SIG_DFL
            signal.signal(number, again)
        for number in self._terminals:
            if not os.isatty(number):  # closed: writing there is an error, and the run isn't saved
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        name = signal.Signals(signum).name
        print(f"\n{name}: finishing the step; once more to stop at once.", flush=True)
