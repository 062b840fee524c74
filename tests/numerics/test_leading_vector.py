"""How the vector that power iteration starts from is found, kept, replaced and known to be old."""

import numpy as np
import pytest
from support.dense_convolution import GEOMETRIES
from support.kernels import gaussian, random_for, with_spectrum

from tf_iresnet.numerics.linear_maps import Convolution, Matrix
from tf_iresnet.numerics.power_iteration import (
    power_iteration,
    swap_if_overtaken,
    unchanged,
)
from tf_iresnet.numerics.probes import kernel_sketch
from tf_iresnet.numerics.vector_search import leading_vector

SPECTRA = {
    "close second": lambda: np.r_[1, 0.97, np.full(14, 0.3)],
    "one percent above all": lambda: np.r_[1, np.full(63, 0.99)],
    "cluster": lambda: np.r_[np.linspace(1, 0.97, 20), np.linspace(0.9, 0.1, 44)],
    "Gaussian": lambda: np.linalg.svd(gaussian(64, 64), compute_uv=False),
    "far above": lambda: np.r_[1, np.full(63, 1e-3)],
}


@pytest.mark.parametrize("shape", [(64, 64), (64, 200), (200, 64)])
@pytest.mark.parametrize("name", SPECTRA)
def test_leading_vector_misses_no_direction(name, shape, dtype):
    # A stored singular vector passes the residual's test whatever its value is.
    spectrum = SPECTRA[name]()
    kernel = with_spectrum(*shape, spectrum / spectrum[0]).astype(dtype)
    right = np.linalg.svd(kernel)[2].astype(dtype)
    for index in (0, 1, 10, 15):
        vector = leading_vector(Matrix(kernel), right[index], random_for(kernel))
        assert np.linalg.norm(vector) == pytest.approx(1, rel=1e-5)
        assert 0.993 <= float(power_iteration(Matrix(kernel), vector)[0]) <= 1 + 1e-5
    vector = leading_vector(Matrix(kernel), vector, random_for(kernel), rounds=3)
    assert np.linalg.norm(kernel @ vector.numpy()) >= 0.994


def test_leading_vector_keeps_one_that_leads():
    kernel = gaussian(50, 30)
    leading = np.linalg.svd(kernel)[2][0]
    kept = leading_vector(Matrix(kernel), 7 * leading, random_for(kernel))
    np.testing.assert_allclose(kept, leading, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_the_second_vector_takes_over_when_its_direction_grows(scale):
    """The stored one passes the residual's test all the while."""
    spectrum = np.array([1.0, 0.9, 0.3, 0.2, 0.1])
    left, right = (np.linalg.qr(gaussian(5, 5, seed=seed))[0] for seed in (1, 2))

    def kernel_with(spectrum):
        return Matrix((scale * left * spectrum @ right).astype("float32"))

    vector, second = right[0], gaussian(5, seed=3)
    for _ in range(60):
        vector, second = swap_if_overtaken(kernel_with(spectrum), vector, second)
    np.testing.assert_allclose(vector, right[0], atol=1e-5)
    np.testing.assert_allclose(np.abs(right @ second.numpy()), [0, 1, 0, 0, 0], atol=1e-3)
    equal = swap_if_overtaken(kernel_with(np.ones(5)), vector, second)
    np.testing.assert_allclose(equal[0], vector, atol=1e-6)
    spectrum[1] = 1.1
    vector, second = swap_if_overtaken(kernel_with(spectrum), vector, second)
    assert np.abs(right[1] @ vector.numpy()) > 0.999
    assert np.abs(right[0] @ second.numpy()) > 0.999
    norm = float(power_iteration(kernel_with(spectrum), vector)[0])
    assert norm == pytest.approx(1.1 * scale, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("name", ["matrix", "strided"])
def test_a_change_of_the_kernel_is_noticed_at_every_scale(name, scale):
    """Copy by copy, from the sketches."""
    shape, *geometry = GEOMETRIES["strided"]
    shape = (20, 30) if name == "matrix" else shape
    kernels = (scale * gaussian(3, *shape)).astype("float32")
    one = Matrix(kernels) if name == "matrix" else Convolution(kernels, *geometry)
    random = gaussian(4, shape[-1], seed=1).astype("float32")
    start = gaussian(3, *one.output_shape).astype("float32")
    vector = power_iteration(one, start)[1]
    stored = kernel_sketch(kernels, random)
    assert stored.shape == (*kernels.shape[:-1], 4)
    np.testing.assert_allclose(stored, kernels @ random.T, rtol=1e-3, atol=1e-5 * scale)
    assert np.all(unchanged(one, vector, stored, stored, 2.5e-3))
    moved = kernels.copy()
    direction = gaussian(*shape, seed=4)
    moved[1] *= 1 + 1e-5
    moved[2] += (1e-2 * scale * direction).astype("float32")
    current = one.with_kernel(moved)
    np.testing.assert_array_equal(
        unchanged(current, vector, stored, kernel_sketch(moved, random), 2.5e-3),
        [True, True, False],
    )
    other = one.with_kernel(kernels * np.float32(1e-15))
    assert not np.any(unchanged(other, vector, stored, kernel_sketch(other.kernel, random), 2.5e-3))
