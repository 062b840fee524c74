"""Functions that know the trace of their Jacobian, against the Jacobian itself."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import layers, log_det
from tf_iresnet.numerics.products import linearize


def dense(units, activation=None, **kwargs):
    initializer = keras.initializers.RandomNormal(stddev=1.0, seed=units)
    return layers.SpectralDense(
        units, 0.9, activation, kernel_initializer=initializer, dtype="float64", **kwargs
    )


KNOWN = {
    "linear": lambda: [dense(4)],
    "matrices": lambda: [dense(7), dense(4)],
    "one": lambda: [dense(7, "lipswish"), dense(4)],
    "two": lambda: [dense(7, "elu"), dense(5, "sine"), dense(4)],
    "mirrored": lambda: [dense(7, "cpila"), dense(5, "clipswish"), dense(4)],
    "pointwise_first": lambda: [layers.activations.get("sine", "float64"), dense(4, "tanh")],
    "pointwise_only": lambda: [layers.activations.get(name, "float64") for name in ("tanh", "elu")],
    "conditional": lambda: [dense(7, "sine", condition_size=2), dense(4, condition_size=2)],
}
UNKNOWN = {
    "three": lambda: [dense(7, "elu"), dense(7, "elu"), dense(7, "elu"), dense(4)],
    "sorted": lambda: [dense(8, "maxmin"), dense(4)],
    "grown": lambda: [dense(3), layers.LipschitzConcat(dense(2), dtype="float64"), dense(4)],
    "concatenated": lambda: [layers.LipschitzConcat(dense(3), dtype="float64"), dense(4)],
}


def bound(make, shape=(5, 4)):
    """The function, and inputs for it."""
    random = np.random.default_rng(0)
    branch = layers.ContractiveSequential(make(), dtype="float64")
    branch.build((None, *shape[1:]))
    condition = tf.constant(random.normal(size=(shape[0], 2)))
    return branch.bind(condition), tf.constant(random.normal(size=shape))


@pytest.mark.parametrize("name", KNOWN)
def test_the_trace_is_that_of_the_jacobian(name, mode, run_in_mode):
    g, x = bound(KNOWN[name])
    y, trace = run_in_mode(lambda x: g.linearize(x, trace=True)[::2], mode)(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        expected = g(x)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    np.testing.assert_allclose(trace, tf.linalg.trace(tape.batch_jacobian(expected, x)), rtol=1e-10)


def test_the_trace_of_maps_of_several_positions_is_their_sum():
    g, x = bound(KNOWN["two"], (5, 3, 4))
    flat = g.linearize(tf.reshape(x, [15, 4]), trace=True).trace
    trace = g.linearize(x, trace=True).trace
    np.testing.assert_allclose(trace, tf.reduce_sum(tf.reshape(flat, [5, 3]), 1), rtol=1e-12)


@pytest.mark.parametrize("name", UNKNOWN)
def test_where_the_trace_would_cost_products_there_is_none(name):
    g, x = bound(UNKNOWN[name])
    y, _, trace = g.linearize(x, trace=True)
    assert trace is None
    np.testing.assert_array_equal(y, g(x))


@pytest.mark.parametrize("function", [log_det.LOG1P, log_det.LOG_CAYLEY])
def test_exact_traces_leave_the_noise_of_the_other_terms(function):
    """Value and gradient keep their means, with less noise."""
    g, x = bound(KNOWN["two"])
    found = {}
    for exact_trace in (True, False):
        estimator = log_det.PowerSeries(30, gradient="neumann", exact_trace=exact_trace)

        @tf.function(autograph=False)
        def both(seed, estimator=estimator):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = estimator(g, x, seed, True, 0.75, function)[1]
            return value, tape.gradient(value, x)

        draws = [both(tf.constant([3, i])) for i in range(400)]
        found[exact_trace] = [np.stack(d).reshape(400, -1) for d in zip(*draws, strict=True)]
    for ours, plain in zip(found[True], found[False], strict=True):
        assert np.sum(ours.var(0)) < 0.5 * np.sum(plain.var(0))
        error = np.sqrt((ours.var(0, ddof=1) + plain.var(0, ddof=1)) / 400)
        assert np.all(np.abs(ours.mean(0) - plain.mean(0)) < 4 * error)


def test_one_term_and_an_exact_trace_leave_nothing_to_chance():
    g, x = bound(KNOWN["two"])
    value = log_det.PowerSeries(1)(g, x, tf.constant([0, 1]))[1]
    np.testing.assert_allclose(value, g.linearize(x, trace=True).trace, rtol=1e-12)


@pytest.mark.parametrize("name", [*KNOWN, *UNKNOWN])
def test_products_and_their_gradients_are_those_of_the_whole_function(name):
    g, x = bound({**KNOWN, **UNKNOWN}[name])
    w = tf.constant(np.random.default_rng(1).normal(size=x.shape))

    def product_and_gradient(function):
        with tf.GradientTape() as tape:
            tape.watch([x, *g.parameters])
            product = linearize(function, x).product(w)
            total = tf.reduce_sum(product**2)
        return product, *tape.gradient(
            total, [x, *g.parameters], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    ours, plain = product_and_gradient(g), product_and_gradient(lambda x: g(x))
    for value, expected in zip(ours, plain, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)


def test_what_a_subclass_computes_otherwise_is_not_taken_for_pointwise():
    class Mixing(layers.LipSwish):
        def apply(self, x, beta):
            return super().apply(tf.reverse(x, [-1]), beta)

    class Renamed(layers.LipSwish):
        pass

    assert Mixing(dtype="float64").kind is None
    assert Renamed(dtype="float64").kind is layers.LipSwish.kind
    g, x = bound(lambda: [dense(6, Mixing(dtype="float64")), dense(4)])
    assert g.linearize(x, trace=True).trace is None
