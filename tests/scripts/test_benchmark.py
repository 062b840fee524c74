"""The benchmark: both sides compute the same function of the same weights, and time its parts."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from comparisons import step_profile, workloads

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
SMALL = {
    "perceptrons": "Perceptrons(size=3, blocks=2, width=8, batch=5)",
    "convolutions": "Convolutions(width=8, blocks=2, size=6, channels=4, batch=5)",
}
# What a side makes of a workload, in a process of its own: the two libraries don't share one.
# With a gain below the coefficient neither side scales its kernels, so that they are the same.
SIDE = """
import json, sys
import numpy as np
from comparisons import workloads
workloads.GAIN = float(sys.argv[3])
workload = eval(sys.argv[2], vars(workloads))
if sys.argv[1] == "ours":
    from comparisons.ours import Ours as Side
else:
    from comparisons.normflows_peer import Peer as Side
side = Side(workload)
if sys.argv[1] == "ours":  # its probes are the same at each call without a seed
    draws = [side.flow.log_prob(side.data, seed=[i, 0]).numpy().tolist() for i in range(40)]
else:
    draws = [side.log_prob().tolist() for _ in range(40)]
print(json.dumps([side.invert().tolist(), side.truth().tolist(), draws]))
"""


def ask(side, workload, gain):
    """Inverse, true inverse and 40 draws of the log-density, of a batch."""
    path = f"{SCRIPTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    process = subprocess.run(
        [sys.executable, "-c", SIDE, side, workload, str(gain)],
        capture_output=True, text=True, check=True, timeout=200,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    return [np.array(part) for part in json.loads(process.stdout.splitlines()[-1])]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("normflows"), reason="needs the extra [bench]")
@pytest.mark.parametrize("workload", SMALL)
def test_both_sides_compute_the_same(workload):
    (ours, our_truth, our_draws), (peer, truth, draws) = (
        ask(side, SMALL[workload], 0.5) for side in ("ours", "peer")
    )
    np.testing.assert_allclose(our_truth, truth, atol=1e-5)
    np.testing.assert_allclose(ours, truth, atol=1e-3)
    np.testing.assert_allclose(peer, truth, atol=1e-2)  # its stop compares a squared step
    errors = [np.std(d, axis=0, ddof=1) / np.sqrt(len(d)) for d in (our_draws, draws)]
    difference = np.mean(our_draws, axis=0) - np.mean(draws, axis=0)
    assert (np.abs(difference) < 4.5 * np.hypot(*errors) + 1e-3).all()


@pytest.mark.parametrize("workload", workloads.WORKLOADS.values(), ids=workloads.WORKLOADS)
def test_every_kernel_is_beyond_the_coefficient(workload):
    """By power iteration with the zero-padded convolution as a sum of shifted products."""
    random = np.random.default_rng(3)
    for shape in workload.kernel_shapes:
        kernel = workload.kernel(random, shape)
        kernel = kernel.reshape((1,) * (4 - kernel.ndim) + kernel.shape)
        rows, reach = (16 if len(shape) == 4 else 1), kernel.shape[0] // 2
        x = random.standard_normal((rows, rows, shape[-2]))
        for _ in range(30):
            x = correlate(correlate(x / np.linalg.norm(x), kernel, reach), adjoint(kernel), reach)
        assert workloads.COEFFICIENT < np.sqrt(np.linalg.norm(x)) <= workloads.GAIN + 1e-9


def correlate(x, kernel, reach):
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)))
    rows, columns = x.shape[:2]
    return sum(
        padded[i : i + rows, j : j + columns] @ kernel[i, j]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    )


def adjoint(kernel):
    return kernel[::-1, ::-1].swapaxes(2, 3)


@pytest.mark.slow
def test_the_parts_of_a_step_add_up_to_it(capsys):
    workload = workloads.Perceptrons(size=3, blocks=2, width=8, batch=5)
    rows = step_profile.compare({"small": workload}, rounds=2)
    assert [row["part"] for row in rows] == list(step_profile.PARTS)
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    printed = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["part"] for line in printed if line.startswith("{")] == list(
        step_profile.PARTS
    )
    assert any("a training step" in line for line in printed)


def test_workloads_of_a_suite_that_has_no_choice_are_refused():
    command = [sys.executable, SCRIPTS / "benchmark.py", "--suite=latency", "--workload=mlp2"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode != 0
    assert "--workload has no effect on --suite=latency" in process.stdout + process.stderr
