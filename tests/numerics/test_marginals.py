"""Maps of single variables: bijections of all real numbers, and normal once they are fitted."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tf_iresnet.numerics.marginal_fit import fit_marginals
from tf_iresnet.numerics.marginals import Marginal, forward, inverse, pack

SPLINE = {
    "knots": (-1.5, -0.2, 0.4, 1.0),
    "values": (-2.0, -1.0, 1.0, 1.5),
    "slopes": (0.7, 2.0, 0.3, 1.1),
}
KINDS = {
    "identity": Marginal("identity", 1.0, 2.0, **SPLINE),
    "asinh": Marginal("asinh", -1.0, 0.5, **SPLINE),
    "log": Marginal("log", -3.0, 2.0, low=-2.0, **SPLINE),
    "reflected_log": Marginal("reflected_log", 4.0, 3.0, high=3.5, **SPLINE),
    "logit": Marginal("logit", -2.0, 5.0, low=-1.5, high=2.0),
}
PACKED = pack(list(KINDS.values()))
X = np.broadcast_to(np.linspace(-40.0, 40.0, 20_001), (len(KINDS), 20_001))


def test_the_slope_is_that_of_finite_differences_beyond_all_bounds_too():
    y, log_slope = forward(PACKED, tf.constant(X))
    step = 1e-5
    differences = (forward(PACKED, tf.constant(X + step))[0] - forward(PACKED, X - step)[0]).numpy()
    np.testing.assert_allclose(np.exp(log_slope), differences / (2 * step), rtol=2e-3)
    assert np.all(np.diff(y) > 0)


def test_slopes_are_continuous():
    """At knots and where tangents begin: between neighbours on a grid none jumps."""
    narrow = np.broadcast_to(np.linspace(-5, 5, 400_001), (len(KINDS), 400_001))
    log_slope = forward(PACKED, tf.constant(narrow))[1].numpy()
    assert np.abs(np.diff(log_slope)).max() < 2e-3


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 2e-5)])
def test_the_inverse_is_one_everywhere(dtype, tolerance, mode, run_in_mode):
    x = tf.constant(X, dtype)
    y, log_slope, back = run_in_mode(
        lambda: (*forward(PACKED, x), inverse(PACKED, forward(PACKED, x)[0])), mode
    )()
    np.testing.assert_allclose(back, x, rtol=tolerance, atol=tolerance)
    exact = forward(PACKED, tf.constant(X))
    np.testing.assert_allclose(y, exact[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(log_slope, exact[1], rtol=1e-3, atol=1e-3)


def test_warps_are_the_functions_they_are_named_after():
    x = np.linspace(0.3, 0.7, 9)
    expected = {
        "identity": 2 * (x - 1),
        "asinh": np.arcsinh(2 * (x - 1)),
        "log": np.log(2 * (x + 1)),
        "reflected_log": -np.log(2 * (3 - x)),
        "logit": scipy.special.logit(x),
    }
    for warp, center, ends in (
        ("identity", 1.0, {}),
        ("asinh", 1.0, {}),
        ("log", -1.0, {"low": -0.5}),
        ("reflected_log", 3.0, {"high": 2.5}),
    ):
        found = Marginal(warp, center, 0.5, **ends).warped(x)
        np.testing.assert_allclose(found, expected[warp], rtol=1e-12)
    found = Marginal("logit", 0.0, 1.0, low=0.1, high=0.9).warped(x)
    np.testing.assert_allclose(found, expected["logit"], rtol=1e-9, atol=1e-12)


def test_large_offsets_keep_their_digits_in_float32():
    packed = pack([Marginal("identity", 1e6, 3.0)])
    x = tf.constant([[1e6, 1e6 + 0.25, 1e6 + 3]], "float32")
    np.testing.assert_allclose(forward(packed, x)[0][0], [0, 0.25 / 3, 1], rtol=1e-6)
    np.testing.assert_array_equal(inverse(packed, forward(packed, x)[0]), x)


@pytest.mark.parametrize(
    "changes",
    [
        {"warp": "sqrt"},
        {"scale": 0.0},
        {"warp": "log"},
        {"warp": "log", "low": -1.0},
        {"low": 1.0, "high": 0.0},
        {"knots": (0.0,), "values": (0.0,), "slopes": (1.0,)},
        {"knots": (1.0, 1.0)},
        {"values": (1.0, -1.0)},
        {"slopes": (1.0, 0.0)},
        {"slopes": (1.0, np.nan)},
        {"slopes": (1.0, 1.0, 1.0)},
    ],
)
def test_numbers_that_give_no_bijection_are_refused(changes):
    with pytest.raises(ValueError, match=r"Expected .*Received"):
        dataclasses.replace(Marginal(), **changes)


# -- fitted ---------------------------------------------------------------------------------------

# Distribution and support; of the half-and-half one, the edges of its atom's cell.
FITTED = {
    "normal": (scipy.stats.norm(3, 2), (None, None)),
    "student": (scipy.stats.t(2), (None, None)),
    "cauchy": (scipy.stats.cauchy(5, 0.1), (None, None)),
    "exponential": (scipy.stats.expon(scale=1e4), (0.0, None)),
    "lognormal": (scipy.stats.lognorm(2.0), (0.0, None)),
    "arcsine": (scipy.stats.beta(0.5, 0.5), (0.0, 1.0)),
    "uniform": (scipy.stats.uniform(1e6, 3), (None, None)),
}


def sample(rows, seed=0):
    random = np.random.default_rng(seed)
    x = [truth.rvs(rows, random_state=random) for truth, _ in FITTED.values()]
    bump = np.where(random.uniform(size=rows) < 0.6, -3, 3) + random.normal(size=rows)
    low = random.uniform(size=rows)
    atom = np.where(random.uniform(size=rows) < 0.5, low, 1 + random.lognormal(size=rows))
    return np.stack([*x, bump, atom], axis=1)


def true_log_density(x):
    columns = [
        truth.logpdf(column) for (truth, _), column in zip(FITTED.values(), x.T, strict=False)
    ]
    normal = scipy.stats.norm.pdf
    bump = np.log(0.6 * normal(x[:, -2], -3) + 0.4 * normal(x[:, -2], 3))
    above = scipy.stats.lognorm(1.0).logpdf(np.maximum(x[:, -1] - 1, 1e-300))
    atom = np.log(0.5) + np.where(x[:, -1] < 1, 0, above)
    return np.stack([*columns, bump, atom], axis=1)


@pytest.mark.parametrize(("rows", "loss"), [(150, 0.15), (5000, 0.03)])
def test_fitted_densities_are_near_the_true_ones(rows, loss):
    """The mean loss on new rows, in nats, against the density itself; a normal one loses 1 to 20.

    Less for the two mixtures of few rows, for which no smooth map is right.
    """
    supports = [support for _, support in FITTED.values()] + [(None, None), (1.0, None)]
    edges = [()] * (len(FITTED) + 1) + [(0.0, 1.0)]
    marginals = fit_marginals(sample(rows), supports, edges)
    new = sample(20_000, seed=1)
    z, log_slope = forward(pack(marginals), tf.constant(new.T))
    found = (scipy.stats.norm.logpdf(z) + log_slope.numpy()).T
    losses = (true_log_density(new) - found).mean(axis=0)
    assert np.all(losses < loss), dict(zip([*FITTED, "bump", "atom"], losses, strict=True))
    assert marginals == fit_marginals(sample(rows), supports, edges)


def test_a_fitted_map_is_the_quantile_function_of_the_normal_distribution():
    x = sample(5000)[:, [1, 4]]
    marginals = fit_marginals(x, [(None, None), (0.0, None)])
    p = np.array([0.02, 0.1, 0.3, 0.5, 0.8, 0.95])
    points = np.stack([scipy.stats.t(2).ppf(p), scipy.stats.lognorm(2.0).ppf(p)])
    z, _ = forward(pack(marginals), tf.constant(points))
    np.testing.assert_allclose(z, np.broadcast_to(scipy.stats.norm.ppf(p), z.shape), atol=0.1)


def test_normal_rows_get_a_straight_line():
    x = np.random.default_rng(3).normal(size=(200, 4))
    for marginal in fit_marginals(x):
        assert len(marginal.knots) == 2


def test_rows_that_recur_and_constants_but_for_one_are_mapped_too():
    x = np.zeros((50, 2))
    x[:20, 0], x[0, 1] = 1.0, 1e-3
    z, log_slope = forward(pack(fit_marginals(x)), tf.constant(x.T))
    assert np.isfinite(z).all() and np.isfinite(log_slope).all()
