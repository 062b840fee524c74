"""Measures tf_iresnet beside normflows, and its own methods beside one another.

    pip install tf_iresnet[bench]
    python scripts/benchmark.py --suite=train_step --suite=first_step --suite=sample
    python scripts/benchmark.py --suite=estimators --suite=inverse --workdir=runs

Beside normflows: the same weights, products and true error. Each side lives in a process of its own
and is asked for one measurement at a time, ours and the peer's in turns, so a machine that slows
down slows both. Prints one JSON line a workload with the medians in milliseconds, then a table.

Suites of our own methods write tables and pictures into --workdir, and train there what they need:
runs/digits is used, if that run is there.
"""

import dataclasses
import importlib
import json
import statistics
import subprocess
import sys
import time

import numpy as np
from absl import app, flags

SUITES = ("train_step", "first_step", "sample")
# Of our own methods, in this process: modules of scripts/comparisons with a compare(workdir).
OWN_SUITES = {"estimators": "estimators", "inverse": "solvers"}
PRODUCTS = 4  # terms of the series in training, both sides
COEFFICIENT = 0.97
TRUE_ERROR = 1e-4  # largest Euclidean error of an inverted example, against float64


@dataclasses.dataclass(frozen=True)
class Workload:
    """`blocks` residual perceptrons `size – width×4 – size` with LipSwish before every layer."""

    size: int
    blocks: int
    width: int = 128
    batch: int = 500

    @property
    def widths(self) -> list[int]:
        return [self.size, *[self.width] * 4, self.size]

    def weights(self) -> list[list[tuple[np.ndarray, np.ndarray]]]:
        """Kernels `[inputs, outputs]` and biases of each layer of each block, saturated.

        Every singular value of every kernel is beyond the coefficient, as after training. The
        biases move the units to where their slopes lie between a half and one.
        """
        random = np.random.default_rng(0)

        def layer(inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
            left, _, right = np.linalg.svd(random.standard_normal((inputs, outputs)), False)
            return 1.5 * left @ right, random.uniform(0, 2, outputs)

        shapes = list(zip(self.widths[:-1], self.widths[1:], strict=True))
        return [[layer(*shape) for shape in shapes] for _ in range(self.blocks)]

    def data(self) -> np.ndarray:
        return np.random.default_rng(1).standard_normal((self.batch, self.size)).astype("float32")


WORKLOADS = {"mlp2": Workload(size=2, blocks=100), "mlp16": Workload(size=16, blocks=10)}

SUITE = flags.DEFINE_multi_enum("suite", SUITES, [*SUITES, *OWN_SUITES], "What to measure.")
WORKDIR = flags.DEFINE_string("workdir", "runs/benchmark", "Directory for our own suites.")
WORKLOAD = flags.DEFINE_multi_enum("workload", list(WORKLOADS), WORKLOADS, "On which model.")
ROUNDS = flags.DEFINE_integer("rounds", 9, "Measurements of each side.", lower_bound=1)
WORKER = flags.DEFINE_enum("worker", None, ["ours", "peer"], "Internal: serve measurements.")


class Ours:
    """tf_iresnet."""

    def __init__(self, workload: Workload, dtype: str = "float32", tolerance: float = 1e-5):
        import keras

        from tf_iresnet import ResidualFlow, layers, log_det

        branch = [layers.LipSwish(dtype=dtype)]
        for units in workload.widths[1:]:
            last = len(branch) == len(workload.widths) - 1
            activation = None if last else "lipswish"
            branch.append(
                layers.SpectralDense(units, COEFFICIENT, activation=activation, dtype=dtype)
            )
        block = layers.ResidualBlock(
            branch, log_det.PowerSeries(PRODUCTS), tolerance=tolerance, dtype=dtype
        )
        blocks = layers.Repeated(block, workload.blocks, dtype=dtype)
        self.flow = ResidualFlow(blocks, dtype=dtype)
        self.flow.build((None, workload.size))
        layer_by_layer = zip(*workload.weights(), strict=True)
        stacks = (np.stack(part) for layer in layer_by_layer for part in zip(*layer, strict=True))
        for weight in blocks.weights:
            if weight.name.endswith(("kernel", "bias")):
                weight.assign(next(stacks))
        self.flow.store_norms()
        self.flow.compile(optimizer=keras.optimizers.Adam(1e-6))
        self.workload, self.data = workload, workload.data()

    def train_step(self) -> None:
        self.flow.train_on_batch(self.data)

    def set_tolerance(self, tolerance: float) -> None:
        self.flow.layer.layer.tolerance = tolerance
        self.flow.reset_functions()

    def invert(self) -> np.ndarray:
        return self.flow.decode(self.data).numpy()

    def truth(self) -> np.ndarray:
        double = Ours(self.workload, "float64", tolerance=1e-11)
        double.flow.set_weights(self.flow.get_weights())
        double.flow.store_norms()
        return double.invert()


class Peer:
    """normflows on torch, in the configuration that saves memory (reduce_memory=True)."""

    def __init__(self, workload: Workload, tolerance: float = 1e-5):
        import normflows
        import torch

        self.torch, self.normflows, self.tolerance = torch, normflows, tolerance
        blocks = []
        for weights in workload.weights():
            net = normflows.nets.LipschitzMLP(
                workload.widths, lipschitz_const=COEFFICIENT, init_zeros=False
            )
            for layer, (kernel, bias) in zip(list(net.net)[1::2], weights, strict=True):
                layer.weight.data = torch.tensor(kernel.T.astype("float32").copy())
                layer.bias.data = torch.tensor(bias.astype("float32"))
            blocks.append(
                normflows.flows.Residual(net, reduce_memory=True, n_power_series=PRODUCTS)
            )
        base = normflows.distributions.DiagGaussian(workload.size, trainable=False)
        self.model = normflows.NormalizingFlow(base, blocks)
        normflows.utils.update_lipschitz(self.model, 200)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-6)
        self.data = torch.tensor(workload.data())

    def set_tolerance(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def train_step(self) -> None:
        self.model.train()
        self.optimizer.zero_grad()
        self.model.forward_kld(self.data).backward()
        self.optimizer.step()
        self.normflows.utils.update_lipschitz(self.model, 5)  # its own rule after each step

    def invert(self) -> np.ndarray:
        # Sampling inverts the blocks from the last one; the stop compares a squared step.
        self.model.eval()
        with self.torch.no_grad():
            y = self.data
            for block in reversed(self.model.flows):
                y = block.iresblock._inverse_fixed_point(y, self.tolerance, self.tolerance)
        return y.numpy()

    def truth(self) -> np.ndarray:
        data, tolerance = self.data, self.tolerance
        self.model.double()
        self.data, self.tolerance = data.double(), 1e-24
        result = self.invert()
        self.model.float()
        self.data, self.tolerance = data, tolerance
        return result


def serve(side: str, workload: Workload) -> None:
    """Answers each line on stdin with a JSON line: a method to time, or a tolerance to try."""
    model = {"ours": Ours, "peer": Peer}[side](workload)
    truth = None
    for line in sys.stdin:
        request = json.loads(line)
        if "tolerance" in request:
            model.set_tolerance(request["tolerance"])
        if request["do"] == "error":
            truth = model.truth() if truth is None else truth
            answer = float(np.max(np.linalg.norm(model.invert() - truth, axis=1)))
        else:
            time.sleep(0.5)  # the other side's idle threads may still be spinning
            start = time.perf_counter()
            for _ in range(request.get("times", 1)):
                getattr(model, request["do"])()
            answer = 1e3 * (time.perf_counter() - start) / request.get("times", 1)
        print(json.dumps(answer), flush=True)


class Worker:
    """A side in its own process."""

    def __init__(self, side: str, workload: str):
        command = [sys.executable, __file__, f"--worker={side}", f"--workload={workload}"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, do: str, **request: object) -> float:
        self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("A benchmark process ended early; its message is above.")
        return json.loads(answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def in_turns(sides: list[Worker], rounds: int, do: str, times: int) -> list[float]:
    """The median of each side over interleaved rounds, after two that don't count."""
    taken = [[side(do, times=times) for side in sides] for _ in range(rounds + 2)][2:]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def measure_train_step(workload: str, rounds: int) -> dict[str, float]:
    sides = [Worker("ours", workload), Worker("peer", workload)]
    times = 1 if WORKLOADS[workload].blocks > 50 else 10
    ours, peer = in_turns(sides, rounds, "train_step", times)
    for side in sides:
        side.close()
    return {"ours_ms": ours, "peer_ms": peer}


def measure_first_step(workload: str, rounds: int) -> dict[str, float]:
    """From the start of the process to the end of its first training step."""
    taken: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(min(rounds, 3)):
        for side, times in taken.items():
            start = time.perf_counter()
            worker = Worker(side, workload)
            worker("train_step")
            times.append(1e3 * (time.perf_counter() - start))
            worker.close()
    return {f"{side}_ms": statistics.median(times) for side, times in taken.items()}


def measure_sample(workload: str, rounds: int) -> dict[str, float]:
    """Inverting a batch of latents, each side at its loosest setting that keeps TRUE_ERROR."""
    sides = {"ours": Worker("ours", workload), "peer": Worker("peer", workload)}
    row: dict[str, float] = {}
    for name, side in sides.items():
        for exponent in range(40):
            tolerance = 10.0 ** (-exponent / 4)
            error = side("error", tolerance=tolerance)
            if error <= TRUE_ERROR:
                break
        row |= {f"{name}_tolerance": tolerance, f"{name}_error": error}
    times = 3 if WORKLOADS[workload].blocks > 50 else 20
    ours_ms, peer_ms = in_turns(list(sides.values()), rounds, "invert", times)
    for side in sides.values():
        side.close()
    return {"ours_ms": ours_ms, "peer_ms": peer_ms, **row}


def main(argv: list[str]) -> None:
    del argv
    if WORKER.value:
        serve(WORKER.value, WORKLOADS[WORKLOAD.value[0]])
        return
    for suite in SUITE.value:
        if suite in OWN_SUITES:
            comparison = importlib.import_module(f"comparisons.{OWN_SUITES[suite]}")
            comparison.compare(WORKDIR.value)
    beside_peer = [suite for suite in SUITE.value if suite in SUITES]
    if beside_peer:
        compare_with_peer(beside_peer)


def compare_with_peer(suites: list[str]) -> None:
    measures = {
        "train_step": measure_train_step,
        "first_step": measure_first_step,
        "sample": measure_sample,
    }
    rows = []
    for suite in suites:
        for workload in WORKLOAD.value:
            row = {"suite": suite, "workload": workload, **measures[suite](workload, ROUNDS.value)}
            row["ratio"] = row["ours_ms"] / row["peer_ms"]
            rows.append(row)
            print(json.dumps(row), flush=True)
    print(f"\n{'suite':<12}{'workload':<10}{'ours ms':>12}{'peer ms':>12}{'ratio':>8}")
    for row in rows:
        print(
            f"{row['suite']:<12}{row['workload']:<10}{row['ours_ms']:>12.1f}"
            f"{row['peer_ms']:>12.1f}{row['ratio']:>8.2f}"
        )


if __name__ == "__main__":
    app.run(main)
