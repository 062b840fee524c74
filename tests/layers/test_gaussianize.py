"""Layers fitted to data: columns become normal, and correlations are taken out."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from tf_iresnet.layers import Gaussianize, Whiten


def rows(n=2000):
    random = np.random.default_rng(0)
    z = random.normal(size=(n, 3)) @ np.array([[1.0, 0.8, 0.0], [0.0, 0.6, 0.5], [0.0, 0.0, 0.9]])
    return np.stack([np.exp(2 * z[:, 0]), z[:, 1] ** 3, 1 / (1 + np.exp(-3 * z[:, 2]))], axis=1), z


def test_columns_become_the_normal_variables_that_they_were_made_of():
    x, z = rows()
    layer = Gaussianize.fit(x, supports=[(0.0, None), (None, None), (0.0, 1.0)])
    found = layer(x.astype("float32")).numpy()
    standard = (z - z.mean(axis=0)) / z.std(axis=0)
    assert np.quantile(np.abs(found - standard), 0.99) < 0.25
    assert np.abs(found.mean(axis=0)).max() < 0.05 and np.abs(found.std(axis=0) - 1).max() < 0.05


@pytest.mark.parametrize("n", [8, 2000])
def test_the_covariance_is_that_of_ledoit_and_wolf(n):
    x = rows()[1][:n]
    layer = Whiten.fit(x)
    expected, _ = ledoit_wolf(x)
    np.testing.assert_allclose(layer.factor @ layer.factor.T, expected, rtol=1e-9)
    np.testing.assert_allclose(layer.mean, x.mean(axis=0))


def test_whitened_rows_have_no_correlations():
    found = np.cov(Whiten.fit(rows()[1])(rows()[1].astype("float32")).numpy().T)
    np.testing.assert_allclose(found, np.eye(3), atol=0.02)


def test_columns_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r"\[batch, 3\].*Received: shape=\(5, 2\)"):
        Gaussianize.fit(rows(50)[0])(np.zeros((5, 2), "float32"))


@pytest.mark.parametrize(
    "factor", [[[1.0, 2.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, -1.0]], [[1.0]], [[np.nan, 0], [0, 1]]]
)
def test_a_factor_that_is_none_is_refused(factor):
    with pytest.raises(ValueError, match="lower-triangular factor"):
        Whiten([0.0, 0.0], factor)
