"""What the solver's methods cost."""

import numpy as np
import pytest
import tensorflow as tf
from support.equations import (
    BATCH,
    BOUND,
    MODES,
    SIZE,
    linear,
    network,
    network_inputs,
    normal,
    of_norm,
)

from tf_iresnet.numerics import fixed_point
from tf_iresnet.numerics.acceleration import NewtonKrylov
from tf_iresnet.numerics.bound_function import BoundFunction
from tf_iresnet.numerics.fixed_point import guaranteed_iterations, solve


def test_others_need_fewer_evaluations_than_picard_on_strongly_coupled_problems():
    # Symmetric with eigenvalues over the whole of [−0.97, 0.97].
    rotation = np.linalg.qr(normal(16, 16))[0]
    y = normal(50, 16, seed=1)
    kernel = rotation * np.linspace(-0.97, 0.97, 16) @ rotation.T
    problems = (
        BoundFunction.of(linear, kernel),
        BoundFunction.of(network, 0.97 * rotation, -rotation.T, np.zeros([1, 16])),
    )
    for g in problems:
        counts = {}
        for method in fixed_point.METHODS:
            found = solve(g, 0.1 * y, lipschitz=0.97, method=method)
            assert np.all(found.converged)
            counts[method] = np.mean(found.evaluations)
        assert counts["anderson"] < 0.5 * counts["picard"]
        assert counts["newton_krylov"] < 0.25 * counts["picard"]


@pytest.mark.parametrize("mode", MODES)
def test_products_with_the_jacobian_are_those_of_its_matrix(mode):
    x, first, second, condition = network_inputs()
    vectors = tf.constant(normal(BATCH, SIZE, seed=5))
    g = BoundFunction.of(network, first, second, condition)

    def run(x):
        image, jacobian = NewtonKrylov().evaluate(g, x)
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
    g, method = BoundFunction.of(linear, kernel), NewtonKrylov(products=4)
    found = solve(g, y, lipschitz=0.97, tolerance=1e-10, method=method)
    assert np.all(found.converged)
    assert np.all(found.evaluations == 3) and np.all(found.products == 4)
    np.testing.assert_allclose(found.value, y @ np.linalg.inv(np.eye(16) + kernel), atol=1e-10)


def test_only_newton_krylov_makes_products():
    y, *parameters = network_inputs()
    g = BoundFunction.of(network, *parameters)
    counts = {
        method: np.sum(solve(g, y, lipschitz=BOUND, method=method).products)
        for method in fixed_point.METHODS
    }
    assert counts.pop("newton_krylov") > 0
    assert set(counts.values()) == {0}


def test_anderson_survives_a_candidate_outside_the_domain():
    # The slope of x + g(x) is 0.03 up to 20 and 1 beyond: the secant from the first two points
    # leads to x = 333, where g isn't a number. The solution is 29.4.
    def g(x):
        return -0.97 * tf.minimum(x, 20) + tf.where(x < 100, 0 * x, np.nan)

    found = solve(BoundFunction.of(g), np.array([[10.0]]), lipschitz=0.97)
    assert found.converged[0]
    assert float(found.value[0, 0]) == pytest.approx(29.4)


@pytest.mark.parametrize("method", fixed_point.METHODS)
def test_evaluations_are_counted_honestly(method):
    calls = []

    def g(x, kernel):
        calls.append(1)
        return tf.tanh(x) @ kernel

    bound = BoundFunction.of(g, of_norm(0.9, 5, 5))
    found = solve(bound, normal(1, 5), lipschitz=0.9, method=method)
    assert found.converged[0]
    assert int(found.evaluations[0]) == len(calls)


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
    g = BoundFunction.of(lambda x: bound * x[:, ::-1] * [1.0, -1.0])
    found = solve(g, y, lipschitz=bound, method="picard")
    assert np.all(found.converged)
    assert int(found.evaluations[0]) <= guaranteed_iterations(bound, bound * 3.0, 1e-5) + 1
