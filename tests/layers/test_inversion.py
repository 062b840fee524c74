"""The report of an inverse, for every way to compose layers."""

import numpy as np
import pytest
import tensorflow as tf
from support.references import points, seeded_block

from tf_iresnet import layers

BATCH = 5


def residual(kind=layers.ResidualBlock, features=3, condition_size=None):
    return seeded_block(features, kind, coefficient=0.9, condition_size=condition_size)


def pair(**kwargs):
    return layers.InvertibleSequential([layers.Rescale(0.5, dtype="float64"), residual(**kwargs)])


# name → layer, event, number of solvers forward and back.
LAYERS = {
    "no solver": (lambda: layers.Rescale(0.5, dtype="float64"), (3,), (0, 0)),
    "residual": (residual, (3,), (0, 1)),
    "monotone": (lambda: residual(layers.MonotoneBlock), (3,), (1, 1)),
    "conditional": (lambda: residual(condition_size=2), (3,), (0, 1)),
    "sequential": (lambda: layers.InvertibleSequential([pair(), residual()]), (3,), (0, 2)),
    "repeated": (lambda: layers.Repeated(pair(condition_size=2), 3), (3,), (0, 3)),
    "repeated without a solver": (
        lambda: layers.Repeated(layers.ActNorm(dtype="float64"), 2), (3,), (0, 0),
    ),
    "repeated twice": (
        lambda: layers.Repeated(layers.Repeated(residual(layers.MonotoneBlock), 2), 3),
        (3,),
        (6, 6),
    ),
    "multi-scale": (
        lambda: layers.MultiScale(
            [[layers.Squeeze(dtype="float64"), residual(features=4)], residual(features=2)]
        ),
        (4, 2, 1),
        (0, 2),
    ),
    "implicit": (
        lambda: layers.InvertibleSequential([residual(), layers.Inverse(residual())]), (3,), (1, 1),
    ),
}  # fmt: skip


def build(name):
    """The layer, data and a condition."""
    layer = LAYERS[name][0]()
    event = LAYERS[name][1]
    layer.build((None, *event))
    for weight in layer.weights:
        if weight.name.endswith("condition_kernel"):
            weight.assign(points(*weight.shape) / 2)
    condition = points(BATCH, 2) if layer.condition_size else None
    return layer, points(BATCH, *event, seed=1), condition


@pytest.mark.parametrize(
    "mode", ["eager", *(pytest.param(m, marks=pytest.mark.slow) for m in ("graph", "xla"))]
)
@pytest.mark.parametrize("name", LAYERS)
def test_every_solver_reports_on_every_example(name, mode, run_in_mode):
    layer, x, condition = build(name)
    forward, backward = layer.num_solvers
    assert (forward, backward) == LAYERS[name][2]
    there = run_in_mode(lambda *args: layer.forward(*args).solution(), mode)(x, condition)
    back = run_in_mode(layer.inverse_with_report, mode)(there.value, condition)
    np.testing.assert_allclose(there.value, layer(x, condition), atol=1e-12)
    np.testing.assert_allclose(back.value, layer.inverse(there.value, condition), atol=1e-12)
    np.testing.assert_allclose(back.value, x, atol=1e-7)
    for solution, solvers in ((there, forward), (back, backward)):
        for field in solution[1:]:
            assert field.shape == (solvers, BATCH)
        assert np.all(solution.converged) and np.all(solution.certified_error <= 1e-9)
        assert np.all(solution.evaluations >= 2) and not np.any(solution.products)


def test_solvers_report_in_the_order_of_the_forward_pass():
    """Of three blocks the second can't converge; the inverse begins with the last one."""
    blocks = [residual() for _ in range(3)]
    layer = layers.InvertibleSequential(blocks)
    layer.build((None, 3))
    blocks[1].max_iterations, blocks[1].on_failure = 2, "keep"
    repeated = layers.Repeated(residual(), 3)
    repeated.build((None, 3))
    repeated.layer.max_iterations, repeated.layer.on_failure = 2, "keep"
    # Copies whose last kernel is zero are solved at once.
    kernel = repeated.layer.branch.layers[-1].kernel
    kernel.assign(kernel.value * tf.constant([0.0, 1.0, 0.0], tf.float64)[:, None, None])
    for each in (layer, repeated):
        converged = each.inverse_with_report(points(BATCH, 3, seed=1)).converged
        np.testing.assert_array_equal(converged, [[True] * 5, [False] * 5, [True] * 5])
