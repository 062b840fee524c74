"""A bijector inside what else TFP has: samplers, joint distributions, replicas."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats
from support.closed_form_layers import (
    CONDITION,
    MATRIX,
    OFFSET,
    SEED,
    Bent,
    X,
    affine,
    built,
    closed_form,
    flow,
    jacobian_log_det,
    standard_normal,
)

from tf_iresnet.bijectors import InvertibleBijector
from tf_iresnet.layers import Inverse, InvertibleSequential

tfb, tfd = tfp.bijectors, tfp.distributions


def test_equality_follows_the_layer():
    layer = affine()
    assert InvertibleBijector(layer) == InvertibleBijector(layer)
    assert InvertibleBijector(layer) != InvertibleBijector(affine())
    assert InvertibleBijector(layer).copy(name="other").name == "other"
    assert "invertible_bijector" in str(InvertibleBijector(layer))


def test_an_implicit_flow_is_a_distribution_too():
    steps = [Bent(dtype="float64"), Inverse(affine(), dtype="float64")]
    layer = built(InvertibleSequential(steps, dtype="float64"))
    x = flow(layer).sample(4, seed=SEED)
    log_prob = flow(layer).log_prob(tf.identity(x))
    log_det = jacobian_log_det(layer.call, x.numpy())
    z = layer.call(x).numpy()
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(z).sum(1) + log_det, rtol=1e-8)


def test_hamiltonian_monte_carlo_finds_the_moments_of_the_closed_form():
    layer = affine()
    kernel = tfp.mcmc.HamiltonianMonteCarlo(flow(layer).log_prob, 0.4, 4)

    @tf.function(jit_compile=True)
    def run():
        return tfp.mcmc.sample_chain(
            300,
            tf.zeros([64, 2], tf.float64),
            kernel=kernel,
            num_burnin_steps=50,
            trace_fn=None,
            seed=SEED,
        )

    draws = run().numpy().reshape(-1, 2)
    covariance = np.linalg.inv(MATRIX.T @ MATRIX)
    # 19,200 draws; even a tenth of them independent puts the bounds at over four standard errors.
    np.testing.assert_allclose(draws.mean(0), -np.linalg.solve(MATRIX, OFFSET), atol=0.12)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.2)


def test_as_part_of_a_joint_distribution(mode, run_in_mode):
    layer = affine(condition_size=2)
    bijector = InvertibleBijector(layer)

    @tfd.JointDistributionCoroutineAutoBatched
    def joint():
        c = yield tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), 2, name="c")
        conditional = bijector.copy(condition=c)
        yield tfd.TransformedDistribution(standard_normal(), tfb.Invert(conditional), name="x")

    log_prob = run_in_mode(lambda: joint.log_prob(c=CONDITION[0], x=X[0]), mode)()
    expected = stats.norm.logpdf(CONDITION[0]).sum() + closed_form(layer, X[0], CONDITION[0])
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    assert joint.sample(seed=SEED).x.shape == (2,)


@pytest.mark.parametrize("where", ["eager", "graph"])
def test_replicas_given_the_same_tensors_each_differentiate_their_own_pass(where, run_in_mode):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        layer = affine()
        distribution = flow(layer)
    x, noise = tf.constant(X), tf.constant(X)

    def gradients():
        with tf.GradientTape(persistent=True) as tape:
            log_prob = tf.reduce_sum(distribution.log_prob(x))
            sample = tf.reduce_sum(distribution.bijector.forward(noise))
        offset = distribution.trainable_variables[1]
        return tape.gradient(log_prob, offset), tape.gradient(sample, offset)

    def step():
        return [strategy.experimental_local_results(g) for g in strategy.run(gradients)]

    by_log_prob, by_sample = run_in_mode(step, where)()
    assert len(by_log_prob) == len(by_sample) == 2
    for gradient in by_log_prob:
        np.testing.assert_allclose(gradient, -(X @ MATRIX.T + OFFSET).sum(0), rtol=1e-12)
    for gradient in by_sample:
        np.testing.assert_allclose(gradient, -3 * np.linalg.inv(MATRIX).sum(0), rtol=1e-12)
    with strategy.scope():  # between replicas, where a mirrored variable has no single handle
        log_prob = run_in_mode(distribution.log_prob, where)(x)
    np.testing.assert_allclose(log_prob, closed_form(affine(), X), rtol=1e-12)
