"""SIGINT and SIGTERM while a run trains: it finishes the step, saves, and says how to go on."""

import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; the end of a job, or of a machine


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

    Outside of the main thread, where Python knows no signals, nothing is noted.

    Attributes:
        received: the number of the signal; 0 if there was none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._note) for signum in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)  # in the hands of the system: at once
        name = signal.Signals(signum).name
        print(f"\n{name}: finishing the step; once more to stop at once.", flush=True)
