"""Rings against an average over the angle; the checkerboard's edges."""

import math

import numpy as np
import pytest
import scipy.special

from tf_iresnet.data import toy


@pytest.mark.parametrize("name", ["rings", "circles"])
def test_ring_is_a_gaussian_averaged_over_the_circle(name):
    density = toy.get(name)
    x = np.random.default_rng(0).uniform(-4, 4, [50, 2])
    angle = 2 * np.pi * np.arange(2000) / 2000
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    centers = np.concatenate([radius * circle for radius in density.radii])
    square = np.sum((x[:, None] - centers) ** 2, axis=-1) / density.scale**2
    expected = scipy.special.logsumexp(-square / 2, axis=-1) - math.log(
        2 * np.pi * density.scale**2 * len(centers)
    )
    np.testing.assert_allclose(density.log_prob(x), expected, rtol=1e-9)


def test_checkerboard_has_eight_squares_and_no_sample_outside():
    density = toy.get("checkerboard")
    cells = np.array([(i, j) for i in range(-3, 3) for j in range(-3, 3)])
    inside = np.isfinite(density.log_prob(2.0 * cells + 1).numpy())
    assert inside.sum() == 8
    neighbours = np.abs(cells[inside][:, None] - cells[inside]).sum(axis=-1)
    assert not np.any(neighbours == 1)  # squares of the same colour don't share a side
    np.testing.assert_allclose(density.log_prob(2.0 * cells[inside] + 1), -math.log(32))
    # Rounding must not push a sample over an edge, where the log density is -∞.
    assert np.all(np.isfinite(density.log_prob(density.sample(500_000, 0, 0))))
