"""The quadrature along a curve against Simpson's rule on 20,001 points of it."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from tf_iresnet.data import toy


def swissroll(x):
    t = np.linspace(1.5 * np.pi, 4.5 * np.pi, 20_001)
    arm = np.stack([t * np.cos(t), t * np.sin(t)], axis=-1) / 5
    p = scipy.stats.norm.pdf(x[:, None], arm, 0.2).prod(axis=-1) / (3 * np.pi)
    return scipy.integrate.simpson(p, x=t)


def moons(x):
    t = np.linspace(0, np.pi, 20_001)
    upper = 2 * np.stack([np.cos(t), np.sin(t)], axis=-1) - [1, 0.2]
    lower = 2 * np.stack([1 - np.cos(t), 0.5 - np.sin(t)], axis=-1) - [1, 0.2]
    p = sum(scipy.stats.norm.pdf(x[:, None], arm, 0.2).prod(axis=-1) for arm in (upper, lower))
    return scipy.integrate.simpson(p / 2 / np.pi, x=t)


def two_spirals(x):
    """The second arm with its noise is the first turned by 180°, so the density is even."""
    t = np.linspace(0, 3 * np.pi, 20_001)  # p(t) = 2t / 9π² for t = 3π √u
    arm = np.stack([-t * np.cos(t), t * np.sin(t)], axis=-1) / 3
    p = 0
    for turned in (x, -x):
        offset = turned[:, None] - arm
        mass = scipy.stats.norm.cdf(offset / 0.1) - scipy.stats.norm.cdf((offset - 0.5 / 3) / 0.1)
        p += (mass / (0.5 / 3)).prod(axis=-1)
    return scipy.integrate.simpson(p / 2 * 2 * t / (3 * np.pi) ** 2, x=t)


@pytest.mark.parametrize(
    ("name", "density"), [("swissroll", swissroll), ("moons", moons), ("2spirals", two_spirals)]
)
def test_log_prob_is_the_integral_along_the_curve(name, density):
    x = np.random.default_rng(1).uniform(-3.5, 3.5, [60, 2])
    log_p, expected = toy.get(name).log_prob(x).numpy(), np.log(density(x))
    near = expected > -10
    assert near.sum() >= 20
    np.testing.assert_allclose(log_p[near], expected[near], atol=1e-6)
    middle = expected > -25  # where Simpson's rule has digits left
    np.testing.assert_allclose(log_p[middle], expected[middle], atol=1e-5)


def test_blurred_box_in_the_tail():
    """Far out on the diagonal, one corner of the box and one point of the curve is all there is."""
    x = np.array([[40.0, 40.0], [40.1, 40.1]])
    slope = np.diff(toy.get("2spirals").log_prob(x).numpy())[0] / 0.1
    # d/ds of -‖(s, s) - c‖² / 2σ² is about -2 (s - c) / σ², c within the spirals' reach.
    assert -2 * 43 / 0.01 < slope < -2 * 37 / 0.01
