"""Where the time of a training step goes.

    python scripts/benchmark.py --profile --workload=mlp16

Functions of growing extent are timed in turns; a part is what one takes beyond the one before.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from comparisons import table
from comparisons.ours import Ours
from comparisons.workloads import Workload
from tf_iresnet.models.flow import ResidualFlow

PARTS = {
    "normalise": "the kernels of every layer",
    "evaluate": "the branches and the base",
    "products": "those of the log-determinant",
    "gradient": "the backward pass",
    "optimizer": "the update and the metrics",
}
COLUMNS = (
    table.Column("part", "{part}, {what}", ("part",)),
    table.Column("ms", "{milliseconds:.2f}", ("milliseconds",)),
    table.Column("share", "{share:.0%}", ("share",)),
)


def compare(workloads: Mapping[str, Workload], rounds: int) -> list[dict[str, Any]]:
    """Prints a JSON line per workload and part, and a table per workload; returns the rows.

    Args:
        workloads: by name.
        rounds: measurements of each function; a row has the difference of two medians, which noise
            can make negative where the part is small.
    """
    rows = []
    for name, workload in workloads.items():
        ours = Ours(workload)
        totals = medians(functions(ours), rounds)
        step = totals["optimizer"]
        found: list[dict[str, Any]] = []
        for (part, total), before in zip(totals.items(), (0.0, *totals.values()), strict=False):
            taken = total - before
            row = {"workload": name, "part": part, "milliseconds": taken, "share": taken / step}
            print(json.dumps({"suite": "profile", **row}), flush=True)
            found.append({**row, "what": PARTS[part]})
        print(f"\n{name}, a training step: {step:.1f} ms\n\n{table.text(COLUMNS, found)}\n")
        rows += found
    return rows


def functions(ours: Ours) -> dict[str, Callable[[], Any]]:
    """Returns a function for each of `PARTS`, that does this part and all before it.

    They are compiled as the training step is, and what they return keeps their work alive.
    """
    flow, x, seed = ours.flow, tf.constant(ours.data), tf.constant([0, 0])

    def forward() -> tuple[tf.Tensor, tf.Tensor]:
        return flow.layer.forward_with_log_det(x, training=True, seed=seed)

    def loss_and_gradients() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            z, log_det = forward()
            loss = -tf.reduce_mean(flow.base.log_prob(z) + log_det)
        return loss, tape.gradient(loss, flow.trainable_weights)

    stages = {
        "normalise": lambda: tf.nest.flatten(flow.layer.bind(training=True)),
        "evaluate": lambda: flow.base.log_prob(flow.layer.call(x, training=True)),
        "products": lambda: (lambda z, log_det: flow.base.log_prob(z) + log_det)(*forward()),
        "gradient": loss_and_gradients,
    }
    compiled: dict[str, Callable[[], Any]] = {
        name: tf.function(stage, autograph=False, jit_compile=_compiles(flow))
        for name, stage in stages.items()
    }
    return compiled | {"optimizer": ours.train_step}


def _compiles(flow: ResidualFlow) -> bool:
    flow.make_train_function()
    return bool(flow.jit_compile)


def medians(stages: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Returns the median time of each function in milliseconds, after two calls of each."""
    times: dict[str, list[float]] = {name: [] for name in stages}
    for stage in stages.values():
        for _ in range(2):  # traces, compiles
            stage()
    for _ in range(rounds):
        for name, stage in stages.items():
            start = time.perf_counter()
            stage()
            tf.test.experimental.sync_devices()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(taken) for name, taken in times.items()}
