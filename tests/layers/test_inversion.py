"""Starting an inverse at a neighbour, and its report, for every way to compose layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import layers

BATCH = 5


def residual(kind=layers.ResidualBlock, features=3, condition_size=None):
    common = {
        "kernel_initializer": keras.initializers.RandomNormal(stddev=1.0, seed=1),
        "condition_size": condition_size,
        "dtype": "float64",
    }
    branch = [
        layers.SpectralDense(8, 0.9, activation="sine", **common),
        layers.SpectralDense(features, 0.9, bias_initializer="ones", **common),
    ]
    return kind(branch, "exact", tolerance=1e-9, dtype="float64")


def pair(**kwargs):
    return layers.InvertibleSequential([layers.Rescale(0.5, dtype="float64"), residual(**kwargs)])


# name → layer, event, number of solvers.
LAYERS = {
    "no solver": (lambda: layers.Rescale(0.5, dtype="float64"), (3,), 0),
    "residual": (residual, (3,), 1),
    "monotone": (lambda: residual(layers.MonotoneBlock), (3,), 1),
    "conditional": (lambda: residual(condition_size=2), (3,), 1),
    "sequential": (lambda: layers.InvertibleSequential([pair(), residual()]), (3,), 2),
    "repeated": (lambda: layers.Repeated(pair(condition_size=2), 3), (3,), 3),
    "repeated without a solver": (
        lambda: layers.Repeated(layers.ActNorm(dtype="float64"), 2), (3,), 0,
    ),
    "multi-scale": (
        lambda: layers.MultiScale(
            [[layers.Squeeze(dtype="float64"), residual(features=4)], residual(features=2)]
        ),
        (4, 2, 1),
        2,
    ),
    "implicit": (
        lambda: layers.InvertibleSequential([residual(), layers.Inverse(residual())]), (3,), 1,
    ),
}  # fmt: skip


def build(name):
    """The layer, data and a condition."""
    make, event, solvers = LAYERS[name]
    random = np.random.default_rng(0)
    layer = make()
    layer.build((None, *event))
    for weight in layer.weights:
        if weight.name.endswith("condition_kernel"):
            weight.assign(random.normal(size=weight.shape) / 2)
    condition = tf.constant(random.normal(size=(BATCH, 2))) if layer.condition_size else None
    return layer, tf.constant(random.normal(size=(BATCH, *event))), condition, solvers


@pytest.mark.parametrize("name", LAYERS)
def test_every_solver_reports_on_every_example(name):
    layer, x, condition, solvers = build(name)
    y = layer(x, condition)
    value, report = layer.inverse_with_report(y, condition)
    np.testing.assert_allclose(value, x, atol=1e-7)
    np.testing.assert_array_equal(value, layer.inverse(y, condition))
    assert layer.num_solvers == solvers
    for field in report:
        assert field.shape == (solvers, BATCH)
    assert np.all(report.converged) and np.all(report.certified_error <= 1e-9)
    assert np.all(report.evaluations >= 2) and not np.any(report.products)


@pytest.mark.parametrize(
    "mode", ["eager", *(pytest.param(m, marks=pytest.mark.slow) for m in ("graph", "xla"))]
)
@pytest.mark.parametrize("name", LAYERS)
def test_a_neighbour_saves_evaluations_and_changes_nothing_else(name, mode, run_in_mode):
    layer, x, condition, _ = build(name)
    y = layer(x, condition)
    near = x + 1e-6
    run = run_in_mode(lambda *args: layer.inverse_with_report(*args), mode)
    _, cold = run(y, condition)
    value, warm = run(y, condition, near)
    np.testing.assert_allclose(value, x, atol=1e-7)
    assert np.all(warm.converged)
    assert np.all(warm.evaluations < cold.evaluations)
    # Each block starts from what came of the neighbour there; known exactly, nothing is left to do.
    _, known = run(y, condition, x)
    assert np.all(known.evaluations <= 2)
    np.testing.assert_allclose(layer.inverse(y, condition, near=near), x, atol=1e-7)


def test_a_neighbour_that_is_far_or_not_finite_costs_no_more_than_time():
    layer, x, condition, _ = build("repeated")
    y = layer(x, condition)
    near = x.numpy()
    near[0] += 100
    near[1], near[2] = np.nan, np.inf
    value, report = layer.inverse_with_report(y, condition, near)
    np.testing.assert_allclose(value, x, atol=1e-7)
    assert np.all(report.converged)


def test_gradients_are_the_same_with_a_neighbour():
    layer, x, condition, _ = build("sequential")
    y = layer(x, condition)
    gradients = []
    for near in (None, x + 0.1):
        with tf.GradientTape() as tape:
            tape.watch(y)
            loss = tf.reduce_sum(layer.inverse(y, condition, near) ** 3)
        gradients.append(tape.gradient(loss, [y, *layer.trainable_variables]))
    for cold, warm in zip(*gradients, strict=True):
        np.testing.assert_allclose(warm, cold, rtol=1e-5, atol=1e-7)


def test_a_neighbour_has_the_shape_of_the_inputs():
    layer, x, condition, _ = build("multi-scale")
    y = layer(x, condition)
    with pytest.raises(ValueError, match=r"Expected.*inputs of shape.*4, 2, 1.*\(5, 8\)"):
        layer.inverse(y, condition, near=y)
