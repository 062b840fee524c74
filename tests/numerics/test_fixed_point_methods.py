"""What the solver's methods cost, and where they start."""

import numpy as np
import pytest
import tensorflow as tf
from support.equations import (
    BATCH,
    BOUND,
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
)

from tf_iresnet.numerics import fixed_point
from tf_iresnet.numerics.acceleration import NewtonKrylov, evaluate_with_jvp
from tf_iresnet.numerics.fixed_point import guaranteed_iterations, solve


def test_others_need_fewer_evaluations_than_picard_on_strongly_coupled_problems():
    # Symmetric with eigenvalues over the whole of [−0.97, 0.97].
    rotation = np.linalg.qr(normal(16, 16))[0]
    y = normal(50, 16, seed=1)
    problems = {
        "linear": (linear, [rotation * np.linspace(-0.97, 0.97, 16) @ rotation.T]),
        "network": (network, [0.97 * rotation, -rotation.T, np.zeros([1, 16])]),
    }
    for g, parameters in problems.values():
        counts = {}
        for method in fixed_point.METHODS:
            found = solve(g, 0.1 * y, parameters, lipschitz=0.97, method=method)
            assert np.all(found.converged)
            counts[method] = np.mean(found.iterations)
        assert counts["anderson"] < 0.5 * counts["picard"]
        assert counts["newton_krylov"] < 0.25 * counts["picard"]


@pytest.mark.parametrize("mode", MODES)
def test_products_with_the_jacobian_are_those_of_its_matrix(mode):
    x, first, second, condition = network_inputs()
    vectors = tf.constant(normal(BATCH, SIZE, seed=5))

    def run(x):
        image, jacobian = evaluate_with_jvp(lambda x: network(x, first, second, condition), x)
        return image, jacobian(vectors), jacobian(jacobian(vectors))

    image, once, twice = MODES[mode](run)(x)
    slopes = 1 - np.tanh(x @ first + condition) ** 2
    matrices = np.einsum("jh,bh,hi->bij", first, slopes, second)
    np.testing.assert_allclose(image, network(x, first, second, condition), rtol=1e-12)
    np.testing.assert_allclose(once, np.einsum("bij,bj->bi", matrices, vectors), atol=1e-12)
    np.testing.assert_allclose(
        twice, np.einsum("bij,bjk,bk->bi", matrices, matrices, vectors), atol=1e-12
    )


def test_newton_krylov_solves_a_linear_problem_in_as_many_products_as_there_are_eigenvalues():
    # GMRES is exact then; the two evaluations before it are those at y and after a Picard step.
    rotation = np.linalg.qr(normal(16, 16))[0]
    kernel = rotation * np.repeat([-0.97, -0.5, 0.3, 0.9], 4) @ rotation.T
    y = tf.constant(normal(7, 16, seed=1))
    found = solve(
        linear, y, [kernel], lipschitz=0.97, tolerance=1e-10, method=NewtonKrylov(products=4)
    )
    assert np.all(found.converged)
    assert np.all(found.iterations == 3) and np.all(found.products == 4)
    np.testing.assert_allclose(found.value, y @ np.linalg.inv(np.eye(16) + kernel), atol=1e-10)


def test_only_newton_krylov_makes_products():
    y, *parameters = network_inputs()
    counts = {
        method: np.sum(solve(network, y, parameters, lipschitz=BOUND, method=method).products)
        for method in fixed_point.METHODS
    }
    assert counts.pop("newton_krylov") > 0
    assert set(counts.values()) == {0}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", fixed_point.METHODS)
def test_where_it_starts_changes_the_work_and_not_the_result(mode, method):
    y, *parameters = network_inputs()
    exact = newton(y, *parameters)
    # At the solution, near it, far away, and nowhere.
    distances = np.array([[0.0], [1e-6], [0.1], [10.0], [np.nan], [np.inf]])
    start = exact + distances * normal(BATCH, SIZE, seed=7)

    def run(y, start):
        with tf.GradientTape() as tape:
            tape.watch([y, start])
            found = solve(
                network, y, parameters, lipschitz=BOUND, tolerance=1e-9, method=method, start=start
            )
            loss = functional(found.value)
        return found, tape.gradient(loss, y)

    found, gradient = MODES[mode](run)(y, start)
    assert np.all(found.converged)
    np.testing.assert_allclose(found.value, exact, atol=1e-9)
    expected = gradients_of(lambda y: newton(y, *parameters), (y,))[0]
    np.testing.assert_allclose(gradient, expected, atol=1e-7)
    cold = solve(network, y, parameters, lipschitz=BOUND, tolerance=1e-9, method=method)
    assert found.iterations[0] == 1
    assert found.iterations[1] < cold.iterations[1]
    np.testing.assert_array_equal(found.iterations[4:], cold.iterations[4:])


def test_anderson_survives_a_candidate_outside_the_domain():
    # The slope of x + g(x) is 0.03 up to 20 and 1 beyond: the secant from the first two points
    # leads to x = 333, where g isn't a number. The solution is 29.4.
    def g(x):
        return -0.97 * tf.minimum(x, 20) + tf.where(x < 100, 0 * x, np.nan)

    found = solve(g, np.array([[10.0]]), lipschitz=0.97)
    assert found.converged[0]
    assert float(found.value[0, 0]) == pytest.approx(29.4)


@pytest.mark.parametrize("method", fixed_point.METHODS)
def test_evaluations_are_counted_honestly(method):
    calls = []

    def g(x, kernel):
        calls.append(1)
        return tf.tanh(x) @ kernel

    found = solve(g, normal(1, 5), [of_norm(0.9, 5, 5)], lipschitz=0.9, method=method)
    assert found.converged[0]
    assert int(found.iterations[0]) == len(calls)


@pytest.mark.parametrize("bound", [0.0, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("residual", [0.0, 1e-7, 1.0, 40.0])
def test_guaranteed_iterations_are_the_fewest_that_suffice(bound, residual):
    steps = guaranteed_iterations(bound, residual, 1e-5)
    assert bound**steps * residual / (1 - bound) <= 1e-5 * (1 + 1e-9)
    assert steps == 0 or bound ** (steps - 1) * residual / (1 - bound) > 1e-5


@pytest.mark.parametrize("bound", [0.0, 0.1, 0.5, 0.9])
def test_picard_keeps_the_guarantee(bound):
    # This map shrinks nothing more than it must; one evaluation comes before the first step.
    y = np.array([[3.0, 0.0]])
    found = solve(lambda x: bound * x[:, ::-1] * [1.0, -1.0], y, lipschitz=bound, method="picard")
    assert np.all(found.converged)
    assert int(found.iterations[0]) <= guaranteed_iterations(bound, bound * 3.0, 1e-5) + 1
