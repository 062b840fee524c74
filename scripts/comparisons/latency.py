"""What a call costs: at other sizes of a batch, through other doors, and compiled by XLA.

python scripts/benchmark.py --suite=latency
"""

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from comparisons import table
from tf_iresnet import mlp_flow
from tf_iresnet.models.flow import ResidualFlow

SIZES, BATCH, ROUNDS = 50, 64, 21
METHODS = ("log_prob", "encode", "decode", "sample")
SIZE_COLUMNS = (
    table.Column("method", "{method}", ("method",)),
    table.Column("first call, s", "{first:.2f}", ("first",)),
    table.Column("50 equal sizes, s", "{equal:.3f}", ("equal",)),
    table.Column("50 different ones, s", "{different:.3f}", ("different",)),
    table.Column("ratio", "{ratio:.2f}", ("ratio",)),
)
COMPILED_COLUMNS = (
    table.Column("decode of", "{rows}", ("rows",)),
    table.Column("plain, ms", "{plain:.1f}", ("plain",)),
    table.Column("compiled, ms", "{compiled:.1f}", ("compiled",)),
    table.Column("to compile, s", "{first:.1f}", ("first",)),
    table.Column("pays after, s of plain calls", "{pays:.1f}", ("pays",)),
)
DOOR_COLUMNS = (
    table.Column("call", "{call}", ("call",)),
    table.Column("median, ms", "{milliseconds:.2f}", ("milliseconds",)),
    table.Column("of the flow's own", "{ratio:.2f}", ("ratio",)),
)


def compare(workdir: str) -> None:
    """Prints the tables; nothing is kept, so that `workdir` isn't used."""
    del workdir
    flow = mlp_flow(2, hidden_units=(64, 64), activation="sine", seed=0)
    flow.store_norms()
    print(table.text(SIZE_COLUMNS, [size_row(flow, method) for method in METHODS]))
    print(table.text(DOOR_COLUMNS, door_rows(flow)))
    print(table.text(COMPILED_COLUMNS, [compiled_row(flow, rows) for rows in (16, 64, 256, 1024)]))


def size_row(flow: ResidualFlow, method: str) -> dict[str, Any]:
    """50 calls of one size, the mean of 50 other sizes, and 50 of these."""
    random = np.random.default_rng(0)
    sizes = random.permutation(np.arange(BATCH - SIZES // 2, BATCH + SIZES // 2))
    x = random.normal(size=(2 * BATCH, 2)).astype(np.float32)

    def call(size: int) -> None:
        argument = int(size) if method == "sample" else x[:size]
        getattr(flow, method)(argument).numpy()

    first = seconds(call, [BATCH])
    equal = seconds(call, [BATCH] * SIZES)
    different = seconds(call, sizes)
    ratio = different / equal
    return {
        "method": method,
        "first": first,
        "equal": equal,
        "different": different,
        "ratio": ratio,
    }


def seconds(call: Callable[[int], None], sizes: Any) -> float:
    start = time.perf_counter()
    for size in sizes:
        call(size)
    return time.perf_counter() - start


def compiled_row(flow: ResidualFlow, rows: int) -> dict[str, Any]:
    """Decoding by a trace and by XLA; when compiling has paid, by how long plain calls took."""
    z = np.random.default_rng(2).normal(size=(rows, 2)).astype(np.float32)
    found: dict[str, Any] = {"rows": rows}
    for name, jit_compile in (("plain", False), ("compiled", True)):
        flow.compile("adam", jit_compile=jit_compile)
        found["first"] = seconds(lambda _: flow.decode(z).numpy(), [rows])
        times = [seconds(lambda _: flow.decode(z).numpy(), [rows]) for _ in range(ROUNDS)]
        found[name] = 1e3 * statistics.median(times)
    saved = 1 - found["compiled"] / found["plain"]
    return {**found, "pays": found["first"] / saved if saved > 0 else float("inf")}


def door_rows(flow: ResidualFlow) -> list[dict[str, Any]]:
    """TFP's methods and a call of the model beside the flow's methods, in turns."""
    x = tf.constant(np.random.default_rng(1).normal(size=(BATCH, 2)), tf.float32)
    distribution = flow.distribution()
    groups: list[dict[str, Callable[[], Any]]] = [
        {
            "flow.log_prob(x)": lambda: flow.log_prob(x),
            "flow(x)": lambda: flow(x),
            "distribution.log_prob(x)": lambda: distribution.log_prob(x),
            "flow.distribution().log_prob(x)": lambda: flow.distribution().log_prob(x),
        },
        {
            "flow.sample(64)": lambda: flow.sample(BATCH, seed=1),
            "distribution.sample(64)": lambda: distribution.sample(BATCH, seed=1),
        },
    ]
    rows = []
    for calls in groups:
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for round_, (name, call) in itertools.product(range(ROUNDS + 2), calls.items()):
            start = time.perf_counter()
            call().numpy()
            if round_ >= 2:
                taken[name].append(1e3 * (time.perf_counter() - start))
        medians = {name: statistics.median(times) for name, times in taken.items()}
        own = next(iter(medians.values()))
        rows += [
            {"call": name, "milliseconds": median, "ratio": median / own}
            for name, median in medians.items()
        ]
    return rows
