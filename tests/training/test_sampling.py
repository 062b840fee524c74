"""Samples come in the units of the data; latents between others lie on an arc."""

import numpy as np
import pytest

from tf_iresnet import ResidualFlow
from tf_iresnet.layers import Rescale
from tf_iresnet.training import sampling

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def flow():
    flow = ResidualFlow([Rescale.standardize([40.0, 70.0], [10.0, 9.0])])
    flow.build((None, 2))
    return flow


def test_the_seed_alone_decides_and_fewer_samples_are_the_first_of_more(flow):
    many = sampling.draw(flow, 25, seed=3, batch_size=10)
    assert many.shape == (25, 2)
    np.testing.assert_array_equal(many[:12], sampling.draw(flow, 12, seed=3, batch_size=10))
    assert np.all(many != sampling.draw(flow, 25, seed=4, batch_size=10))
    assert len(np.unique(many, axis=0)) == 25, "batches differ"


def test_samples_come_in_the_units_of_the_data(flow):
    samples = sampling.draw(flow, 4000, seed=0)
    error = np.array([10.0, 9.0]) / np.sqrt(4000)
    assert np.all(np.abs(samples.mean(axis=0) - [40, 70]) < 4 * error)


def test_temperature_scales_the_latents_about_their_mean(flow):
    """The flow is affine, so its samples move with them: towards the image of the mean."""
    plain = sampling.draw(flow, 20, seed=3, batch_size=10)
    for temperature in (0.0, 0.5, 2.0):
        scaled = sampling.draw(flow, 20, seed=3, batch_size=10, temperature=temperature)
        expected = [40, 70] + temperature * (plain - [40, 70])
        np.testing.assert_allclose(scaled, expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"temperature ≥ 0\. Received: temperature=-1"):
        sampling.draw(flow, 20, seed=3, temperature=-1)


def test_the_mean_is_that_of_a_learned_base():
    flow = ResidualFlow([Rescale(2.0)], base="learned_normal")
    flow.build((None, 2))
    flow.base.loc.assign([1.0, -3.0])
    flow.base.log_scale.assign([1.0, 0.0])
    np.testing.assert_allclose(sampling.draw(flow, 3, 0, temperature=0.0), [[0.5, -1.5]] * 3)
    u, v = RNG.normal(size=(2, 4, 2))
    scale = np.exp([1.0, 0.0])
    way = sampling.between(flow, u * scale + [1, -3], v * scale + [1, -3], 5)
    standard = ResidualFlow([Rescale(2.0)])
    standard.build((None, 2))
    np.testing.assert_allclose(
        way, sampling.between(standard, u, v, 5) * scale + [1, -3], rtol=1e-4, atol=1e-5
    )


def test_the_way_between_latents_is_an_arc_in_equal_steps():
    flow = ResidualFlow([Rescale(2.0)])
    flow.build((None, 2, 3, 1))
    first, last = RNG.normal(size=(2, 5, 2, 3, 1))
    first, last = (
        z / np.linalg.norm(z.reshape(5, -1), axis=1)[:, None, None, None] for z in (first, last)
    )
    way = sampling.between(flow, first, last, 9)
    assert way.shape == (5, 9, 2, 3, 1) and way.dtype == np.float32
    np.testing.assert_allclose(way[:, 0], first, atol=1e-6)
    np.testing.assert_allclose(way[:, -1], last, atol=1e-6)
    points = way.reshape(5, 9, -1)
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1, rtol=1e-5)
    steps = np.sum(points[:, 1:] * points[:, :-1], axis=-1)
    np.testing.assert_allclose(steps, np.tile(steps[:, :1], 8), rtol=1e-4)


def test_latents_in_one_direction_or_none_are_joined_by_a_line(flow):
    first = np.array([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0]])
    last = np.array([[2.0, 4.0], [1.0, -1.0], [1.0, 2.0]])
    way = sampling.between(flow, first, last, 3)
    np.testing.assert_allclose(way[[0, 2], 1], (first + last)[[0, 2]] / 2, rtol=1e-6)
    assert np.all(np.isfinite(way))


def test_noise_that_was_added_is_taken_away_again():
    """x + u with u in [0, 1) goes back to x, and only where noise was added."""
    whole = RNG.integers(0, 17, size=(50, 3)).astype("float32")
    meta = {**sampling.describe_unknown_data((3,)), "bin_width": [1.0, 1.0, 0.0], "levels": None}
    noisy = whole + RNG.uniform(0, 0.999, size=whole.shape).astype("float32")
    found = sampling.quantize(noisy, meta)
    np.testing.assert_array_equal(found[:, :2], whole[:, :2])
    np.testing.assert_array_equal(found[:, 2], noisy[:, 2])
    beyond = sampling.quantize(np.array([[-0.3, 17.2, 5.0]]), {**meta, "levels": 17})
    np.testing.assert_array_equal(beyond, [[0, 16, 5]])
