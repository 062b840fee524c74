"""Estimators against dense linear algebra in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import log_det
from tf_iresnet.numerics import probes
from tf_iresnet.numerics.bound_function import BoundFunction
from tf_iresnet.numerics.linear_maps import Matrix
from tf_iresnet.numerics.log_functions import LOG1P, LOG_CAYLEY

SIZE = 6


def matrix(norm, size=SIZE):
    """With `‖W‖₂ = norm`."""
    kernel = np.random.default_rng(0).normal(size=(size, size))
    return kernel * norm / np.linalg.norm(kernel, 2)


def linear(norm, dtype="float64", then=tf.identity):
    """`g(x) = then(x W)` with `‖W‖₂ = norm`, whose trace nobody knows, and `W`."""
    kernel = matrix(norm)
    function = lambda x, kernel: then(tf.matmul(x, kernel))  # noqa: E731
    return BoundFunction.of(function, tf.constant(kernel, dtype)), kernel


FUNCTIONS = (LOG1P, LOG_CAYLEY)


def trace(function, kernel):
    """Of `f(J)`, by determinants."""
    eye = np.eye(len(kernel))
    return sum(w * np.linalg.slogdet(eye + s * kernel)[1] for w, s in function.terms)


def series_of_one_probe(kernel, probe, terms):
    """`Σ (−1)^{k+1}/k vᵀ Jᵏ v` with `J = Wᵀ`, by dense products."""
    total, w = 0.0, probe
    for k in range(1, terms + 1):
        w = kernel @ w
        total += (-1) ** (k + 1) / k * np.sum(w * probe)
    return total


def test_exact_is_slogdet(mode, dtype, run_in_mode):
    g, kernel = linear(0.9, dtype)
    x = tf.zeros((5, SIZE), dtype)
    seed = tf.constant([0, 0])
    value = run_in_mode(lambda x: log_det.Exact()(g, x, seed)[1], mode)(x)
    truth = np.linalg.slogdet(np.eye(SIZE) + kernel)[1]
    np.testing.assert_allclose(value, np.full(5, truth), rtol=1e-5 if dtype == "float32" else 1e-12)


def test_power_series_is_the_truncated_series_of_its_probe(mode, dtype, run_in_mode):
    g, kernel = linear(0.7, dtype)
    estimator = log_det.PowerSeries(5, probe="rademacher")
    x, seed = tf.zeros((3, SIZE), dtype), tf.constant([4, 2])
    value = run_in_mode(lambda x: estimator(g, x, seed)[1], mode)(x)
    split = tf.random.experimental.stateless_split(seed, 2, alg="philox")
    probe = probes.draw("rademacher", tf.zeros((3, SIZE), tf.float64), 1, split[0]).numpy()
    expected = [series_of_one_probe(kernel, v, 5) for v in probe]
    np.testing.assert_allclose(value, expected, rtol=1e-4 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize(
    "estimator",
    [
        log_det.PowerSeries(80, probes=5),
        log_det.PowerSeries(80, probes=5, probe="gaussian"),
        log_det.PowerSeries(80, probes=5, probe="orthogonal"),
        log_det.Krylov(6),
        log_det.Krylov(6, tolerance=1e-9, probes=3, probe="orthogonal"),
        log_det.RussianRoulette(probes=5),
        log_det.RussianRoulette(exact_terms=4, survival=0.8, probes=5),
    ],
    ids=lambda e: f"{e.name}-{getattr(e, 'probe', '')}",
)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_mean_over_probes_is_the_log_det(estimator, function):
    """Within 3.5 standard errors over 10,000 examples, each of which has its own probes."""
    g, kernel = linear(0.8)

    @tf.function(autograph=False)
    def values(seed):
        x = tf.zeros((50, SIZE), tf.float64)
        return estimator(g, x, seed, lipschitz=0.8, function=function)[1]

    draws = np.concatenate([values(tf.constant([3, i])) for i in range(200)])
    truth = trace(function, kernel)
    # Examples of a call share their N, so the standard error comes from the means of calls.
    means = draws.reshape(200, 50).mean(1)
    assert abs(means.mean() - truth) < 3.5 * means.std(ddof=1) / math.sqrt(200)


def test_anchor_06_the_value_is_true_and_has_a_gradient():
    """The Neumann gradient doesn't replace the value by a surrogate's."""
    g, _ = linear(0.7, then=tf.tanh)
    x, seed = tf.random.stateless_normal((4, SIZE), [1, 1], dtype=tf.float64), tf.constant([1, 2])
    values = []
    for gradient in ("neumann", "autodiff"):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = log_det.PowerSeries(6, gradient=gradient)(g, x, seed)[1]
        values.append(value)
        assert np.all(np.abs(tape.gradient(value, x)) > 0)
    np.testing.assert_array_equal(*values)


def test_anchor_05_each_example_has_its_own_cotangent():
    """The gradient of `Σ wᵢ log_detᵢ` is the `wᵢ`-weighted sum of the examples' gradients."""
    g, _ = linear(0.7, then=tf.sin)
    x, seed = tf.random.stateless_normal((4, SIZE), [1, 1], dtype=tf.float64), tf.constant([1, 2])
    weights = tf.constant([1.0, -5.0, 0.0, 100.0], tf.float64)

    def gradient(weights):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = log_det.PowerSeries(6, gradient="neumann")(g, x, seed)[1]
            total = tf.reduce_sum(weights * value)
        return tape.gradient(total, x).numpy()

    expected = weights.numpy()[:, None] * gradient(tf.ones(4, tf.float64))
    np.testing.assert_allclose(gradient(weights), expected, rtol=1e-12)


def test_anchor_09_roulette_survival_exceeds_the_squared_bound():
    """Finite variance needs survival > L²; the default follows the bound, N the stateless seed."""
    for bound in (0.1, 0.5, 0.9, 0.98):
        assert log_det.RussianRoulette().survival_at(bound) > bound**2
    g, _ = linear(0.5)
    x = tf.zeros((2, SIZE), tf.float64)
    roulette = log_det.RussianRoulette(survival=0.5)
    once, again, other = (roulette(g, x, tf.constant(s))[1] for s in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(once, again)
    assert np.any(once != other)


def test_a_neumann_gradient_goes_back_through_one_product():
    """Whatever the number of terms: so no memory grows with them, as that of the value's does."""
    kernel, x = tf.constant(matrix(0.7)), tf.zeros((8, SIZE), tf.float64)
    back = []

    @tf.custom_gradient
    def passed(w):
        def grad(upstream):
            back.append(1)
            return upstream

        return tf.identity(w), grad

    class Watched(Matrix):
        def adjoint(self, y, size=None):
            return passed(super().adjoint(y, size))

    def count(terms, gradient):
        estimator = log_det.PowerSeries(terms, gradient=gradient, exact_trace=False)
        back.clear()
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            value = estimator(BoundFunction.linear(Watched(kernel)), x, tf.constant([0, 1])).log_det
        tape.gradient(value, kernel)
        return len(back)

    assert [count(terms, "neumann") for terms in (5, 20)] == [1, 1]
    assert [count(terms, "autodiff") for terms in (5, 20)] == [5, 20]


def test_auto_is_exact_where_that_is_cheap():
    auto = log_det.Auto()
    assert auto.resolve(2, training=True) == log_det.Exact()
    assert auto.resolve(64, training=False) == log_det.Exact()
    assert auto.resolve(64, training=True) == log_det.RussianRoulette()
    assert auto.resolve(3072, training=False) == log_det.Krylov(24, tolerance=1e-4)
    assert log_det.Auto(training="exact").resolve(64, training=True) == log_det.Exact()


@pytest.mark.parametrize(
    "estimator",
    [
        *(log_det.get(name) for name in log_det.LogDet.registry),
        log_det.Auto(training=log_det.PowerSeries(4), evaluation={"name": "exact"}),
    ],
)
def test_estimators_serialize(estimator):
    assert log_det.get(log_det.serialize(estimator)) == estimator


def test_same_seed_same_probes_in_every_mode(mode, run_in_mode):
    for sampler in probes.SAMPLERS.values():
        draw = run_in_mode(lambda seed: sampler((5, 3), seed, tf.float32), mode)  # noqa: B023
        expected = sampler((5, 3), tf.constant([1, 7]), tf.float32)
        np.testing.assert_allclose(draw(tf.constant([1, 7])), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", probes.NAMES)
def test_probes_have_mean_zero_and_unit_covariance(name):
    x = tf.zeros((100_000, 3), tf.float64)
    draws = probes.draw(name, x, 2, tf.constant([0, 5])).numpy()
    np.testing.assert_allclose(draws.mean(0), 0, atol=4 / math.sqrt(200_000))
    np.testing.assert_allclose(np.cov(draws.T), np.eye(3), atol=6 / math.sqrt(200_000))


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: log_det.get("magic"), "one of .*exact.*magic"),
        (lambda: log_det.PowerSeries(0), "terms to be an integer ≥ 1.*terms=0"),
        (lambda: log_det.PowerSeries(3, probe="cauchy"), "probe to be one of.*cauchy"),
        (lambda: log_det.Krylov(0), "steps to be an integer ≥ 1.*steps=0"),
        (lambda: log_det.Krylov(tolerance=0.0), "tolerance > 0.*0.0"),
        (
            lambda: probes.draw("orthogonal", tf.zeros((1, 2)), 3, tf.constant([0, 0])),
            "at most as many orthogonal probes as dimensions, 2.*probes=3",
        ),
        (lambda: log_det.PowerSeries(3, gradient="magic"), "gradient to be one of.*magic"),
        (lambda: log_det.RussianRoulette(survival=1.0), "survival.*between 0 and 1.*1.0"),
        (lambda: probes.as_seed(0.5), "seed to be an int.*0.5"),
        (lambda: probes.as_seed([1, 2, 3, 4]), "seed to be an int"),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
