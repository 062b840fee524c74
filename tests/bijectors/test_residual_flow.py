"""A residual flow as a distribution of TFP's."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from support.closed_form_layers import SEED, X

import tf_iresnet as tfi

tfb, tfd = tfp.bijectors, tfp.distributions


@pytest.fixture(scope="module")
def mlp():
    return tfi.mlp_flow(2, num_blocks=2, hidden_units=(16,), seed=1)


def test_a_residual_flow_is_the_same_density_to_tfp_and_to_keras(mlp, mode, run_in_mode):
    x = tf.constant(X, tf.float32)
    distribution = mlp.distribution()

    def values(x):
        noise = mlp.base.distribution().sample((2, 3), seed=SEED)
        return distribution.log_prob(x), distribution.sample((2, 3), seed=SEED), noise

    log_prob, samples, z = run_in_mode(values, mode)(x)
    np.testing.assert_allclose(log_prob, mlp.log_prob(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        np.reshape(mlp.encode(tf.reshape(samples, [6, 2])), z.shape), z, atol=1e-4
    )


def test_a_residual_flow_is_never_stale_in_eager_mode(mlp):
    x = tf.constant(X, tf.float32)
    distribution = mlp.distribution()
    sample = distribution.sample(3, seed=SEED)
    before = distribution.log_prob(x)
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(distribution.log_prob(x))
    gradients = tape.gradient(loss, mlp.trainable_weights)
    assert all(np.any(gradient != 0) for gradient in gradients)
    keras.optimizers.SGD(0.1).apply(gradients, mlp.trainable_weights)
    assert not np.allclose(before, distribution.log_prob(x), atol=1e-3)
    for value in (x, sample):
        np.testing.assert_allclose(
            distribution.log_prob(value), mlp.log_prob(tf.identity(value)), rtol=1e-5, atol=1e-5
        )
