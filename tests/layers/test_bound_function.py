"""Functions that know the trace of their Jacobian, against the Jacobian itself."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.references import jacobian, points

from tf_iresnet import layers, log_det
from tf_iresnet.numerics.bound_function import BoundFunction, compose
from tf_iresnet.numerics.linear_maps import Matrix
from tf_iresnet.numerics.log_functions import LOG1P, LOG_CAYLEY


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
    branch = layers.ContractiveSequential(make(), dtype="float64")
    branch.build((None, *shape[1:]))
    return branch.bind(points(shape[0], 2, seed=1)), points(*shape)


@pytest.mark.parametrize("name", KNOWN)
def test_the_trace_is_that_of_the_jacobian(name, mode, run_in_mode):
    g, x = bound(KNOWN[name])
    y, trace = run_in_mode(lambda x: g.linearize(x, trace=True)[::2], mode)(x)
    np.testing.assert_allclose(y, g(x), rtol=1e-12)
    np.testing.assert_allclose(trace, np.trace(jacobian(g, x), axis1=1, axis2=2), rtol=1e-10)


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


@pytest.mark.parametrize("function", [LOG1P, LOG_CAYLEY], ids=lambda f: f.name)
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
                value = estimator(g, x, seed, True, 0.75, function=function).log_det
            return value, tape.gradient(value, x)

        draws = [both(tf.constant([3, i])) for i in range(400)]
        found[exact_trace] = [np.stack(d).reshape(400, -1) for d in zip(*draws, strict=True)]
    for ours, plain in zip(found[True], found[False], strict=True):
        assert np.sum(ours.var(0)) < 0.5 * np.sum(plain.var(0))
        error = np.sqrt((ours.var(0, ddof=1) + plain.var(0, ddof=1)) / 400)
        assert np.all(np.abs(ours.mean(0) - plain.mean(0)) < 4 * error)


def test_one_term_and_an_exact_trace_leave_nothing_to_chance():
    g, x = bound(KNOWN["two"])
    value = log_det.PowerSeries(1)(g, x, tf.constant([0, 1])).log_det
    np.testing.assert_allclose(value, g.linearize(x, trace=True).trace, rtol=1e-12)


@pytest.mark.parametrize("name", [*KNOWN, *UNKNOWN])
def test_products_and_their_gradients_are_those_of_the_whole_function(name):
    g, x = bound({**KNOWN, **UNKNOWN}[name])
    w, inputs = points(*x.shape, seed=2), [x, *tf.nest.flatten(g)]

    def product_and_gradient(function):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            product = function.linearize(x).product(w)
            total = tf.reduce_sum(product**2)
        zero = tf.UnconnectedGradients.ZERO
        return product, *tape.gradient(total, inputs, unconnected_gradients=zero)

    ours, plain = product_and_gradient(g), product_and_gradient(BoundFunction.of(lambda x: g(x)))
    for value, expected in zip(ours, plain, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["two", "mirrored", "sorted"])
def test_a_product_takes_several_vectors_of_each_example(name):
    g, x = bound({**KNOWN, **UNKNOWN}[name])
    vectors = points(3, *x.shape, seed=2)
    product = g.linearize(x, copies=3).product(tf.reshape(vectors, [-1, *x.shape[1:]]))
    expected = np.einsum("cbi,bij->cbj", vectors, jacobian(g, x))
    np.testing.assert_allclose(tf.reshape(product, vectors.shape), expected, rtol=1e-10)


@pytest.mark.parametrize("name", [*KNOWN, *UNKNOWN])
def test_its_tensors_make_it_up(name):
    """Those of a function with others in their place: what loops and solvers rely on."""
    g, x = bound({**KNOWN, **UNKNOWN}[name])
    tensors = tf.nest.flatten(g)
    assert all(tensor.dtype == tf.float64 for tensor in tensors)
    zero = tf.nest.map_structure(tf.zeros_like, g)
    again = tf.nest.pack_sequence_as(zero, tensors)
    np.testing.assert_array_equal(again(x), g(x))
    assert not tensors or np.any(zero(x) != g(x))


@pytest.mark.parametrize(
    "estimator", [log_det.PowerSeries, log_det.Krylov, log_det.RussianRoulette]
)
def test_the_exact_trace_costs_no_product_and_no_evaluation(estimator):
    """Counted at the two kernels of `x ↦ sin(x W₁) W₂`, in training and out of it."""
    counts = {"apply": 0, "adjoint": 0}

    class Counted(Matrix):
        def apply(self, x):
            counts["apply"] += 1
            return super().apply(x)

        def adjoint(self, y, size=None):
            counts["adjoint"] += 1
            return super().adjoint(y, size)

    first, second = (BoundFunction.linear(Counted(0.3 * points(4, 4, seed=i))) for i in range(2))
    g, x = compose([first, BoundFunction.pointwise(tf.sin), second]), points(5, 4)
    for training in (True, False):
        costs = {}
        for exact_trace in (True, False):
            counts.update(apply=0, adjoint=0)
            estimate = estimator(exact_trace=exact_trace)
            estimate(g, x, tf.constant([0, 1]), training, 0.5)
            costs[exact_trace] = dict(counts)
        assert costs[True] == costs[False]
        assert costs[True]["apply"] == 2 and costs[True]["adjoint"] >= 4


def test_what_a_subclass_computes_otherwise_is_not_taken_for_pointwise():
    class Mixing(layers.LipSwish):
        def bind(self, condition=None, training=None):
            reverse = BoundFunction.of(lambda x: tf.reverse(x, [-1]))
            return compose([reverse, super().bind(condition, training)])

    class Renamed(layers.LipSwish):
        pass

    for activation, known in ((Mixing, False), (Renamed, True)):
        g, x = bound(lambda: [dense(6, activation(dtype="float64")), dense(4)])  # noqa: B023
        trace = g.linearize(x, trace=True).trace
        assert (trace is not None) == known
        exact = np.trace(jacobian(g, x), axis1=1, axis2=2)
        np.testing.assert_allclose(exact if trace is None else trace, exact, rtol=1e-10)
        w = points(*x.shape, seed=2)
        expected = np.einsum("bi,bij->bj", w, jacobian(g, x))
        np.testing.assert_allclose(g.linearize(x).product(w), expected, rtol=1e-10)
