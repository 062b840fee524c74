"""What every test shares: a reproducible TensorFlow on one thread, and its modes and dtypes."""

import collections
import gc
import json
import os
import pathlib
import signal

import pytest
from support.offline import refuse_the_network

refuse_the_network()

# Read when TensorFlow is loaded, here and in processes that tests start. One thread each, because
# pytest-xdist already runs a worker per core.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # workers share the GPU
for _pool in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")


def pytest_configure(config):
    """Settings that must come before TensorFlow's first operation."""
    only_distributes = getattr(config.option, "numprocesses", None)
    if only_distributes and not hasattr(config, "workerinput"):
        return  # the controller of pytest-xdist runs no test
    if config.option.markexpr == "not slow":
        # Small programs take longer to compile than to run; `make test-slow` optimises them.
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    import tensorflow as tf

    # Tolerances assume float32 products; on a GPU TensorFloat-32 would give 10 bits.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    cpu = tf.config.list_physical_devices("CPU")[0]
    # Two devices for tests of replicas; everything else runs on the first.
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    # Tracing makes so many objects that looking for garbage took a twelfth of all time.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


# Of a test in all modes and dtypes these are slow: every mode keeps a dtype, every dtype a mode.
SECOND_CASES = {("graph", "float64"), ("xla", "float32")}
# Of the cases of any other test those are slow that take longer than LONG, but for the quickest,
# which is slow from ALONE on.
LONG, ALONE = 1.0, 10.0  # seconds
SECONDS = pathlib.Path(__file__).parent / "seconds.json"  # of the long ones; --record renews it


def pytest_addoption(parser):
    """An option for who adds tests."""
    parser.addoption("--record", action="store_true", help="Write how long tests took.")


@pytest.hookimpl(tryfirst=True)  # before the slow ones are left out
def pytest_collection_modifyitems(config, items):
    """Marks what `make test` has no time for, since each compiled function takes seconds."""
    seconds = json.loads(SECONDS.read_text())
    cases = collections.defaultdict(list)
    for item in items:
        case = getattr(item, "callspec", None)
        if case and (case.params.get("mode"), case.params.get("dtype")) in SECOND_CASES:
            item.add_marker(pytest.mark.slow)
        elif not item.get_closest_marker("slow"):
            cases[item.nodeid.partition("[")[0]].append(item)
    for same in cases.values():
        first, *_ = sorted(same, key=lambda item: seconds.get(item.nodeid, 0.0))
        for item in same:
            if seconds.get(item.nodeid, 0.0) > (ALONE if item is first else LONG):
                item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter, config):
    """Renews the seconds of the tests that ran, if that is asked for."""
    if not config.getoption("--record"):
        return
    seconds = json.loads(SECONDS.read_text())
    for report in terminalreporter.getreports("passed"):
        if report.when == "call":
            seconds[report.nodeid] = round(report.duration, 1)
    long = {name: value for name, value in sorted(seconds.items()) if value > LONG}
    SECONDS.write_text(json.dumps(long, indent=0) + "\n")


@pytest.fixture(autouse=True)
def _reproducible():
    """The same global seeds for every test, whichever worker runs it and in whatever order."""
    import keras

    keras.utils.set_random_seed(20181102)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Name of a floating-point type."""
    return request.param


@pytest.fixture(params=["eager", "graph", "xla"])
def mode(request):
    """How TensorFlow runs a function: argument of `run_in_mode`."""
    return request.param


@pytest.fixture
def run_in_mode():
    """`run_in_mode(function, mode)`: the function as eager mode, a graph or XLA runs it."""
    import tensorflow as tf

    def wrap(function, mode):
        if mode == "eager":
            return function
        return tf.function(function, jit_compile=mode == "xla", autograph=False)

    return wrap


@pytest.fixture
def usual_signals():
    """Python's own handlers: a process under `nohup`, or behind `&`, begins with others."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    if hasattr(signal, "SIGHUP"):
        usual[signal.SIGHUP] = signal.SIG_DFL
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
