"""Densities, samples and gradients of a layer as a bijector are those of its closed form."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from support.closed_form_layers import (
    MATRIX,
    OFFSET,
    SEED,
    TOLERANCE,
    Affine,
    X,
    affine,
    bent,
    built,
    closed_form,
    flow,
    jacobian_log_det,
    standard_normal,
)

from tf_iresnet.bijectors import InvertibleBijector

tfb, tfd = tfp.bijectors, tfp.distributions


def test_log_prob_is_the_closed_form(mode, dtype, run_in_mode):
    layer = built(Affine(dtype=dtype))
    log_prob = run_in_mode(flow(layer).log_prob, mode)(tf.constant(X, dtype))
    np.testing.assert_allclose(log_prob, closed_form(layer, X), rtol=TOLERANCE[dtype])


def test_samples_map_to_the_base_noise_of_the_same_seed(mode, dtype, run_in_mode):
    layer = built(Affine(dtype=dtype))
    samples, noise = run_in_mode(
        lambda: [d.sample((2, 3), seed=SEED) for d in (flow(layer), standard_normal(dtype))], mode
    )()
    assert samples.shape == (2, 3, 2)
    np.testing.assert_allclose(
        samples @ MATRIX.T + OFFSET, noise, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
    )


def test_inverse_and_both_log_dets_match_the_jacobian(mode, dtype, run_in_mode):
    layer, x = bent(dtype), tf.constant(X, dtype)
    bijector = InvertibleBijector(layer)

    def everything(x):
        y = bijector.forward(x)
        fresh = tf.identity(y)  # not the tensor that forward returned, so nothing is remembered
        return (
            bijector.inverse(fresh),
            bijector.forward_log_det_jacobian(x),
            bijector.inverse_log_det_jacobian(tf.identity(y)),
            bijector.inverse_log_det_jacobian(y),
        )

    recovered, forward, inverse, linked = run_in_mode(everything, mode)(x)
    expected = jacobian_log_det(bent().call, X)
    tolerance = 10 * TOLERANCE[dtype]
    np.testing.assert_allclose(recovered, X, atol=tolerance)
    np.testing.assert_allclose(forward, expected, atol=tolerance)
    # Taken at x, not at y.
    np.testing.assert_allclose(inverse, -expected, atol=tolerance)
    np.testing.assert_allclose(linked, -expected, atol=tolerance)


def test_gradients_of_log_prob_are_those_of_the_closed_form(mode, run_in_mode):
    layer, x = affine(), tf.constant(X)
    distribution = flow(layer)

    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(distribution.log_prob(x))
        return tape.gradient(loss, [x, *distribution.trainable_variables])

    by_x, by_matrix, by_offset = run_in_mode(gradients, mode)(x)
    z = X @ MATRIX.T + OFFSET
    np.testing.assert_allclose(by_x, -z @ MATRIX, rtol=1e-12)
    np.testing.assert_allclose(by_matrix, -z.T @ X + 3 * np.linalg.inv(MATRIX).T, rtol=1e-12)
    np.testing.assert_allclose(by_offset, -z.sum(0), rtol=1e-12)


def test_gradients_of_a_sample_are_those_of_the_closed_form(mode, run_in_mode):
    layer = affine()
    distribution = flow(layer)

    def gradients():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(distribution.sample(3, seed=SEED))
        return tape.gradient(total, layer.trainable_weights[1]._value)

    # x = A⁻¹(z − b)
    expected = -3 * np.linalg.inv(MATRIX).sum(0)
    np.testing.assert_allclose(run_in_mode(gradients, mode)(), expected, rtol=1e-12)


def test_log_prob_of_a_sample_and_their_joint_method_agree(mode, run_in_mode):
    distribution = flow(bent())

    def both():
        x, joint = distribution.experimental_sample_and_log_prob(4, seed=SEED)
        return joint, distribution.log_prob(x), distribution.log_prob(tf.identity(x))

    joint, linked, fresh = run_in_mode(both, mode)()
    np.testing.assert_allclose(joint, fresh, rtol=1e-12)
    np.testing.assert_allclose(linked, fresh, rtol=1e-12)
