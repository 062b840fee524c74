"""How often a bijector asks its layer."""

import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from support.closed_form_layers import SEED, X, affine, flow, standard_normal

from tf_iresnet.bijectors import InvertibleBijector

tfb, tfd = tfp.bijectors, tfp.distributions


@pytest.mark.parametrize("jit_compile", [False, True])
def test_log_prob_in_a_graph_is_one_pass(jit_compile):
    layer = affine()
    tf.function(flow(layer).log_prob, jit_compile=jit_compile).get_concrete_function(tf.constant(X))
    assert layer.passes == {"call": 0, "pair": 1, "inverse": 0}


def test_log_prob_in_eager_mode_traces_one_evaluation_and_one_pair_and_never_inverts():
    layer = affine()
    distribution = flow(layer)
    distribution.log_prob(tf.constant(X))
    with tf.GradientTape():
        distribution.log_prob(tf.constant(X))
    flow(layer).log_prob(tf.constant(X[:1]))  # another bijector, another size: the same traces
    assert layer.passes == {"call": 1, "pair": 1, "inverse": 0}


def test_compositions_find_the_pair_in_a_graph_without_an_inverse():
    layer = affine()
    shift = tfb.Shift(tf.constant([1.0, 2.0], tf.float64))
    inner = InvertibleBijector(layer)
    for bijector in (tfb.Invert(tfb.Chain([inner, shift])), tfb.Chain([shift, tfb.Invert(inner)])):
        layer.passes = dict.fromkeys(layer.passes, 0)
        distribution = tfd.TransformedDistribution(standard_normal(), bijector)
        tf.function(distribution.log_prob).get_concrete_function(tf.constant(X))
        assert layer.passes == {"call": 0, "pair": 1, "inverse": 0}


def test_sampling_with_its_log_prob_inverts_once():
    layer = affine()
    tf.function(
        lambda: flow(layer).experimental_sample_and_log_prob(3, seed=SEED)
    ).get_concrete_function()
    assert layer.passes["inverse"] == 1
