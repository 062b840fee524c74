"""The fixed-point solver beside closed forms: values, certified errors, shapes and messages."""

import numpy as np
import pytest
import tensorflow as tf
from support.equations import (
    HIDDEN,
    MODES,
    SIZE,
    linear,
    network,
    normal,
    of_norm,
)

from tf_iresnet.numerics import fixed_point
from tf_iresnet.numerics.acceleration import Anderson, NewtonKrylov
from tf_iresnet.numerics.bound_function import BoundFunction
from tf_iresnet.numerics.fixed_point import guaranteed_iterations, resolution, solve

HALF_SINE = BoundFunction.of(lambda x: 0.5 * tf.sin(x))


@pytest.mark.parametrize("method", fixed_point.METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", MODES)
def test_solves_a_linear_problem_exactly(mode, dtype, method):
    kernel, y = of_norm(0.8, 5, 5), normal(7, 5, seed=1)
    tolerance = {"float32": 1e-5, "float64": 1e-11}[dtype]
    run = MODES[mode](
        lambda y, kernel: solve(
            BoundFunction.of(linear, kernel), y, lipschitz=0.8, tolerance=tolerance, method=method
        )
    )
    found = run(tf.constant(y, dtype), tf.constant(kernel, dtype))
    error = np.linalg.norm(found.value - y @ np.linalg.inv(np.eye(5) + kernel), axis=1)
    assert found.value.dtype == found.certified_error.dtype == dtype
    assert found.evaluations.dtype == tf.int32
    assert np.all(found.converged)
    assert np.all(found.certified_error <= tolerance)
    assert np.all(error <= tolerance)


def test_resolution_knows_the_size_of_what_it_gets():
    y = tf.constant([[3.0, 4.0], [3e30, 4e30], [0.0, 0.0]])
    expected = 16 * np.finfo("float32").eps * np.array([5, 5e30, 0]) / 0.1
    np.testing.assert_allclose(resolution(y, 0.9), expected, rtol=1e-5)
    assert resolution(tf.cast(y, tf.float64), 0.9)[0] < 1e-8 * expected[0]


@pytest.mark.parametrize("method", fixed_point.METHODS)
@pytest.mark.parametrize("bound", [0.3, 0.9, 0.97])
def test_anchor_07_the_certified_error_bounds_the_true_error_at_every_iterate(bound, method):
    kernel = tf.constant(of_norm(bound, 12, 12))
    g = BoundFunction.of(linear, kernel)
    y = tf.constant(normal(20, 12, seed=1))
    exact = y @ np.linalg.inv(np.eye(12) + kernel.numpy())
    for cap in range(1, 14):
        found = solve(g, y, lipschitz=bound, tolerance=1e-6, max_iterations=cap, method=method)
        error = np.linalg.norm(found.value - exact, axis=1)
        residual = np.linalg.norm(y - found.value - found.value @ kernel, axis=1) / (1 - bound)
        assert np.all(error <= found.certified_error)
        assert np.all(residual <= found.certified_error * (1 + 1e-9) + 1e-12)
        assert np.all(found.converged == (found.certified_error <= 1e-6))
        assert np.all(found.evaluations <= cap)


@pytest.mark.parametrize("method", fixed_point.METHODS)
def test_anchor_07_examples_neither_wait_for_nor_influence_each_other(method):
    first, second = of_norm(0.97, SIZE, HIDDEN), of_norm(1, HIDDEN, SIZE, seed=1)
    y = normal(5, SIZE, seed=2)
    shift = np.full([5, HIDDEN], 50.0)  # where tanh is flat, g is constant
    shift[2] = 0

    def run():
        g = BoundFunction.of(network, first, second, shift)
        return solve(g, y, lipschitz=0.97, tolerance=1e-10, method=method)

    found = run()
    assert np.all(found.converged)
    assert np.all(np.delete(found.evaluations, 2) == 2)
    assert found.evaluations[2] > (3 if method == "newton_krylov" else 5)
    y[2], shift[2] = normal(SIZE, seed=8), 50.0
    alone = run()
    y[2] = np.nan
    beside_nan = run()
    for other in (alone, beside_nan):
        for ours, theirs in zip(found, other, strict=True):
            np.testing.assert_array_equal(np.delete(ours, 2, 0), np.delete(theirs, 2, 0))
    assert not beside_nan.converged[2]


@pytest.mark.parametrize("mode", MODES)
def test_anchor_07_failure_is_reported_for_the_example_it_concerns(mode):
    slopes = tf.constant([[0.05], [-0.97], [3.0]])  # the last one breaks the bound
    g = BoundFunction.of(lambda x, slopes: slopes * tf.sin(x), slopes)
    run = MODES[mode](lambda y: solve(g, y, lipschitz=0.97, max_iterations=8, method="picard"))
    found = run(tf.constant([[1.0], [0.1], [2.0]]))
    np.testing.assert_array_equal(found.converged, [True, False, False])
    np.testing.assert_array_equal(found.certified_error <= 1e-5, found.converged)
    assert found.evaluations[1] == 8
    assert found.evaluations[2] < 8  # a Picard step that doesn't descend settles it
    for bound in (tf.constant(1.0), tf.constant(1.5)):
        tolerance = resolution(tf.ones([2, 1]), bound)
        tenth = BoundFunction.of(linear, tf.constant([[0.1]]))
        unproven = solve(tenth, tf.ones([2, 1]), lipschitz=bound, tolerance=tolerance)
        assert not np.any(unproven.converged)
        assert np.all(np.isinf(unproven.certified_error))
        assert np.all(unproven.evaluations < 50)  # what is found is kept, though nothing proves it
        np.testing.assert_allclose(unproven.value, 1 / 1.1, rtol=1e-6)


@pytest.mark.parametrize("method", fixed_point.METHODS)
def test_round_off_ends_the_search_and_is_not_called_success(method):
    kernel, y = of_norm(0.97, 64, 64), normal(30, 64, seed=1)
    g = BoundFunction.of(linear, tf.constant(kernel, tf.float32))
    arguments = g, tf.constant(y, tf.float32)
    found = solve(*arguments, lipschitz=0.97, tolerance=1e-12, method=method)
    assert not np.any(found.converged)
    assert np.max(found.evaluations) < 150  # of 1,000
    floor = resolution(arguments[1], 0.97)
    assert np.all(found.certified_error <= floor)
    assert np.all(floor <= 100 * found.certified_error)
    attainable = solve(*arguments, lipschitz=0.97, tolerance=floor, method=method)
    assert np.all(attainable.converged)


def test_lipschitz_and_tolerance_may_differ_by_example():
    slopes = np.array([[0.1], [0.9]])
    tolerance = np.array([1e-3, 1e-9])
    found = solve(
        BoundFunction.of(lambda x: slopes * tf.sin(x)),
        np.ones([2, 1]),
        lipschitz=tf.constant([0.1, 0.9], tf.float64),
        tolerance=tolerance,
    )
    assert np.all(found.converged)
    residual = np.abs(1 - found.value - slopes * np.sin(found.value))[:, 0]
    assert np.all(residual / [0.9, 0.1] <= found.certified_error + 1e-15)
    assert np.all(found.certified_error <= tolerance)


@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 4, 4, 3), (0, 4)])
def test_event_and_batch_of_any_shape(shape):
    y = tf.constant(normal(*shape), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(y)
        found = solve(HALF_SINE, y, lipschitz=0.5)
    np.testing.assert_allclose(found.value + 0.5 * np.sin(found.value), y, atol=1e-5)
    assert found.value.shape == shape
    assert (
        found.evaluations.shape == found.certified_error.shape == found.converged.shape == shape[:1]
    )
    expected = 1 / (1 + 0.5 * np.cos(found.value))
    np.testing.assert_allclose(tape.gradient(found.value, y), expected, atol=1e-5)


def test_batch_size_may_be_unknown_when_traced():
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    def run(y):
        return solve(HALF_SINE, y, lipschitz=0.5)

    for batch in (1, 4):
        y = normal(batch, 3).astype("float32")
        found = run(y)
        np.testing.assert_allclose(found.value + 0.5 * np.sin(found.value), y, atol=1e-5)
        assert found.evaluations.shape == [batch]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_solved_in_float32(dtype):
    y, kernel = tf.cast(normal(4, 5), dtype), tf.cast(of_norm(0.9, 5, 5), dtype)
    with tf.GradientTape() as tape:
        tape.watch([y, kernel])
        found = solve(BoundFunction.of(linear, kernel), y, lipschitz=0.91)
    exact = tf.cast(y, tf.float64) @ np.linalg.inv(np.eye(5) + tf.cast(kernel, tf.float64))
    assert np.all(found.converged)
    assert found.value.dtype == tf.float32
    np.testing.assert_allclose(found.value, exact, atol=1e-5)
    assert [g.dtype for g in tape.gradient(found.value, [y, kernel])] == [dtype, dtype]


Y = np.ones([2, 3])
SINE = BoundFunction.of(tf.sin)
TWO_COLUMNS = BoundFunction.of(lambda x: x[:, :2])
TO_FLOAT32 = BoundFunction.of(lambda x: tf.cast(x, "float32"))

ERRORS = {
    "method": (lambda: solve(SINE, Y, lipschitz=0.5, method="newton"), "method='newton'"),
    "lipschitz": (lambda: solve(SINE, Y, lipschitz=1.0), "lipschitz=1.0"),
    "cap": (lambda: solve(SINE, Y, lipschitz=0.5, max_iterations=0), "max_iterations=0"),
    "depth": (lambda: Anderson(depth=0), "depth=0"),
    "products": (lambda: NewtonKrylov(products=0), "products=0"),
    "integers": (lambda: solve(SINE, [[1]], lipschitz=0.5), "int32"),
    "no batch": (lambda: solve(SINE, 1.0, lipschitz=0.5), r"\(\) float32"),
    "shape of g": (
        lambda: solve(TWO_COLUMNS, Y, lipschitz=0.5),
        r"\(2, 2\) float64",
    ),
    "dtype of g": (lambda: solve(TO_FLOAT32, Y, lipschitz=0.5), "float32"),
    "guarantee": (lambda: guaranteed_iterations(1.2, 1, 1e-5), "lipschitz=1.2"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_wrong_arguments_are_named(name):
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=rf"Expected.*Received.*{message}"):
        call()
