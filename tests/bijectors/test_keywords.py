"""Conditions and seeds reach the layer of a bijector."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from support.closed_form_layers import (
    CONDITION,
    MATRIX,
    OFFSET,
    SEED,
    Affine,
    X,
    affine,
    built,
    closed_form,
    flow,
    standard_normal,
)

from tf_iresnet.bijectors import InvertibleBijector

tfb, tfd = tfp.bijectors, tfp.distributions


def test_condition_reaches_density_and_samples(mode, run_in_mode):
    layer = affine(condition_size=2)
    distribution = flow(layer)
    kwargs = {"bijector_kwargs": {"condition": CONDITION}}

    def values(x):
        samples = distribution.sample(3, seed=SEED, **kwargs)
        return distribution.log_prob(x, **kwargs), samples, standard_normal().sample(3, seed=SEED)

    log_prob, samples, noise = run_in_mode(values, mode)(tf.constant(X))
    expected = [closed_form(layer, x, c) for x, c in zip(X, CONDITION, strict=True)]
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    np.testing.assert_allclose(samples @ MATRIX.T + OFFSET + CONDITION, noise, rtol=1e-10)


@pytest.mark.parametrize("where", ["eager", "graph"])
def test_the_same_latent_under_another_condition_is_another_event(where, run_in_mode):
    bijector = InvertibleBijector(affine(condition_size=2))

    def recovered(x):
        y = bijector.forward(x, condition=CONDITION[0])
        return [bijector.inverse(y, condition=c) for c in CONDITION]

    for c, x in zip(CONDITION, run_in_mode(recovered, where)(tf.constant(X)), strict=True):
        shift = np.linalg.solve(MATRIX, CONDITION[0] - c)
        np.testing.assert_allclose(x, X + shift, rtol=1e-10)


def test_a_chain_passes_the_condition_by_name():
    layer = affine(condition_size=2)
    bijector = tfb.Invert(InvertibleBijector(layer, name="flow"))
    shift = tfb.Shift(tf.constant([1.0, 2.0], tf.float64))
    distribution = tfd.TransformedDistribution(standard_normal(), tfb.Chain([shift, bijector]))
    kwargs = {"invert_flow": {"condition": CONDITION[0]}}
    log_prob = distribution.log_prob(tf.constant(X), bijector_kwargs=kwargs)
    expected = closed_form(layer, X - [1.0, 2.0], CONDITION[0])
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)


def test_a_fixed_condition_is_the_batch_shape_and_draws_independent_noise():
    layer = affine(condition_size=2)
    distribution = flow(layer, condition=CONDITION)
    assert distribution.batch_shape == (3,) and distribution.event_shape == (2,)
    samples = distribution.sample(4, seed=SEED)
    noise = samples @ MATRIX.T + OFFSET + CONDITION
    assert samples.shape == (4, 3, 2) and len(np.unique(noise)) == 24
    expected = [closed_form(layer, X[0], c) for c in CONDITION]
    np.testing.assert_allclose(distribution.log_prob(X[0]), expected, rtol=1e-12)
    np.testing.assert_allclose(distribution[1].log_prob(X[0]), expected[1], rtol=1e-12)


def test_a_condition_variable_is_read_at_each_call():
    layer = affine(condition_size=2)
    condition = tf.Variable(CONDITION[0])
    distribution = flow(layer, condition=condition)
    distribution.log_prob(X)
    condition.assign(CONDITION[1])
    expected = closed_form(layer, X, CONDITION[1])
    np.testing.assert_allclose(distribution.log_prob(X), expected, rtol=1e-12)
    assert any(variable is condition for variable in distribution.trainable_variables)


class Noisy(Affine):
    """Its log-determinant shows the seed that reached it."""

    def push(self, bound, x, how=None):
        mapped = super().push(bound, x, how)
        if how is None:
            return mapped
        return mapped._replace(log_det=mapped.log_det + tf.cast(how.seed[1], x.dtype))

    def pull(self, bound, y, how=None):
        mapped = super().pull(bound, y, how)
        if how is None:
            return mapped
        return mapped._replace(log_det=mapped.log_det - tf.cast(how.seed[1], y.dtype))


def test_the_seed_reaches_the_log_determinant(mode, run_in_mode):
    layer = built(Noisy(dtype="float64"))
    bijector, distribution = InvertibleBijector(layer), flow(layer)

    def log_dets(x):
        y = bijector.forward(x)
        return (
            distribution.log_prob(x, bijector_kwargs={"seed": 7}) - distribution.log_prob(x),
            bijector.inverse_log_det_jacobian(y) - bijector.inverse_log_det_jacobian(y, seed=7),
        )

    for difference in run_in_mode(log_dets, mode)(tf.constant(X)):
        np.testing.assert_allclose(difference, np.full(3, 7.0), rtol=1e-12)
