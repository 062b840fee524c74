"""Loads TensorFlow, without what it logs about itself; scripts import this before the library.

TensorFlow's libraries log that they use oneDNN, and that they find no GPU, before they read any
setting: TF_CPP_MIN_LOG_LEVEL silences only what comes later. Lines of information and warnings, and
the errors that say no more than that there is no GPU, are left out until TensorFlow is loaded and
has looked for devices. All other lines are shown, also those of a process that crashes meanwhile.
What TensorFlow's own Python logs begins with warnings.
"""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# absl's prefix is the severity and the date, which is 0000 before its initialisation.
NOISE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|[IW]\d{4} |\d{4}-\d\d-\d\d [\d:.]+: [IW] "
    rb"|(E\d{4} |\d{4}-\d\d-\d\d [\d:.]+: E ).*"
    rb"(Unable to register cu\w+ factory|cuInit: .*(\(303\)|no CUDA-capable device))"
)


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Leaves lines of NOISE out of what this process writes to its standard error."""
    if not hasattr(os, "fork") or sys.stderr is None:  # Windows, or a closed standard error
        yield
        return
    receive, send = os.pipe()
    sys.stderr.flush()
    reader = os.fork()  # a process of its own outlives a crash of this one
    if reader == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.close(send)
        with open(receive, "rb") as lines:
            for line in lines:
                if not NOISE.match(line):
                    os.write(2, line)
        os._exit(0)
    os.close(receive)
    before = os.dup(2)
    os.dup2(send, 2)
    os.close(send)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        os.waitpid(reader, 0)


if "tensorflow" not in sys.modules:
    with without_noise():
        import tensorflow as tf

        tf.config.list_physical_devices()  # which CUDA has more to say about
    tf.get_logger().setLevel("WARNING")  # of each collective operation otherwise
