"""Ctrl-C (SIGINT) while a script starts is one line and exit status 130; imported before all else.

Python would show where in the imports it happened, or hand the interruption to a library that turns
it into another error. Nothing is lost by an immediate end: nothing has been written. Once a script
runs, `tf_iresnet.training.cli.run` or the script itself deals with the signal.
"""

import os
import signal
import sys
from types import FrameType

STATUS = 128 + signal.SIGINT


def end(signum: int, frame: FrameType | None) -> None:
    """Ends the process with a line."""
    os.write(2, b"\nInterrupted.\n")
    os._exit(STATUS)


# In a process that has loaded libraries, such as that of the tests, the script is a guest. A
# process that ignores the signal, as one behind `nohup`, goes on to ignore it.
if "numpy" not in sys.modules and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end)
