"""Random numbers have their law, and streams that differ in anything share nothing."""

import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tf_iresnet.data import streams


def test_uniform_and_normal_numbers_follow_their_law():
    stream = streams.key(0, 0, streams.POSITION)
    uniform = streams.uniform([200_000], stream).numpy()
    assert uniform.min() >= 0 and uniform.max() < 1
    assert scipy.stats.kstest(uniform, "uniform").pvalue > 1e-3
    normal = streams.normal([100_000, 2], stream).numpy()
    assert scipy.stats.kstest(normal.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(normal.T)[0, 1]) < 4 / np.sqrt(100_000)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_numbers_have_the_same_bits_in_every_mode(jit_compile):
    def numbers(step):
        stream = streams.key(3, step, streams.COMPONENT)
        return streams.uniform([100], stream), tf.cast(streams.normal([100], stream), tf.float32)

    compiled = tf.function(numbers, jit_compile=jit_compile)(tf.constant(5))
    for ours, eager in zip(compiled, numbers(5), strict=True):
        np.testing.assert_array_equal(ours, eager)


def test_streams_of_different_uses_steps_and_seeds_differ():
    seeds = [0, 1, -1, 2**31 - 1, streams.VALIDATION, streams.TEST, streams.STATISTICS]
    uses = range(streams.COMPONENT, streams.CROP + 1)
    draws = {
        tuple(streams.bits([4], streams.key(seed, step, use)).numpy())
        for seed, step, use in itertools.product(seeds, [0, 1, 10**9], uses)
    }
    assert len(draws) == len(seeds) * 3 * len(uses)


def test_data_shares_no_bits_with_a_model_of_the_same_seed_and_step():
    model = tf.random.stateless_uniform([4], [0, 7], None, None, tf.int32, alg="philox")
    data = streams.bits([4], streams.key(0, 7, streams.COMPONENT))
    assert not np.any(model.numpy().astype(np.uint32) == data.numpy())
