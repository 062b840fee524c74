"""Dequantised values stay in their cell, spread evenly over it, and bound the discrete code."""

import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tf_iresnet.data import dequantization
from tf_iresnet.data.dequantization import bits_per_dim, dequantize, dequantize_rows
from tf_iresnet.data.randomness import TEST


def test_values_stay_in_their_cell_also_where_float32_would_round_them_out_of_it():
    levels = np.repeat([[0.0, 1.0, 16.0, 4095.0]], 100_000, axis=0)
    x = dequantize(levels, np.ones(4), seed=0, step=0).numpy()
    assert x.dtype == np.float32
    np.testing.assert_array_equal(np.floor(x), levels)


def test_noise_is_uniform_over_the_cell():
    x = dequantize(np.full([50_000, 2], 3.0), np.array([1.0, 4.0]), seed=1, step=2).numpy()
    for noise, width in zip((x - 3).T, (1, 4), strict=True):
        assert scipy.stats.kstest(noise / width, "uniform").pvalue > 1e-3


def test_continuous_entries_are_left_alone():
    values = np.random.default_rng(0).normal(size=[50, 3]).astype(np.float32)
    x = dequantize(values, np.array([0.0, 1.0, 0.0]), seed=0, step=0).numpy()
    np.testing.assert_array_equal(x[:, [0, 2]], values[:, [0, 2]])
    assert np.all(x[:, 1] >= values[:, 1])


def test_noise_is_a_function_of_seed_and_step_in_every_mode():
    levels = np.arange(60.0).reshape(20, 3) % 17
    x = dequantize(levels, np.ones(3), 5, 6)
    for jit_compile in (False, True):
        compiled = tf.function(
            lambda step: dequantize(levels, np.ones(3), 5, step), jit_compile=jit_compile
        )
        np.testing.assert_array_equal(compiled(tf.constant(6)), x)
    for seed, step in [(5, 7), (6, 6)]:
        assert not np.any(dequantize(levels, np.ones(3), seed, step) == x)


@pytest.mark.parametrize("each", [False, True])
def test_pieces_of_rows_have_noise_of_their_own(each, monkeypatch):
    levels, width = np.arange(60.0).reshape(20, 3) % 17, np.array([1.0, 2.0, 0.0])
    width = np.outer(np.arange(1, 21), width) if each else width
    whole = dequantize_rows(levels, width, TEST)
    np.testing.assert_array_equal(whole, dequantize(levels, width, TEST, 0))
    monkeypatch.setattr(dequantization, "_ENTRIES", 24)  # 8 rows, 8 and 4
    x = dequantize_rows(levels, width, TEST)
    np.testing.assert_array_equal(
        x[:8], dequantize(levels[:8], width[:8] if each else width, TEST, 0)
    )
    noise = (x - levels)[:, :2] / width[..., :2]
    np.testing.assert_array_equal(x[:, 2], levels[:, 2])
    assert np.all((noise >= 0) & (noise < 1))
    assert len(np.unique(noise.round(4))) == noise.size


def test_bits_per_dim_of_the_uniform_density_are_the_bits_of_a_level():
    """All 17⁶⁴ images equally likely: log2(17) bits for each pixel."""
    log_prob = np.full(3, -64 * math.log(17))
    np.testing.assert_allclose(bits_per_dim(log_prob, 64), math.log2(17))
