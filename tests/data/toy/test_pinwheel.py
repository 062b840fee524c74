"""The pinwheel's density against the change of variables done from the blade's side."""

import math

import numpy as np

from tf_iresnet.data import toy

SCALE, RATE = np.array([0.3, 0.1]), 0.25


def from_blade(a, b, k):
    angle = 2 * np.pi * k / 5 + RATE * np.exp(a)
    return 2 * np.stack(
        [a * np.cos(angle) + b * np.sin(angle), b * np.cos(angle) - a * np.sin(angle)], axis=-1
    )


def log_blade(a, b):
    log_normal = -0.5 * (((a - 1) / SCALE[0]) ** 2 + (b / SCALE[1]) ** 2)
    return log_normal - math.log(2 * math.pi * SCALE.prod())


def test_density_on_a_blade_is_the_blades_over_the_jacobian():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.9, 2.2, 200), rng.uniform(-0.15, 0.15, 200)  # the others are 9σ away
    k = rng.integers(0, 5, 200)
    step = 1e-6
    columns = [
        (
            from_blade(a + step * i, b + step * (1 - i), k)
            - from_blade(a - step * i, b - step * (1 - i), k)
        )
        / (2 * step)
        for i in (1, 0)
    ]
    jacobian = np.abs(np.linalg.det(np.stack(columns, axis=-1)))
    expected = log_blade(a, b) - np.log(5 * jacobian)
    np.testing.assert_allclose(
        toy.get("pinwheel").log_prob(from_blade(a, b, k)), expected, atol=1e-7
    )


def test_all_five_blades_meet_at_the_centre():
    x = np.array([[0.0, 0.0], [1e-9, -1e-9], [-1e-9, 0.0]])
    np.testing.assert_allclose(
        toy.get("pinwheel").log_prob(x), log_blade(0, 0) - math.log(4), rtol=1e-7
    )


def test_density_has_five_fold_symmetry():
    x = np.random.default_rng(1).uniform(-3, 3, [200, 2])
    cos, sin = math.cos(2 * math.pi / 5), math.sin(2 * math.pi / 5)
    turned = x @ np.array([[cos, sin], [-sin, cos]])
    density = toy.get("pinwheel")
    np.testing.assert_allclose(density.log_prob(turned), density.log_prob(x), rtol=1e-8)
