"""Rows read in blocks: each epoch a permutation, a function of seed and position, in windows."""

import numpy as np
import pytest

from tf_iresnet.data.batches import Rows
from tf_iresnet.data.shuffled_blocks import ShuffledBlocks, hashed

SIZES = [7, 0, 30, 1, 12, 50, 25, 3, 40, 9]
STARTS = np.cumsum([0, *SIZES])


def blocks(window=40, log=None):
    def read(numbers):
        if log is not None:
            log.append(list(numbers))
        rows = np.concatenate([np.arange(STARTS[k], STARTS[k + 1]) for k in numbers])
        return Rows(rows, None, -rows)

    return ShuffledBlocks(SIZES, read, window)


def stream(source, first, last, seed=0, batch=16):
    positions = [np.arange(k * batch, (k + 1) * batch) for k in range(first, last)]
    return np.concatenate([source.fetch(p, seed).points for p in positions])


@pytest.mark.parametrize("window", [1, 40, 10_000])
@pytest.mark.parametrize("batch", [1, 16, 500])
def test_each_epoch_has_every_row_once(window, batch):
    size = sum(SIZES)
    source = blocks(window)
    assert source.size == size
    rows = stream(source, 0, -(-3 * size // batch), batch=batch)
    epochs = rows[: 3 * size].reshape(3, size)
    np.testing.assert_array_equal(np.sort(epochs), [np.arange(size)] * 3)
    assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[1], epochs[2])


def test_what_stands_beside_stays_with_its_row():
    rows = blocks().fetch(np.arange(300), 1)
    np.testing.assert_array_equal(rows.beside, -rows.points)
    assert rows.widths is None


def test_a_batch_is_a_function_of_seed_and_step_and_reads_nothing_before_it():
    whole = stream(blocks(), 0, 40)
    log = []
    resumed = stream(blocks(log=log), 37, 40)
    np.testing.assert_array_equal(resumed, whole[37 * 16 :])
    assert len(log) <= 3 and all(len(numbers) < len(SIZES) for numbers in log)
    assert not np.array_equal(stream(blocks(), 37, 40, seed=1), resumed)
    assert not np.array_equal(stream(blocks(), 37, 40, seed=-1), resumed)


def test_a_window_mixes_its_blocks_and_is_read_once():
    log = []
    source = blocks(window=10_000, log=log)
    rows = stream(source, 0, sum(SIZES) // 16)
    block = np.searchsorted(STARTS, rows, side="right")
    assert np.mean(block[1:] == block[:-1]) < 0.35  # .18 if drawn at random; in blocks .95
    assert len(log) <= 2


def test_a_block_that_can_not_be_read_is_tried_again():
    calls = []

    def read(numbers):
        calls.append(numbers)
        if len(calls) < 2:
            raise OSError("gone")
        return Rows(np.zeros(5))

    source = ShuffledBlocks([5], read)
    with pytest.raises(OSError, match="gone"):
        source.fetch(np.arange(2), 0)
    assert len(source.fetch(np.arange(2), 0).points) == 2


def test_hashes_are_uniform_and_independent_between_seeds():
    n = 100_000
    first, second = hashed(np.arange(n), 0), hashed(np.arange(n), 1)
    counts = np.histogram(first, bins=50, range=(0, 1))[0]
    assert ((counts - n / 50) ** 2 / (n / 50)).sum() < 85.4  # χ² of 49 degrees of freedom at .001
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(n)
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 4 / np.sqrt(n)
    np.testing.assert_array_equal(hashed(np.array([5]), 0), first[5:6])
