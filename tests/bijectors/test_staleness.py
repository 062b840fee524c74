"""What a bijector remembers is never of other weights than those of now."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from support.closed_form_layers import (
    MATRIX,
    OFFSET,
    SEED,
    X,
    affine,
    bent,
    closed_form,
    flow,
    jacobian_log_det,
    standard_normal,
    update,
)

from tf_iresnet.bijectors import InvertibleBijector

tfb, tfd = tfp.bijectors, tfp.distributions


def test_eager_log_prob_follows_the_optimizer_on_the_same_tensor():
    layer, x = affine(), tf.constant(X)
    distribution = flow(layer)
    optimizer = keras.optimizers.SGD(0.05)
    for _ in range(3):
        before = distribution.log_prob(x)
        np.testing.assert_allclose(before, closed_form(layer, X), rtol=1e-12)
        with tf.GradientTape() as tape:
            loss = -tf.reduce_sum(distribution.log_prob(x))
        gradients = tape.gradient(loss, layer.trainable_weights)
        z = X @ layer.matrix.numpy().T + layer.offset.numpy()
        np.testing.assert_allclose(gradients[1], z.sum(0), rtol=1e-12)
        optimizer.apply(gradients, layer.trainable_weights)


def test_eager_log_prob_of_a_sample_follows_an_update():
    layer = affine()
    distribution = flow(layer)
    x = distribution.sample(5, seed=SEED)
    update(layer)
    np.testing.assert_allclose(distribution.log_prob(x), closed_form(layer, x), rtol=1e-12)


def test_eager_inverse_of_a_remembered_latent_follows_an_update():
    layer = affine()
    bijector = InvertibleBijector(layer)
    x = tf.constant(X)
    y = bijector.forward(x)
    assert bijector.inverse(y) is x
    update(layer)
    a, b = layer.matrix.numpy(), layer.offset.numpy()
    expected = np.linalg.solve(a, (y.numpy() - b).T).T
    np.testing.assert_allclose(bijector.inverse(y), expected, rtol=1e-10)
    np.testing.assert_allclose(
        bijector.inverse_log_det_jacobian(y), np.full(3, -np.linalg.slogdet(a)[1]), rtol=1e-12
    )


def test_a_new_equal_bijector_and_two_layers_share_no_values():
    first, second = affine(), affine()
    update(second)
    x = tf.constant(X)
    y = InvertibleBijector(first).forward(x)
    recovered = InvertibleBijector(second).inverse(y)
    z = X @ MATRIX.T + OFFSET - second.offset.numpy()
    np.testing.assert_allclose(recovered, np.linalg.solve(second.matrix.numpy(), z.T).T, rtol=1e-10)


def test_a_graph_that_updates_weights_between_calls_sees_the_new_ones(run_in_mode):
    layer, x = affine(), tf.constant(X)
    distribution, bijector = flow(layer), InvertibleBijector(layer)

    def step(x):
        y = bijector.forward(x)
        before = distribution.log_prob(x)
        update(layer)
        return y, before, distribution.log_prob(x), bijector.inverse(y)

    y, before, after, recovered = run_in_mode(step, "graph")(x)
    np.testing.assert_allclose(before, closed_form(affine(), X), rtol=1e-12)
    np.testing.assert_allclose(after, closed_form(layer, X), rtol=1e-12)
    np.testing.assert_allclose(bijector.forward(recovered), y, rtol=1e-10)


@pytest.mark.parametrize("where", ["eager", "graph"])
def test_a_tape_that_began_after_forward_differentiates_the_inverse(where, run_in_mode):
    layer = bent()
    bijector = InvertibleBijector(layer)

    def gradients(x):
        y = bijector.forward(x)
        with tf.GradientTape() as tape:
            tape.watch(y)
            log_det = tf.reduce_sum(bijector.inverse_log_det_jacobian(y))
        return y, tape.gradient(log_det, [y, layer.trainable_weights[0]._value])

    y, (by_y, by_weight) = run_in_mode(gradients, where)(tf.constant(X))

    def total(y):
        return tf.reduce_sum(bijector.inverse_log_det_jacobian(tf.constant(y))).numpy()

    step = 1e-5 * np.eye(6).reshape(6, 3, 2)
    expected = [(total(y + s) - total(y - s)) / 2e-5 for s in step]
    np.testing.assert_allclose(np.ravel(by_y), expected, atol=1e-8)
    weight = layer.trainable_weights[0]
    value = weight.numpy()
    expected = []
    for direction in 1e-5 * np.eye(4).reshape(4, 2, 2):
        ends = []
        for sign in (1, -1):
            weight.assign(value + sign * direction)
            ends.append(total(y))
        expected.append((ends[0] - ends[1]) / 2e-5)
    np.testing.assert_allclose(np.ravel(by_weight), expected, atol=1e-8)


def test_values_made_in_a_branch_or_loop_do_not_leak_out(run_in_mode):
    bijector = InvertibleBijector(bent())

    def log_dets(x):
        y = bijector.forward(x)
        inside = tf.cond(
            tf.reduce_sum(x) > 0,
            lambda: bijector.inverse_log_det_jacobian(y),
            lambda: tf.zeros(3, x.dtype),
        )
        _, looped = tf.while_loop(
            lambda i, _: i < 2,
            lambda i, total: (i + 1, total + bijector.inverse_log_det_jacobian(y)),
            (0, tf.zeros(3, x.dtype)),
        )
        return inside, looped / 2, bijector.inverse_log_det_jacobian(y)

    expected = -jacobian_log_det(bent().call, X)
    for value in run_in_mode(log_dets, "graph")(tf.constant(X)):
        np.testing.assert_allclose(value, expected, rtol=1e-10)


def test_a_latent_keeps_its_origin_alive_and_nothing_else_does():
    bijector = InvertibleBijector(affine())
    x = tf.constant(X)
    y = bijector.forward(x)
    origin = weakref.ref(x)
    del x
    assert bijector.inverse(y) is origin()
    del y
    assert origin() is None


def test_traced_graphs_are_freed():
    bijector = InvertibleBijector(affine())
    graphs = []

    @tf.function
    def round_trip(x):
        graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
        return bijector.inverse(bijector.forward(x))

    round_trip(tf.constant(X))
    del round_trip
    gc.collect()
    assert graphs[0]() is None


def test_a_chain_that_its_docstring_warns_of_is_fresh_for_a_copy_and_in_a_graph():
    layer = affine()
    shift = tfb.Shift(tf.constant([1.0, 2.0], tf.float64))
    chain = tfb.Chain([shift, tfb.Invert(InvertibleBijector(layer))])
    distribution = tfd.TransformedDistribution(standard_normal(), chain)
    x = distribution.sample(3, seed=SEED)
    update(layer)
    expected = closed_form(layer, x - [1.0, 2.0])
    np.testing.assert_allclose(distribution.log_prob(tf.identity(x)), expected, rtol=1e-12)
    np.testing.assert_allclose(tf.function(distribution.log_prob)(x), expected, rtol=1e-12)
