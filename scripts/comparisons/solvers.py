"""The solvers of an inverse beside one another: work, time and errors, on trained and hard blocks.

python scripts/benchmark.py --suite=inverse --workdir=runs
"""

import json
import os
import pathlib
import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from comparisons import table
from comparisons.configs import load_config
from tf_iresnet.layers import BoundFunction, Repeated, ResidualBlock, SpectralDense
from tf_iresnet.layers.invertible import BlockCopy
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.numerics.fixed_point import Solution, solve
from tf_iresnet.training import plots
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.train import train_and_evaluate
from tf_iresnet.training.workdir import write_atomically

SOLVERS = ("picard", "anderson", "newton_krylov")
BATCH = 256
CAPS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 26, 34, 45)  # evaluations, in the picture
COLUMNS = (
    table.Column("blocks", "{problem}", ("problem",)),
    table.Column("solver", "{solver}", ("solver",)),
    table.Column("evaluations", "{evaluations:.1f}", ("evaluations",)),
    table.Column("most", "{most}", ("most",)),
    table.Column("products", "{products:.1f}", ("products",)),
    table.Column("time, ms", "{milliseconds:.1f}", ("milliseconds",)),
    table.Column("certified error", "{certified_error:.1e}", ("certified_error",)),
    table.Column("true error", "{true_error:.1e}", ("true_error",)),
    table.Column("not converged", "{failures}", ("failures",)),
)


class Solved(NamedTuple):
    """A block's branch and outputs to invert, with the solution in float64."""

    g: BoundFunction
    lipschitz: float
    y: tf.Tensor
    x: np.ndarray


def compare(
    workdir: str | os.PathLike[str],
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    rounds: int = 9,
) -> list[dict[str, Any]]:
    """Prints a JSON line for each solver and problem, then the table; writes it and a picture.

    Args:
        workdir: gets inverse.csv and inverse.png; the flow is that of the run in its `digits`,
            which is made if it isn't there.
        changes: section of configs/digits.py → fields to change.
        rounds: decodings that are timed, the solvers in turns.

    Returns:
        The rows of the table. Work is per block and example. `milliseconds` is the median
        time to decode a batch of 256 latents. The errors are the largest of any block and example:
        the certified one, and the distance to the solution in float64.
    """
    root = pathlib.Path(workdir)
    train_and_evaluate(load_config("digits", changes=changes), root / "digits")
    problems = {
        "trained digits": SavedRun(str(root / "digits")).flow,
        "strongly contracting": strongly_contracting(),
        "nearly singular": nearly_singular(),
    }
    rows, curves = [], {}
    for name, flow in problems.items():
        z = flow.base.sample(BATCH, tf.constant([0, 0]))
        blocks = solved(flow, z)
        times = decoding_times(flow, z, rounds)
        for solver in SOLVERS:
            row = {"problem": name, "solver": solver, "milliseconds": times[solver]}
            rows.append(row | figures(blocks, solver))
            print(json.dumps({"suite": "inverse", **rows[-1]}), flush=True)
        curves[name] = {solver: curve(blocks, solver) for solver in SOLVERS}
    print(f"\n{table.text(COLUMNS, rows)}")
    print(f"Table: {table.write_csv(root / 'inverse.csv', COLUMNS, rows)}")
    picture = plots.curves(
        curves,
        "evaluations and products of a block",
        "largest distance to the solution",
    )
    write_atomically(root / "inverse.png", plots.png(picture))
    print(f"Errors against work: {root / 'inverse.png'}")
    return rows


def strongly_contracting(size: int = 16, width: int = 128, blocks: int = 4) -> ResidualFlow:
    """Blocks whose layers have every singular value at the coefficient, as long training leaves it.

    A bound of .99³ on the branch, which a linear one would reach.
    """
    random = np.random.default_rng(0)
    return _of_kernels(
        [
            [
                _orthogonal(random, *shape)
                for shape in ((size, width), (width, width), (width, size))
            ]
            for _ in range(blocks)
        ],
        activation="lipswish",
        biases=random.uniform(0, 2, (blocks, 2, width)),
    )


def nearly_singular(size: int = 16, blocks: int = 4) -> ResidualFlow:
    """Blocks of g(x) = −c² Qᵀ tanh(Qx), c = .99: near 0 about −x, so that x + g(x) almost isn't."""
    random = np.random.default_rng(1)
    turns = [_orthogonal(random, size, size) for _ in range(blocks)]
    return _of_kernels(
        [[turn, -turn.T] for turn in turns],
        activation="tanh",
        biases=np.zeros((blocks, 1, size)),
    )


def _orthogonal(random: np.random.Generator, inputs: int, outputs: int) -> np.ndarray:
    left, _, right = np.linalg.svd(random.standard_normal((inputs, outputs)), False)
    return left @ right


def _of_kernels(
    kernels: Sequence[Sequence[np.ndarray]], activation: str, biases: np.ndarray
) -> ResidualFlow:
    """A flow of perceptrons with these kernels, brought to .99; the last layer has no bias."""
    shapes = [kernel.shape for kernel in kernels[0]]
    branch = [SpectralDense(outputs, 0.99, activation=activation) for _, outputs in shapes[:-1]]
    branch.append(SpectralDense(shapes[-1][1], 0.99))
    repeated = Repeated(ResidualBlock(branch), len(kernels))
    flow = ResidualFlow(repeated)
    flow.build((None, shapes[0][0]))
    for layer, stacked in zip(
        repeated.layer.branch.layers, zip(*kernels, strict=True), strict=True
    ):
        layer.kernel.assign(np.stack(stacked))
    for index, layer in enumerate(repeated.layer.branch.layers[:-1]):
        layer.bias.assign(biases[:, index])
    flow.store_norms()
    return flow


def solved(flow: ResidualFlow, z: tf.Tensor) -> list[Solved]:
    """The problems that the blocks of a flow solve to invert latents, in the forward order."""
    problems = []

    def add(copy: BlockCopy, x: tf.Tensor) -> None:
        g, y = copy.bound, x + copy.bound(x)
        double = tf.nest.map_structure(lambda tensor: tf.cast(tensor, tf.float64), g)
        options = {"lipschitz": copy.block.lipschitz, "tolerance": 1e-12}
        exact = solve(double, tf.cast(y, tf.float64), **options).value.numpy()
        problems.append(Solved(g, copy.block.lipschitz, y, exact))

    flow.layer.visit_blocks(flow.decode(z), add)
    return problems


def figures(blocks: Sequence[Solved], solver: str) -> dict[str, Any]:
    """Work and errors of a solver at the default tolerance, over all blocks and examples."""
    found = [solve(b.g, b.y, lipschitz=b.lipschitz, method=solver) for b in blocks]
    evaluations, products, errors, converged = (
        np.stack(field) for field in list(zip(*found, strict=True))[1:]
    )
    return {
        "evaluations": float(evaluations.mean()),
        "most": int(evaluations.max()),
        "products": float(products.mean()),
        "certified_error": float(errors.max()),
        "true_error": max(_distance(f, b).max() for f, b in zip(found, blocks, strict=True)),
        "failures": int((~converged).sum()),
    }


def curve(blocks: Sequence[Solved], solver: str) -> tuple[list[float], list[float]]:
    """Work per block and example, and the largest true error after it, for several caps."""
    work, errors = [], []
    for cap in CAPS:
        options: dict[str, Any] = {"tolerance": 0.0, "max_iterations": cap, "method": solver}
        found = [solve(b.g, b.y, lipschitz=b.lipschitz, **options) for b in blocks]
        work.append(float(np.mean([f.evaluations + f.products for f in found])))
        errors.append(max(_distance(f, b).max() for f, b in zip(found, blocks, strict=True)))
    return work, errors


def _distance(found: Solution, block: Solved) -> np.ndarray:
    difference = found.value.numpy().astype(np.float64) - block.x
    return np.linalg.norm(difference.reshape(len(difference), -1), axis=1)


def decoding_times(flow: ResidualFlow, z: tf.Tensor, rounds: int) -> dict[str, float]:
    """Median time in milliseconds in which a flow decodes, by solver; these take turns."""
    flows = {solver: _with_solver(flow, solver) for solver in SOLVERS}
    times: dict[str, list[float]] = {solver: [] for solver in SOLVERS}
    with warnings.catch_warnings():  # the table has a column of what isn't inverted
        warnings.filterwarnings("ignore", "(?s).*could not be inverted", RuntimeWarning)
        for copy in flows.values():
            copy.decode(z)  # traces and compiles
        for _ in range(rounds):
            for solver, copy in flows.items():
                start = time.perf_counter()
                copy.decode(z).numpy()
                times[solver].append(1e3 * (time.perf_counter() - start))
    return {solver: statistics.median(taken) for solver, taken in times.items()}


def _with_solver(flow: ResidualFlow, solver: str) -> ResidualFlow:
    copy = ResidualFlow.from_config(flow.get_config())
    copy.build((None, *flow.event_shape))
    copy.set_weights(flow.get_weights())
    for layer in copy._flatten_layers():
        if isinstance(layer, ResidualBlock):
            layer.solver = solver
    return copy
