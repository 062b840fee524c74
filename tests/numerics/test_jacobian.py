"""Norms of Jacobians at points against those of a function whose derivative is known."""

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet.numerics import jacobian
from tf_iresnet.numerics.bound_function import BoundFunction


@pytest.mark.parametrize("exact_up_to", [0, 128])
@pytest.mark.parametrize("shape", [(2,), (9,), (3, 2, 2)])
def test_norms_of_a_perceptron_are_those_of_its_derivative(shape, exact_up_to, monkeypatch):
    monkeypatch.setattr(jacobian, "EXACT_UP_TO", exact_up_to)
    random, size = np.random.default_rng(0), int(np.prod(shape))
    first, second = random.normal(size=(size, 20)), random.normal(size=(20, size))
    x = random.normal(size=(7, *shape))

    def g(x):
        hidden = tf.tanh(tf.matmul(tf.reshape(x, [-1, size]), first))
        return tf.reshape(tf.matmul(hidden, second), [-1, *shape])

    slopes = 1 - np.tanh(x.reshape(7, size) @ first) ** 2
    expected = [np.linalg.norm(first * slope @ second, 2) for slope in slopes]
    found = jacobian.norms(BoundFunction.of(g), tf.constant(x))
    np.testing.assert_allclose(found, expected, rtol=5e-3 if not exact_up_to else 1e-12)
    assert np.all(found <= np.array(expected) * (1 + 1e-12))


@pytest.mark.parametrize("size", [3, 200])
def test_constants_have_norm_zero(size):
    g = BoundFunction.of(lambda x: tf.zeros_like(x))
    found = jacobian.norms(g, tf.ones([4, size], tf.float64))
    np.testing.assert_array_equal(found, np.zeros(4))
