"""Estimators against dense linear algebra in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import log_det
from tf_iresnet.numerics import linalg, probes, truncation

SIZE = 6


def linear(norm, size=SIZE, seed=0):
    """`g(x) = x W` with `‖W‖₂ = norm`, and `W`."""
    kernel = np.random.default_rng(seed).normal(size=(size, size))
    kernel *= norm / np.linalg.norm(kernel, 2)
    return (lambda x: tf.matmul(x, tf.constant(kernel, x.dtype))), kernel


FUNCTIONS = (log_det.LOG1P, log_det.LOG_CAYLEY)


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
    g, kernel = linear(0.9)
    x = tf.zeros((5, SIZE), dtype)
    seed = tf.constant([0, 0])
    value = run_in_mode(lambda x: log_det.Exact()(g, x, seed)[1], mode)(x)
    truth = np.linalg.slogdet(np.eye(SIZE) + kernel)[1]
    np.testing.assert_allclose(value, np.full(5, truth), rtol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 64])
def test_log_det_positive_and_its_gradient(size, mode, run_in_mode):
    matrix = np.eye(size) + linear(0.95, size)[1]

    def value_and_gradient(m):
        with tf.GradientTape() as tape:
            tape.watch(m)
            value = linalg.log_det_positive(m)
        return value, tape.gradient(value, m)

    value, gradient = run_in_mode(value_and_gradient, mode)(tf.constant(matrix[None]))
    np.testing.assert_allclose(value[0], np.linalg.slogdet(matrix)[1], rtol=1e-10)
    np.testing.assert_allclose(gradient[0], np.linalg.inv(matrix).T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [2, 6])
def test_anchor_13_a_negative_determinant_is_reported(size):
    matrix = np.diag([-2.0] + [1.0] * (size - 1))[None]
    assert np.isnan(linalg.log_det_positive(tf.constant(matrix))[0])


def test_power_series_is_the_truncated_series_of_its_probe(mode, dtype, run_in_mode):
    g, kernel = linear(0.7)
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
        log_det.HutchPlusPlus(6, steps=6),
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
    g, _ = linear(0.7)
    x, seed = tf.random.stateless_normal((4, SIZE), [1, 1], dtype=tf.float64), tf.constant([1, 2])

    def nonlinear(x):
        return tf.tanh(g(x))

    values = []
    for gradient in ("neumann", "autodiff"):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = log_det.PowerSeries(6, gradient=gradient)(nonlinear, x, seed)[1]
        values.append(value)
        assert np.all(np.abs(tape.gradient(value, x)) > 0)
    np.testing.assert_array_equal(*values)


def test_anchor_05_each_example_has_its_own_cotangent():
    """The gradient of `Σ wᵢ log_detᵢ` is the `wᵢ`-weighted sum of the examples' gradients."""
    g, _ = linear(0.7)
    x, seed = tf.random.stateless_normal((4, SIZE), [1, 1], dtype=tf.float64), tf.constant([1, 2])
    weights = tf.constant([1.0, -5.0, 0.0, 100.0], tf.float64)

    def gradient(weights):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = log_det.PowerSeries(6, gradient="neumann")(lambda x: tf.sin(g(x)), x, seed)[1]
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


@pytest.mark.parametrize("bound,terms", [(0.5, 3), (0.9, 10), (0.98, 20), (0.3, 60)])
def test_tail_of_the_series(bound, terms):
    """Equals the closed form where that has digits."""
    closed = -math.log1p(-bound) - sum(bound**k / k for k in range(1, terms + 1))
    assert log_det.LOG1P.tail(bound, terms) == pytest.approx(closed, rel=1e-9, abs=1e-14)
    odd = 2 * (math.atanh(bound) - sum(bound**k / k for k in range(1, terms + 1, 2)))
    assert log_det.LOG_CAYLEY.tail(bound, terms) == pytest.approx(odd, rel=1e-9, abs=1e-14)
    assert math.isinf(log_det.LOG1P.tail(1.0, terms))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
@pytest.mark.parametrize(
    "estimator", [log_det.PowerSeries(4), log_det.Krylov(4), log_det.Krylov(6, tolerance=0.1)]
)
def test_what_is_reported_bounds_what_is_cut_off(estimator, function):
    g, _ = linear(0.8)
    x, seed = tf.zeros((200, SIZE), tf.float64), tf.constant([4, 2])
    with truncation.gather() as bounds:
        value = estimator(g, x, seed, lipschitz=0.8, function=function)[1]
    whole = log_det.PowerSeries(200)(g, x, seed, function=function)[1]
    missing, bound = np.abs(value - whole), bounds.total(value).numpy()
    assert np.all(missing <= bound + 1e-12) and np.all(bound < 100 * missing.max())


def test_memory_of_the_neumann_gradient_is_flat_in_the_terms():
    """What a gradient keeps from the forward pass doesn't grow with the number of terms."""
    g, _ = linear(0.7)
    x, seed = tf.zeros((8, SIZE), tf.float64), tf.constant([0, 1])

    def kept(terms, gradient):
        estimator = log_det.PowerSeries(terms, gradient=gradient)
        forward = tf.function(lambda x: estimator(lambda x: tf.sin(g(x)), x, seed)[1])
        concrete = forward.get_concrete_function(tf.TensorSpec(x.shape, x.dtype))
        backward = concrete._delayed_rewrite_functions.forward_backward(1)[0]
        return len(backward.cached_definition.signature.output_arg)

    assert kept(20, "neumann") == kept(5, "neumann")
    assert kept(20, "autodiff") > kept(5, "autodiff")


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
        *(log_det.get(name) for name in log_det.ESTIMATORS),
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
        (lambda: log_det.HutchPlusPlus(2), "at least 3 probes.*2"),
        (
            lambda: probes.draw("orthogonal", tf.zeros((1, 2)), 3, tf.constant([0, 0])),
            "at most as many orthogonal probes as dimensions, 2.*probes=3",
        ),
        (lambda: log_det.PowerSeries(3, gradient="magic"), "gradient to be one of.*magic"),
        (lambda: log_det.RussianRoulette(survival=1.0), "survival.*between 0 and 1.*1.0"),
        (lambda: probes.as_seed(0.5), "seed to be an int.*0.5"),
        (lambda: probes.as_seed([1, 2, 3]), "seed to be an int"),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
