"""Facts that hold for every toy density: it is one, samples follow it, and nothing is random."""

import functools
import math
import re

import numpy as np
import pytest
import scipy.stats
import sklearn.datasets
import tensorflow as tf

from tf_iresnet.data import toy

BINS, MIDPOINTS = 20, 8  # bins a side, points a side of each bin
SMOOTH = [name for name in toy.DENSITIES if name != "checkerboard"]

each_density = pytest.mark.parametrize("name", toy.DENSITIES)


@functools.cache
def density_on_grid(name):
    """Half the window's width, and the density at the midpoints of a fine grid on it."""
    half, count = math.ceil(toy.get(name).reach), BINS * MIDPOINTS
    axis = half * ((np.arange(count) + 0.5) * 2 / count - 1)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    log_p = toy.get(name).log_prob(points).numpy()
    return half, np.exp(log_p).reshape(count, count)


@functools.cache
def samples(name):
    return toy.get(name).sample(50_000, seed=8, step=3).numpy()


@each_density
def test_integrates_to_one(name):
    half, p = density_on_grid(name)
    np.testing.assert_allclose(p.mean() * (2 * half) ** 2, 1, atol=1e-6)


@each_density
def test_samples_fall_into_bins_as_the_density_says(name):
    half, p = density_on_grid(name)
    mass = p.reshape(BINS, MIDPOINTS, BINS, MIDPOINTS).mean(axis=(1, 3)) * (2 * half / BINS) ** 2
    x = samples(name)
    counts, _, _ = np.histogram2d(*x.T, bins=BINS, range=[[-half, half]] * 2)
    expected = mass * len(x)
    common = expected >= 5
    observed = np.append(counts[common], len(x) - counts[common].sum())
    expected = np.append(expected[common], len(x) - expected[common].sum())
    keep = expected > 0.5  # the rest is one bin, which may be empty
    statistic = np.sum((observed[keep] - expected[keep]) ** 2 / expected[keep])
    assert scipy.stats.chi2.sf(statistic, keep.sum() - 1) > 1e-4
    assert observed[~keep].sum() <= 5


@each_density
def test_entropy_is_the_mean_negative_log_prob(name):
    log_p = toy.get(name).log_prob(tf.cast(samples(name)[:10_000], tf.float64)).numpy()
    error = log_p.std() / math.sqrt(len(log_p)) + 1e-12
    assert abs(-log_p.mean() - toy.get(name).entropy()) < 4 * error


@each_density
def test_entropy_is_that_of_the_docstring(name):
    written = re.search(rf"\| {name} .*\| ([\d.]+) *\|", toy.__doc__).group(1)
    np.testing.assert_allclose(toy.get(name).entropy(), float(written), atol=1.5e-6)


FIELD = {
    "moons": lambda n: 2 * sklearn.datasets.make_moons(n, noise=0.1, random_state=0)[0] - [1, 0.2],
    "circles": lambda n: (
        3 * sklearn.datasets.make_circles(n, factor=0.5, noise=0.08, random_state=0)[0]
    ),
    "swissroll": lambda n: (
        sklearn.datasets.make_swiss_roll(n, noise=1, random_state=0)[0][:, ::2] / 5
    ),
}


@pytest.mark.parametrize("name", FIELD)
def test_is_the_density_of_the_usual_data(name):
    """By Gibbs' inequality no other density has this mean log_prob on it, but for chance."""
    log_p = toy.get(name).log_prob(FIELD[name](10_000)).numpy()
    assert abs(-log_p.mean() - toy.get(name).entropy()) < 4 * log_p.std() / math.sqrt(len(log_p))


@each_density
def test_same_seed_and_step_give_the_same_bits(name):
    density = toy.get(name)
    x = density.sample(100, seed=1, step=2)
    assert x.dtype == tf.float32 and x.shape == (100, 2)
    np.testing.assert_array_equal(x, density.sample(100, seed=1, step=2))
    np.testing.assert_array_equal(x, density.sample(100, (0, 1), tf.constant(2, tf.int64)))
    for other in (density.sample(100, seed=1, step=3), density.sample(100, seed=2, step=2)):
        assert not np.any(np.all(x == other, axis=-1))


@each_density
def test_steps_are_uncorrelated(name):
    first, second = (toy.get(name).sample(4000, 0, step).numpy() for step in (0, 1))
    correlation = np.corrcoef(first.T, second.T)[:2, 2:]
    assert np.abs(correlation).max() < 4 / math.sqrt(4000)


@each_density
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_graphs_agree_with_eager_mode(name, jit_compile):
    density = toy.get(name)

    @tf.function(jit_compile=jit_compile)
    def sample_and_log_prob(step):
        x = density.sample(50, 5, step)
        return x, density.log_prob(x)

    x, log_p = sample_and_log_prob(tf.constant(7))
    np.testing.assert_array_equal(x, density.sample(50, 5, 7))
    np.testing.assert_allclose(log_p, density.log_prob(x), rtol=1e-5)


@each_density
def test_batches_come_from_a_tf_data_range(name):
    density = toy.get(name)
    batches = tf.data.Dataset.range(3, 6).map(lambda step: density.sample(10, 0, step))
    for step, batch in zip(range(3, 6), batches, strict=True):
        np.testing.assert_array_equal(batch, density.sample(10, 0, step))


@pytest.mark.parametrize("name", SMOOTH)
def test_log_prob_is_finite_far_away_and_differentiable(name):
    x = tf.constant([[0.0, 0.0], [1e3, -1e3], [30.0, 1.0]], tf.float64)
    log_p = toy.get(name).log_prob(x).numpy()
    assert np.all(np.isfinite(log_p)) and np.all(np.diff(log_p[[1, 2, 0]]) > 0)

    x = tf.constant(np.concatenate([samples(name)[:20], [[4, 4], [-5, 1], [2, -7]]]), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        log_p = toy.get(name).log_prob(x)
    step = 1e-5 * np.eye(2)
    difference = [
        (toy.get(name).log_prob(x + e) - toy.get(name).log_prob(x - e)) / 2e-5 for e in step
    ]
    np.testing.assert_allclose(
        tape.gradient(log_p, x), np.stack(difference, axis=-1), rtol=1e-4, atol=1e-4
    )


@each_density
def test_log_prob_keeps_the_precision_of_its_argument(name):
    x = samples(name)[:100]
    exact = toy.get(name).log_prob(x.astype(np.float64))
    assert exact.dtype == tf.float64 and toy.get(name).log_prob(x).dtype == tf.float32
    np.testing.assert_allclose(toy.get(name).log_prob(x), exact, rtol=1e-6)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"8gaussians, .*2spirals\. Received: name='9gaussians'"):
        toy.get("9gaussians")


@pytest.mark.parametrize("shape", [(2,), (4, 3), (1, 4, 2)])
def test_points_have_two_coordinates(shape):
    with pytest.raises(ValueError, match=r"shape \[n, 2\]"):
        toy.get("moons").log_prob(np.zeros(shape))
