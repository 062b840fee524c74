"""Random numbers follow their distribution, streams share nothing, every epoch is a permutation."""

import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tf_iresnet.data import randomness
from tf_iresnet.data.randomness import epoch_indices


def test_uniform_and_normal_numbers_follow_their_distribution():
    stream = randomness.stream_seed(0, 0, randomness.POSITION)
    uniform = randomness.uniform([200_000], stream).numpy()
    assert uniform.min() >= 0 and uniform.max() < 1
    assert scipy.stats.kstest(uniform, "uniform").pvalue > 1e-3
    normal = randomness.normal([100_000, 2], stream).numpy()
    assert scipy.stats.kstest(normal.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(normal.T)[0, 1]) < 4 / np.sqrt(100_000)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_numbers_have_the_same_bits_in_every_mode(jit_compile):
    def numbers(step):
        stream = randomness.stream_seed(3, step, randomness.COMPONENT)
        return randomness.uniform([100], stream), tf.cast(
            randomness.normal([100], stream), tf.float32
        )

    compiled = tf.function(numbers, jit_compile=jit_compile)(tf.constant(5))
    for ours, eager in zip(compiled, numbers(5), strict=True):
        np.testing.assert_array_equal(ours, eager)


def test_streams_of_different_uses_steps_and_seeds_differ():
    seeds = [0, 1, -1, 2**31 - 1, randomness.VALIDATION, randomness.TEST, randomness.STATISTICS]
    uses = range(randomness.COMPONENT, randomness.CROP + 1)
    draws = {
        tuple(randomness.bits([4], randomness.stream_seed(seed, step, use)).numpy())
        for seed, step, use in itertools.product(seeds, [0, 1, 10**9], uses)
    }
    assert len(draws) == len(seeds) * 3 * len(uses)


def test_data_shares_no_bits_with_a_model_of_the_same_seed_and_step():
    model = tf.random.stateless_uniform([4], [0, 7], None, None, tf.int32, alg="philox")
    data = randomness.bits([4], randomness.stream_seed(0, 7, randomness.COMPONENT))
    assert not np.any(model.numpy().astype(np.uint32) == data.numpy())


def orders(size, epochs, seed):
    """The first epochs, int [epochs, size], as one batch."""
    return epoch_indices(0, size * epochs, size, seed).numpy().reshape(epochs, size)


@pytest.mark.parametrize(
    ("size", "batch_size"), [(1, 3), (2, 1), (7, 3), (10, 10), (10, 25), (257, 64), (1257, 256)]
)
def test_batches_laid_end_to_end_use_every_row_once_an_epoch(size, batch_size):
    steps = -(-3 * size // batch_size)
    batches = [epoch_indices(step, batch_size, size, seed=4) for step in range(steps)]
    assert all(batch.shape == (batch_size,) for batch in batches)
    epochs = np.concatenate(batches)[: 3 * size].reshape(3, size)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(size), (3, 1)))


def test_order_changes_with_epoch_and_seed():
    first, second = orders(500, 2, seed=0)
    other = orders(500, 1, seed=1)[0]
    for a, b in [(first, second), (first, other), (second, other)]:
        assert (a == b).sum() <= 8  # one row in the same place is the average


@pytest.mark.parametrize("size", [2, 3, 5, 64, 100])
def test_every_permutation_is_equally_likely(size):
    """Of 2,000 epochs: the row in the first place, the one after it, that of the next epoch."""
    order = np.concatenate([orders(size, 100, seed) for seed in range(20)])
    after = (order[:, 1] - order[:, 0]) % size - 1
    following = (order[1:, 0] - order[:-1, 0]) % size
    for values, count in [(order[:, 0], size), (order[:, -1], size), (following, size)]:
        assert scipy.stats.chisquare(np.bincount(values, minlength=count)).pvalue > 1e-3
    if size > 2:
        assert scipy.stats.chisquare(np.bincount(after, minlength=size - 1)).pvalue > 1e-3


def test_permutations_of_four_rows_are_all_found_equally_often():
    order = np.concatenate([orders(4, 240, seed) for seed in range(10)])
    _, counts = np.unique(order, axis=0, return_counts=True)
    assert len(counts) == 24
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_resumed_stream_goes_on_with_the_same_rows():
    def stream(first, last):
        steps = tf.data.Dataset.range(first, last)
        return list(steps.map(lambda s: epoch_indices(s, 32, 100, 9)).as_numpy_iterator())

    np.testing.assert_array_equal(stream(0, 12)[5:], stream(5, 12))


def test_far_steps_and_xla_give_the_same_rows():
    compiled = tf.function(lambda s: epoch_indices(s, 16, 1000, 2), jit_compile=True)
    for step in (0, 61, 2**31 - 1):  # 2³¹ batches of 16 rows: more than an int32 counts
        step = tf.constant(step, tf.int64)
        rows = epoch_indices(step, 16, 1000, 2)
        np.testing.assert_array_equal(compiled(step), rows)
        assert np.all((rows >= 0) & (rows < 1000))
