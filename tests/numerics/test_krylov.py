"""Krylov spaces against dense functions of matrices in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import log_det
from tf_iresnet.numerics import krylov
from tf_iresnet.numerics.bound_function import BoundFunction
from tf_iresnet.numerics.log_functions import LOG1P, LOG_CAYLEY
from tf_iresnet.numerics.trace_series import series

FUNCTIONS = (LOG1P, LOG_CAYLEY)
RNG = np.random.default_rng(0)


def matrix(size, norm=0.8, seed=0):
    kernel = np.random.default_rng(seed).normal(size=(size, size))
    return kernel * norm / np.linalg.norm(kernel, 2)


def symmetric(size, low, high, seed=0):
    """A symmetric matrix with eigenvalues evenly between two numbers."""
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    return basis @ np.diag(np.linspace(low, high, size)) @ basis.T


def of_matrix(function, kernel):
    """`f(A)` by eigenvectors, and `f′(A)` by inverses."""
    eigenvalues, vectors = np.linalg.eig(kernel)
    logs = sum(w * np.log(1 + s * eigenvalues.astype(complex)) for w, s in function.terms)
    eye = np.eye(len(kernel))
    slope = sum(w * s * np.linalg.inv(eye + s * kernel) for w, s in function.terms)
    return (vectors @ np.diag(logs) @ np.linalg.inv(vectors)).real, slope


def products(kernel, batch, dtype="float64"):
    """`w ↦ Jᵀw` of `g(x) = x Wᵀ`, whose `Jᵀ` maps `w` to `w W`."""
    x = tf.zeros((batch, len(kernel)), dtype)
    return BoundFunction.linear(tf.constant(kernel.T, dtype)).linearize(x).product


def perceptron(size):
    """`tanh(x W)`, whose trace nobody knows."""
    kernel = tf.constant(matrix(size), tf.float64)
    return BoundFunction.of(lambda x, kernel: tf.tanh(tf.matmul(x, kernel)), kernel)


def errors(kernel, function, steps, lipschitz, probe):
    """Of value and adjoint, by the Krylov space and by the series, for the same products."""
    product = products(kernel, len(probe))
    exact, slope = of_matrix(function, kernel)
    value = np.einsum("bi,ij,bj->b", probe, exact, probe)
    adjoint = probe @ slope
    space = krylov.span(product, tf.constant(probe), steps, None, function, lipschitz)
    ours = space.value, krylov.adjoint(space, function)
    plain, _ = series(product, tf.constant(probe), function, steps, lambda k: 1.0)
    theirs = plain.value, plain.adjoint
    return [
        (np.abs(v - value).max(), np.linalg.norm(a - adjoint, axis=1).max())
        for v, a in (ours, theirs)
    ]


@pytest.mark.parametrize(
    "size,mode", [(2, "eager"), (12, "eager"), *((5, mode) for mode in ("eager", "graph", "xla"))]
)
def test_as_many_steps_as_dimensions_are_exact(size, mode, dtype, run_in_mode):
    kernel, probe = matrix(size), RNG.normal(size=(4, size))

    def run(probe):
        # The product is traced with the rest.
        product = products(kernel, 4, dtype)
        spaces = [krylov.span(product, probe, size + 2, None, f, 0.8) for f in FUNCTIONS]
        pairs = zip(spaces, FUNCTIONS, strict=True)
        return [(space.value, krylov.adjoint(space, function)) for space, function in pairs]

    found = run_in_mode(run, mode)(tf.constant(probe, dtype))
    tolerance = {"rtol": 2e-4, "atol": 2e-4} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-9}
    for function, (value, adjoint) in zip(FUNCTIONS, found, strict=True):
        exact, slope = of_matrix(function, kernel)
        expected = np.einsum("bi,ij,bj->b", probe, exact, probe)
        np.testing.assert_allclose(value, expected, **tolerance)
        np.testing.assert_allclose(adjoint, probe @ slope, **tolerance)


@pytest.mark.parametrize("size", [8, 12])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_a_complete_space_is_exact_for_bounds_next_to_one(function, size):
    """A diagonal J, of which `vᵀ f(J) v = tr f(J)` for every Rademacher probe."""
    slopes = np.linspace(-0.9999, 0.9999, size)
    g = BoundFunction.linear(tf.constant(np.diag(slopes)))
    exact = sum(w * np.sum(np.log1p(s * slopes)) for w, s in function.terms)
    if function is LOG_CAYLEY:  # even slopes would cancel
        g = BoundFunction.linear(tf.constant(np.diag(-np.abs(slopes))))
        exact = np.sum(np.log1p(np.abs(slopes)) - np.log1p(-np.abs(slopes)))
    for exact_trace in (True, False):
        estimator = log_det.Krylov(size, exact_trace=exact_trace)
        x, seed = tf.zeros((3, size), tf.float64), tf.constant([3, 1])
        found = estimator(g, x, seed, lipschitz=0.9999, function=function)
        np.testing.assert_allclose(found.log_det, [exact] * 3, rtol=1e-6)


@pytest.mark.parametrize("steps", [2, 4, 8])
def test_a_symmetric_spectrum_is_learnt_ten_times_better_than_by_the_series(steps):
    kernel, probe = symmetric(64, -0.95, 0.3), RNG.choice([-1.0, 1.0], size=(50, 64))
    (value, adjoint), (series_value, series_adjoint) = errors(kernel, LOG1P, steps, 0.95, probe)
    assert value < series_value and adjoint < series_adjoint
    if steps == 8:
        assert value <= 0.1 * series_value and adjoint <= 0.1 * series_adjoint


def test_happy_breakdown_is_exact_for_each_example():
    """Probes in an invariant subspace end their space early; the others' goes on."""
    kernel = np.zeros((8, 8))
    kernel[:3, :3], kernel[3:, 3:] = matrix(3, seed=1), matrix(5, seed=2)
    probe = np.ones((2, 8))
    probe[0, 3:] = 0.0
    for function in FUNCTIONS:
        (value, adjoint), _ = errors(kernel, function, 8, 0.8, probe)
        assert value < 1e-12 and adjoint < 1e-12


def test_a_zero_jacobian():
    (value, adjoint), _ = errors(np.zeros((4, 4)), LOG1P, 3, 0.5, np.ones((1, 4)))
    assert value == 0 and adjoint < 1e-15


def test_each_example_stops_by_itself():
    """An example's steps depend on its tolerance alone, so neighbours don't change its value."""
    kernel = np.zeros((20, 20))
    kernel[:10, :10], kernel[10:, 10:] = matrix(10, 0.05, seed=1), matrix(10, 0.9, seed=2)
    easy, hard = np.zeros((1, 20)), np.zeros((1, 20))
    easy[0, :10], hard[0, 10:] = 1.0, 1.0

    def run(probe):
        space = krylov.span(products(kernel, len(probe)), tf.constant(probe), 15, 1e-6, LOG1P, 0.9)
        return space.steps.numpy(), space.value.numpy()

    steps, values = run(np.concatenate([easy, hard]))
    assert steps[0] < steps[1] <= 15
    for probe, step, value in zip((easy, hard), steps, values, strict=True):
        alone = run(probe)
        assert alone[0] == step
        np.testing.assert_allclose(alone[1], value, rtol=1e-12)


def test_float32_keeps_the_basis_orthonormal():
    """Where products cancel, a second pass makes up for what the first one lost."""
    kernel, probe = symmetric(64, -0.9, -0.8), RNG.normal(size=(5, 64))
    space = krylov.span(
        products(kernel, 5, "float32"), tf.constant(probe, tf.float32), 8, None, LOG1P, 0.9
    )
    basis = space.basis.numpy()
    gram = np.einsum("bid,bjd->bij", basis, basis)
    expected = np.eye(9) * (np.linalg.norm(basis, axis=2) > 0.5)[:, None, :]
    np.testing.assert_allclose(gram, expected, atol=2e-5)


@pytest.mark.parametrize("gradient", ["neumann", "autodiff"])
def test_gradients(gradient):
    """ "neumann": the exact gradient on the mean; "autodiff": that of the value at this seed."""
    size = 5
    g = perceptron(size)
    x = tf.constant(RNG.normal(size=(2000, size)) * 0.3)
    x = tf.concat([x[:1]] * 2000, 0) if gradient == "neumann" else x[:3]

    def value_and_gradient(estimator, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = estimator(g, x, tf.constant([3, 1]), lipschitz=0.8).log_det
        return value.numpy(), tape.gradient(value, x).numpy()

    estimator = log_det.Krylov(4, gradient=gradient)
    _, found = value_and_gradient(estimator, x)
    if gradient == "neumann":
        # Five dimensions: four steps are all but exact.
        _, exact = value_and_gradient(log_det.Exact(), x[:1])
        error = found.std(0, ddof=1) / np.sqrt(len(found))
        assert np.all(np.abs(found.mean(0) - exact[0]) < 3.5 * error + 1e-3)
        return
    for axis in range(size):
        step = np.zeros((1, size))
        step[0, axis] = 1e-6
        up, down = (value_and_gradient(estimator, x + s)[0] for s in (step, -step))
        np.testing.assert_allclose(found[:, axis], (up - down) / 2e-6, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("estimator", [log_det.Krylov(9), log_det.Krylov(6, tolerance=1e-9)])
def test_gradients_through_the_loop_are_those_of_the_value(estimator, mode, run_in_mode):
    """More steps than are unrolled, and a tolerance: against differences along one direction."""
    g = perceptron(12)
    x, direction = (tf.constant(RNG.normal(size=(3, 12)) * 0.3) for _ in range(2))

    def value(x):
        return estimator(g, x, tf.constant([3, 1]), lipschitz=0.8).log_det

    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = value(x)
        return tf.reduce_sum(tape.gradient(total, x) * direction, 1)

    found = run_in_mode(slope, mode)(x)
    expected = (value(x + 1e-6 * direction) - value(x - 1e-6 * direction)) / 2e-6
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
