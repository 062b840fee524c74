"""The estimators of a log-determinant beside one another: bias, noise, products and time.

python scripts/benchmark.py --suite=estimators --workdir=runs
"""

import dataclasses
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from comparisons import solvers, table
from comparisons.configs import load_config
from tf_iresnet.layers import BoundFunction
from tf_iresnet.layers.invertible import BlockCopy
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.numerics import log_det
from tf_iresnet.numerics.probes import fold_in
from tf_iresnet.training import plots
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.train import train_and_evaluate
from tf_iresnet.training.workdir import write_atomically

BATCH = 128
TERMS = 1000  # stand for all
ESTIMATORS: dict[str, log_det.LogDet] = {
    "exact": log_det.Exact(),
    "series, 4": log_det.PowerSeries(4),
    "series, 8": log_det.PowerSeries(8),
    "series, 13": log_det.PowerSeries(13),
    "series, 20": log_det.PowerSeries(20),
    "krylov, 4": log_det.Krylov(4),
    "krylov, 6": log_det.Krylov(6),
    "krylov, 8": log_det.Krylov(8),
    "krylov, to 1e-4": log_det.Krylov(24, tolerance=1e-4),
    "krylov, 8, gaussian": log_det.Krylov(8, probe="gaussian"),
    "krylov, 8, trace by probes": log_det.Krylov(8, exact_trace=False),
    "krylov, 8, 12 probes": log_det.Krylov(8, probes=12),
    "krylov, 8, 12 orthogonal": log_det.Krylov(8, probes=12, probe="orthogonal"),
    "roulette": log_det.RussianRoulette(),
    "roulette, 4 exact": log_det.RussianRoulette(exact_terms=4),
}
COLUMNS = (
    table.Column("blocks", "{problem}", ("problem",)),
    table.Column("estimator", "{estimator}", ("estimator",)),
    table.Column("products", "{products:.3g}", ("products",)),
    table.Column("bias", "{bias:+.1e} ± {bias_error:.0e}", ("bias", "bias_error")),
    table.Column("noise", "{noise:.1e}", ("noise",)),
    table.Column("cut off", "{cut_off:.1e}", ("cut_off",)),
    table.Column("bound on it", "{bound:.1e}", ("bound",)),
    table.Column("of gradient", "{gradient_cut_off:.1e}", ("gradient_cut_off",)),
    table.Column("time, ms", "{milliseconds:.1f}", ("milliseconds",)),
)
DOUBLE: dict[str, Any] = {"dtype": tf.float64, "gradient": True}
STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20)  # products, in the picture


class Branch(NamedTuple):
    """A block's branch and the inputs that reach it."""

    g: BoundFunction
    lipschitz: float
    x: tf.Tensor


def compare(
    workdir: str | os.PathLike[str],
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    rounds: int = 9,
    draws: int = 16,
) -> list[dict[str, Any]]:
    """Prints a JSON line for each estimator and problem, then the table; writes it and a picture.

    Args:
        workdir: gets estimators.csv and estimators.png; the flow is that of the run in its
            `digits`, which is made if it isn't there.
        changes: section of configs/digits.py → fields to change.
        rounds: evaluations that are timed, the estimators in turns.
        draws: of the probes, for bias and noise.

    Returns:
        The rows of the table, in nats a network, all its blocks together. `bias` is the mean of all
        draws and examples less the log-determinant in float64, with its standard error; `noise` the
        standard deviation of a draw for the same example; `cut_off` the largest distance of an
        example to all terms with the same probes, in float64, and `bound` what was proven of it.
        `gradient_cut_off` is that of the gradient in the inputs, relative to its norm.
    """
    root = pathlib.Path(workdir)
    train_and_evaluate(load_config("digits", changes=changes), root / "digits")
    problems = {
        "trained digits": SavedRun(str(root / "digits")).flow,
        "strongly contracting": solvers.strongly_contracting(),
        "nearly singular": solvers.nearly_singular(),
        "512 units": solvers.strongly_contracting(size=64, width=512, blocks=2),
    }
    rows, curves = [], {}
    for name, flow in problems.items():
        branches = branches_of(flow)
        truth = network(branches, log_det.Exact(), tf.float64)(0)[0].numpy()
        whole = network(branches, log_det.PowerSeries(TERMS), **DOUBLE)(0)
        times = milliseconds(branches, rounds)
        for estimator in ESTIMATORS:
            row = {"problem": name, "estimator": estimator, "milliseconds": times[estimator]}
            rows.append(row | figures(branches, ESTIMATORS[estimator], truth, whole, draws))
            print(json.dumps({"suite": "estimators", **rows[-1]}), flush=True)
        curves[name] = {
            label: (
                list(STEPS),
                [cut_off(branches, make(n), whole)["cut_off"] for n in STEPS],
            )
            for label, make in (("series", log_det.PowerSeries), ("krylov", log_det.Krylov))
        }
    print(f"\n{table.text(COLUMNS, rows)}")
    print(f"Table: {table.write_csv(root / 'estimators.csv', COLUMNS, rows)}")
    picture = plots.curves(curves, "products of a block", "largest error for these probes, nats")
    write_atomically(root / "estimators.png", plots.png(picture))
    print(f"Errors against products: {root / 'estimators.png'}")
    return rows


def branches_of(flow: ResidualFlow) -> list[Branch]:
    """The branches of a flow's residual blocks, with their inputs on the way to its own samples."""
    found = []

    def add(copy: BlockCopy, x: tf.Tensor) -> None:
        found.append(Branch(copy.bound, copy.block.lipschitz, x))

    flow.layer.visit_blocks(flow.decode(flow.base.sample(BATCH, tf.constant([0, 0]))), add)
    return found


Whole = tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]
Network = Callable[[int], Whole]


def network(
    branches: Sequence[Branch],
    estimator: log_det.LogDet,
    dtype: tf.DType = tf.float32,
    training: bool = False,
    gradient: bool = False,
) -> Network:
    """A function of a seed: the blocks' log-determinants added up, the bounds, the gradients.

    The value and the bound of what it lacks are `[batch]`; the gradients are in a block's input.
    """

    if gradient:  # that of training, whose truncation isn't bounded
        estimator = dataclasses.replace(estimator, gradient="neumann")  # type: ignore[type-var]

    @tf.function(autograph=False)
    def one(x, seed, *tensors):
        g = tf.nest.pack_sequence_as(branches[0].g, tensors)  # blocks of one shape differ in these
        with tf.GradientTape() as tape:
            tape.watch(x)
            _, value, bound = estimator(g, x, seed, training, branches[0].lipschitz)
        slope = tape.gradient(value, x) if gradient else x
        return value, bound, slope

    cast = [
        [tf.cast(t, dtype) for t in (branch.x, *tf.nest.flatten(branch.g))] for branch in branches
    ]

    def run(seed: int) -> Whole:
        values, bounds, slopes = zip(
            *(
                one(x, fold_in(tf.constant([seed, 0]), index), *tensors)
                for index, (x, *tensors) in enumerate(cast)
            ),
            strict=True,
        )
        return tf.add_n(values), tf.add_n(bounds), list(slopes)

    return run


def figures(
    branches: Sequence[Branch],
    estimator: log_det.LogDet,
    truth: np.ndarray,
    whole: Whole,
    draws: int,
) -> dict[str, Any]:
    """What an estimator is worth on a network whose log-determinants are known."""
    size = int(np.prod(branches[0].x.shape[1:]))
    run = network(branches, estimator)
    values = np.stack([run(seed)[0].numpy() for seed in range(draws)]).astype(np.float64) - truth
    by_draw = values.mean(axis=1)
    row: dict[str, Any] = {
        "products": products(estimator, size, branches[0].lipschitz),
        "bias": float(by_draw.mean()),
        "bias_error": float(by_draw.std(ddof=1) / np.sqrt(draws)),
        "noise": float(np.sqrt(values.var(axis=0, ddof=1).mean())),
    }
    # Whose probes are those of `whole`.
    if isinstance(estimator, (log_det.PowerSeries, log_det.Krylov)) and (
        estimator.probes == 1 and estimator.probe == "rademacher" and estimator.exact_trace
    ):
        row |= cut_off(branches, estimator, whole)
    return row


def cut_off(
    branches: Sequence[Branch], estimator: log_det.LogDet, whole: Whole
) -> dict[str, float]:
    """By how much an estimator is off all terms with the same probes, and what it says of that."""
    value, _, slopes = whole
    found, bound, found_slopes = network(branches, estimator, **DOUBLE)(0)
    errors = [np.linalg.norm(a - b, axis=1) for a, b in zip(found_slopes, slopes, strict=True)]
    sizes = [np.linalg.norm(b, axis=1) for b in slopes]
    return {
        "cut_off": float(np.abs(found - value).max()),
        "bound": float(np.max(bound)),
        "gradient_cut_off": float(np.sum(errors) / np.sum(sizes)),
    }


def products(estimator: log_det.LogDet, size: int, lipschitz: float) -> float | None:
    """Products of a block and example; the mean where it is random, None where it isn't known."""
    if isinstance(estimator, log_det.Exact):
        return size
    if isinstance(estimator, log_det.PowerSeries):
        return estimator.terms * estimator.probes
    if isinstance(estimator, log_det.RussianRoulette):
        survival = estimator.survival_at(lipschitz)
        return estimator.probes * (estimator.exact_terms + survival / (1 - survival))
    if isinstance(estimator, log_det.Krylov) and estimator.tolerance is None:
        return estimator.probes * min(estimator.steps, size)
    return None


def milliseconds(branches: Sequence[Branch], rounds: int) -> dict[str, float]:
    """Median time of all blocks' log-determinants, by estimator; these take turns."""
    runs = {name: network(branches, estimator) for name, estimator in ESTIMATORS.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(0)  # traces
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(0)[0].numpy()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(taken) for name, taken in times.items()}
