"""The order of rows: a permutation an epoch, all of them equally likely, found at any step."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tf_iresnet.data.shuffle import epoch_indices


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
