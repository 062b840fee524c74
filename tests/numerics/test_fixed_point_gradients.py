"""The solver's gradients beside closed forms, finite differences and Newton's method."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from support.equations import (
    BATCH,
    BOUND,
    HIDDEN,
    MODES,
    SIZE,
    functional,
    gradients_of,
    linear,
    network,
    network_inputs,
    newton,
    normal,
    of_norm,
    solved,
)

from tf_iresnet.numerics import fixed_point
from tf_iresnet.numerics.bound_function import BoundFunction
from tf_iresnet.numerics.fixed_point import solve


def _both_orders(solution, inputs):
    """The gradient, and that of a fixed functional of it."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        first = gradients_of(solution, inputs)
        total = tf.add_n([tf.reduce_sum(normal(*g.shape, seed=i) * g) for i, g in enumerate(first)])
    return first, tape.gradient(total, inputs)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_a_linear_problem_have_their_closed_form(mode):
    kernel, y = tf.constant(of_norm(0.9, 5, 5)), tf.constant(normal(7, 5, seed=1))
    upstream = normal(7, 5, seed=2)

    def run(y, kernel):
        with tf.GradientTape() as tape:
            tape.watch([y, kernel])
            found = solve(BoundFunction.of(linear, kernel), y, lipschitz=0.9, tolerance=1e-13)
            loss = tf.reduce_sum(upstream * found.value)
        return found.value, *tape.gradient(loss, [y, kernel])

    x, by_y, by_kernel = MODES[mode](run)(y, kernel)
    adjoint = upstream @ np.linalg.inv(np.eye(5) + kernel.numpy()).T
    np.testing.assert_allclose(by_y, adjoint, atol=1e-11)
    np.testing.assert_allclose(by_kernel, -x.numpy().T @ adjoint, atol=1e-11)


@pytest.mark.parametrize("method", fixed_point.METHODS)
def test_gradients_in_input_weights_and_condition_match_finite_differences(method):
    inputs = network_inputs()
    gradients = gradients_of(functools.partial(solved, method=method), inputs)
    for position, gradient in enumerate(gradients):
        direction = normal(*gradient.shape, seed=20 + position)
        losses = []
        for step in (1e-5, -1e-5):
            moved = list(inputs)
            moved[position] = moved[position] + step * direction
            losses.append(float(functional(newton(*moved))))
        slope = np.sum(gradient * direction)
        assert slope == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("mode", MODES)
def test_first_and_second_order_gradients_match_newtons(mode):
    inputs = network_inputs()
    np.testing.assert_allclose(solved(*inputs), newton(*inputs), atol=1e-12)
    run = MODES[mode](lambda *inputs: _both_orders(solved, inputs))
    first, second = zip(run(*inputs), _both_orders(newton, inputs), strict=True)
    for ours, reference in zip(*first, strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-10)
    for ours, reference in zip(*second, strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-9)


@pytest.mark.parametrize("mode", ["eager", pytest.param("graph", marks=pytest.mark.slow), "xla"])
def test_variables_that_g_reads_get_their_gradient(mode):
    y, first, second, condition = network_inputs()
    variable, frozen = tf.Variable(first), tf.Variable(second, trainable=False)

    def run():
        with tf.GradientTape() as outer:
            with tf.GradientTape() as tape:
                g = BoundFunction.of(lambda x: network(x, variable, frozen, condition))
                found = solve(g, y, lipschitz=BOUND, tolerance=1e-12)
                loss = functional(found.value)
            gradient = tape.gradient(loss, variable)
            total = tf.reduce_sum(gradient**2)
        return gradient, outer.gradient(total, variable)

    def reference(first):
        with tf.GradientTape() as outer:
            outer.watch(first)
            gradient = gradients_of(lambda first: newton(y, first, second, condition), (first,))[0]
            total = tf.reduce_sum(gradient**2)
        return gradient, outer.gradient(total, first)

    for ours, expected in zip(MODES[mode](run)(), reference(first), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_directional_derivative_by_differentiating_a_pullback():
    y, *parameters = network_inputs()
    tangent = tf.constant(normal(BATCH, SIZE, seed=5))
    with tf.GradientTape() as outer:
        unused = tf.zeros_like(y)
        outer.watch(unused)
        with tf.GradientTape() as tape:
            tape.watch(y)
            x = solved(y, *parameters)
        pullback = tape.gradient(x, y, unused)
    derivative = outer.gradient(pullback, unused, tangent)
    step = 1e-6 * tangent
    expected = (newton(y + step, *parameters) - newton(y - step, *parameters)) / 2e-6
    np.testing.assert_allclose(derivative, expected, atol=1e-8)


def test_forward_mode_is_refused_where_it_would_be_wrong():
    y, *parameters = network_inputs()
    with (
        pytest.raises(NotImplementedError, match="Expected reverse mode"),
        tf.autodiff.ForwardAccumulator(y, y),
    ):
        solved(y, *parameters)


def test_a_tensor_may_be_listed_twice_and_integers_may_be_listed():
    y, first, second, _ = network_inputs()
    labels = tf.constant([0, 2, 1, 2, 0, 1])
    table = tf.constant(normal(3, HIDDEN, seed=6))

    def g(x, first, again, second, table, labels):
        return network(x, (first + again) / 2, second, tf.gather(table, labels))

    def ours(first, table):
        bound = BoundFunction.of(g, first, first, second, table, labels)
        return solve(bound, y, lipschitz=BOUND, tolerance=1e-12).value

    def reference(first, table):
        return newton(y, first, second, tf.gather(table, labels))

    for gradient, expected in zip(
        gradients_of(ours, (first, table)), gradients_of(reference, (first, table)), strict=True
    ):
        np.testing.assert_allclose(gradient, tf.convert_to_tensor(expected), atol=1e-10)


def test_a_loose_tolerance_does_not_loosen_the_gradient():
    kernel = tf.constant(of_norm(0.9, 5, 5))
    y = tf.constant(100 * normal(7, 5, seed=1))
    with tf.GradientTape() as tape:
        tape.watch(y)
        found = solve(BoundFunction.of(linear, kernel), y, lipschitz=0.9, tolerance=10.0)
    assert np.max(found.certified_error) > 0.1
    exact = np.tile(np.linalg.inv(np.eye(5) + kernel.numpy()).sum(1), [7, 1])
    np.testing.assert_allclose(tape.gradient(found.value, y), exact, atol=3e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_gradients_scale_with_what_comes_in(scale):
    y, *parameters = (tf.cast(t, tf.float32) for t in network_inputs())

    def run(scale):
        with tf.GradientTape() as tape:
            tape.watch(y)
            x = solve(BoundFunction.of(network, *parameters), y, lipschitz=BOUND).value
        return tape.gradient(x, y, scale * tf.ones_like(x))

    np.testing.assert_allclose(run(scale) / scale, run(1.0), rtol=1e-4)


def test_anchor_07_the_gradient_is_implicit_not_that_of_the_iterations():
    # Unrolled, an iteration's gradient is as right as it is long; this one is over at the start.
    y = tf.zeros([1, 2], tf.float64)  # solved by x = 0 at once
    kernel = tf.constant(of_norm(0.9, 2, 2))
    with tf.GradientTape() as tape:
        tape.watch(y)
        found = solve(BoundFunction.of(linear, kernel), y, lipschitz=0.9, tolerance=1e-12)
    assert found.evaluations[0] == 1
    exact = np.linalg.inv(np.eye(2) + kernel.numpy()).sum(1)
    np.testing.assert_allclose(tape.gradient(found.value, y)[0], exact, atol=1e-11)


def test_adjoint_that_does_not_converge_gives_nan_for_its_example_only():
    slopes = tf.constant([[0.2], [-0.97]], tf.float64)
    y = tf.constant([[0.3], [0.3]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(y)
        g = BoundFunction.of(lambda x, slopes: slopes * tf.sin(x), slopes)
        limits = {"tolerance": 1e-6, "max_iterations": 12}
        found = solve(g, y, lipschitz=0.97, method="picard", **limits)
    gradient = tape.gradient(found.value, y)
    assert float(gradient[0, 0]) == pytest.approx(
        1 / (1 + 0.2 * np.cos(found.value[0, 0])), rel=1e-6
    )
    assert np.isnan(gradient[1, 0])


def test_only_the_value_carries_gradients():
    variable = tf.Variable([[0.5]])
    y = tf.constant([[1.0]])
    with tf.GradientTape() as tape:
        tape.watch(y)
        g = BoundFunction.of(lambda x: tf.tanh(x) @ variable)
        found = solve(g, y, lipschitz=0.5, max_iterations=2)
    assert tape.gradient(found.certified_error, [y, variable]) == [None, None]
