"""Conjugate directions beside power iteration, on convolutions without a gap in their spectrum."""

import numpy as np
import pytest
import tensorflow as tf
from support.dense_convolution import GEOMETRIES
from support.kernels import gaussian

from tf_iresnet.numerics.linear_maps import Convolution
from tf_iresnet.numerics.power_iteration import power_iteration


@pytest.mark.parametrize("name", ["same", "strided", "sequence"])
def test_they_get_further_than_twice_as_many_passes(name):
    shape, *geometry = GEOMETRIES[name]
    for seed in range(3):
        one = Convolution(tf.constant(gaussian(*shape, seed=seed)), *geometry)
        norm = np.linalg.norm(one.dense(), 2)
        start = gaussian(*one.output_shape, seed=3)
        passes, by_power = (
            float(power_iteration(one, start, 1e-9, **limit)[0]) / norm
            for limit in ({"max_iterations": 10}, {"iterations": 20})
        )
        assert by_power - 1e-9 <= passes <= 1 + 1e-12


def test_the_stop_is_that_of_power_iteration():
    """The eigen-residual, at the vector before the last pass; so the norm is as close."""
    shape, *geometry = GEOMETRIES["same"]
    for tolerance in (1e-1, 1e-2, 1e-4):
        one = Convolution(tf.constant(gaussian(*shape)), *geometry)
        dense = one.dense().numpy()
        start = gaussian(*one.output_shape, seed=3)
        sigma, vector = power_iteration(one, start, tolerance, 500)
        after = dense @ np.reshape(vector, -1)
        norm = np.linalg.norm(after)  # of the pass that follows: not below the estimate
        assert norm * (1 - tolerance / 2) <= float(sigma) <= norm * (1 + 1e-12)
        residual = dense.T @ after - norm**2 * np.reshape(vector, -1)
        assert np.linalg.norm(residual) <= tolerance * float(sigma) ** 2
        values = np.linalg.svd(dense, compute_uv=False)
        assert np.min(np.abs(values - float(sigma))) <= tolerance / 2 * float(sigma)
