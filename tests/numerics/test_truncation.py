"""Bounds on what the estimators cut off, and what the roulette can't draw."""

import math

import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi
from tf_iresnet import layers, log_det
from tf_iresnet.numerics import probes
from tf_iresnet.numerics.bound_function import BoundFunction
from tf_iresnet.numerics.log_functions import LOG1P, LOG_CAYLEY

FUNCTIONS = (LOG1P, LOG_CAYLEY)
SEED = tf.constant([4, 2])


def of_norm(norm, size):
    kernel = np.random.default_rng(0).normal(size=(size, size))
    return kernel * norm / np.linalg.norm(kernel, 2)


def coefficient(function, k):
    """Of `Jᵏ` in `Σ w ln(I + sJ)`."""
    return sum(w * -((-s) ** k) / k for w, s in function.terms)


@pytest.mark.parametrize("bound,terms", [(0.5, 3), (0.9, 10), (0.98, 20), (0.3, 60)])
def test_tail_of_the_series(bound, terms):
    """The closed form where that has digits, or a little more if hundreds of terms count."""
    scale, more = bound**terms, 1e-9 if bound <= 0.9 else 3e-2
    closed = -math.log1p(-bound) - sum(bound**k / k for k in range(1, terms + 1))
    odd = 2 * (math.atanh(bound) - sum(bound**k / k for k in range(1, terms + 1, 2)))
    for function, exact in ((LOG1P, closed), (LOG_CAYLEY, odd)):
        tail = scale * float(function.tail(tf.constant(bound, tf.float64), terms))
        assert exact * (1 - 1e-9) - 1e-14 <= tail <= exact * (1 + more) + 1e-14
    assert math.isinf(LOG1P.tail(tf.constant(1.0), terms))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
@pytest.mark.parametrize(
    "estimator", [log_det.PowerSeries(4), log_det.Krylov(4), log_det.Krylov(6, tolerance=0.1)]
)
def test_what_is_reported_bounds_what_is_cut_off(estimator, function):
    kernel = tf.constant(of_norm(0.8, 6))
    g, x = BoundFunction.of(tf.matmul, kernel), tf.zeros((200, 6), tf.float64)
    value, bound = estimator(g, x, SEED, lipschitz=0.8, function=function)[1:]
    whole = log_det.PowerSeries(200)(g, x, SEED, function=function).log_det
    missing = np.abs(value - whole)
    assert np.all(missing <= bound + 1e-12) and np.all(bound < 100 * missing.max())
    # A larger bound that somebody proved counts, a smaller one doesn't; in training nobody asks.
    larger = estimator(g, x, SEED, False, 0.8, 0.9, function).truncation
    smaller = estimator(g, x, SEED, False, 0.8, 0.5, function).truncation
    assert np.all(larger > bound)
    np.testing.assert_array_equal(smaller, bound)
    assert not np.any(estimator(g, x, SEED, True, 0.8, function=function).truncation)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("terms", [2, 6, 9, 12, 20])
def test_a_tiny_remainder_is_bounded_though_its_square_underflows(terms, dtype):
    """`g(x) = x W` with orthogonal `W/L`, `L = 10⁻³`: 20 terms leave 10⁻⁶³ nats to the 21st."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    kernel = 1e-3 * rotation
    x = tf.zeros((5, 6), dtype)
    g = BoundFunction.linear(tf.constant(kernel, dtype))
    bound = log_det.PowerSeries(terms)(g, x, SEED, lipschitz=1e-3).truncation
    seed = tf.random.experimental.stateless_split(SEED, 2, alg="philox")[0]
    missing = np.zeros(5)
    probe = w = probes.draw("rademacher", tf.zeros((5, 6), tf.float64), 1, seed).numpy()
    for k in range(1, terms + 20):
        w = w @ kernel.T
        missing += coefficient(LOG1P, k) * np.sum(w * probe, 1) * (k > terms)
    assert np.all(np.isfinite(bound))
    missing[np.abs(missing) < np.finfo(dtype).tiny] = 0
    assert np.all(bound.numpy() >= np.abs(missing))


def values_of_all_draws(roulette, g, lipschitz, monkeypatch):
    """The values that the 2²⁴ draws of the length lead to, and how many lead to each."""
    integers = probes.integers
    x = tf.zeros((1, 1), tf.float64)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([], tf.int32)])
    def value(draw):
        def drawn(shape, seed, below):
            return draw if below == 2**24 else integers(shape, seed, below)

        with monkeypatch.context() as patch:
            patch.setattr(probes, "integers", drawn)
            return roulette(g, x, SEED, lipschitz=lipschitz).log_det[0]

    found, low = [], 0
    while low < 2**24:
        here, end, after = float(value(low)), low, 2**24
        while after - end > 1:  # the last draw that leads to the same value lies in [end, after)
            middle = (end + after) // 2
            end, after = (middle, after) if float(value(middle)) == here else (end, middle)
        found.append((here, after - low))
        low = after
    return found[::-1]


@pytest.mark.parametrize("survival", [0.3, 0.5])
def test_the_roulette_is_exactly_unbiased_in_its_draws(survival, monkeypatch):
    """Each of the terms of `ln(1 + 1)`, times `P(N ≥ j)`, is as in the series, to rounding."""
    roulette = log_det.RussianRoulette(2, survival, exact_trace=False)
    g = BoundFunction.linear(tf.constant([[1.0]], tf.float64))
    draws = values_of_all_draws(roulette, g, 0.5, monkeypatch)
    values, counts = (np.array(column) for column in zip(*draws, strict=True))
    assert counts.sum() == 2**24
    assert len(draws) - 1 == int(24 * math.log(2) / -math.log(survival))
    assert values[0] == 1 - 1 / 2
    at_least = counts[::-1].cumsum()[::-1] / 2**24
    terms = np.array([coefficient(LOG1P, k) for k in range(3, 2 + len(draws))])
    np.testing.assert_allclose(np.diff(values) * at_least[1:], terms, rtol=1e-9)
    np.testing.assert_allclose(at_least[1:6], survival ** np.arange(1, 6), rtol=1e-4)


def test_of_lengths_that_no_draw_tells_apart_the_mean_is_right(monkeypatch):
    """Of the longest some have equal probabilities, 1 or 2 of 2²⁴, so that they come together."""
    roulette = log_det.RussianRoulette(2, 0.7, exact_trace=False)
    g = BoundFunction.linear(tf.constant([[1.0]], tf.float64))
    draws = values_of_all_draws(roulette, g, 0.5, monkeypatch)
    longest = int(24 * math.log(2) / -math.log(0.7))
    assert len(draws) < 1 + longest
    series = sum(coefficient(LOG1P, k) for k in range(1, 3 + longest))
    assert sum(value * count for value, count in draws) / 2**24 == pytest.approx(series, rel=1e-12)


@pytest.mark.parametrize("slope", [-0.95, 0.95])
def test_the_roulettes_bound_covers_the_terms_that_can_not_be_drawn(slope, monkeypatch):
    roulette = log_det.RussianRoulette(2, 0.5)
    g = BoundFunction.linear(tf.constant([[slope]], tf.float64))
    draws = values_of_all_draws(roulette, g, 0.95, monkeypatch)
    mean = sum(value * count for value, count in draws) / 2**24
    missing = abs(math.log1p(slope) - mean)
    bound = float(roulette(g, tf.zeros((1, 1), tf.float64), SEED, lipschitz=0.95).truncation[0])
    assert 1e-3 < missing <= bound * (1 + 1e-9)


def test_a_density_is_not_traced_anew_for_each_bound_that_is_proven():
    traces = []

    class Counted(layers.Sine):
        def bind(self, condition=None, training=None):
            if not tf.executing_eagerly():
                traces.append(1)
            return super().bind(condition, training)

    branch = [layers.SpectralDense(8, 0.9), Counted(), layers.SpectralDense(3, 0.9)]
    flow = tfi.ResidualFlow(layers.ResidualBlock(branch, log_det.PowerSeries(4)))
    flow.build((None, 3))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    bounds = [flow.log_prob_with_error(x, lipschitz=0.85).truncation_bound]
    first = len(traces)
    bounds += [flow.log_prob_with_error(x, lipschitz=b).truncation_bound for b in (0.9, 0.95)]
    assert len(traces) == first > 0
    assert np.all(bounds[0] < bounds[1]) and np.all(bounds[1] < bounds[2])
