"""Estimates of the norm from below, beside the float64 singular value decomposition."""

import numpy as np
import pytest
import tensorflow as tf
from support.dense_convolution import GEOMETRIES, dense_convolution
from support.kernels import gaussian, random_for, with_spectrum

from tf_iresnet.numerics.linear_maps import Convolution, Matrix
from tf_iresnet.numerics.norms import upper_bound
from tf_iresnet.numerics.power_iteration import (
    power_iteration,
    swap_if_overtaken,
)
from tf_iresnet.numerics.vector_search import leading_vector

KERNELS = {
    "square": lambda: gaussian(64, 64),
    "wide": lambda: gaussian(2, 128),
    "tall": lambda: gaussian(128, 2),
    "one entry": lambda: np.array([[-3.0]]),
    "one row": lambda: gaussian(1, 20),
    "one column": lambda: gaussian(20, 1),
    "zero": lambda: np.zeros((5, 7)),
    "rank one": lambda: np.outer(gaussian(30), gaussian(40, seed=1)),
    "orthogonal": lambda: with_spectrum(48, 48, np.ones(48)),
    "clustered": lambda: with_spectrum(64, 96, np.r_[np.linspace(1, 0.97, 20), np.ones(30) / 2]),
    "ill-conditioned": lambda: with_spectrum(40, 40, np.logspace(0, -12, 40)),
    "huge": lambda: 1e20 * gaussian(16, 24),
    "small": lambda: 1e-20 * gaussian(24, 16),
    "tiny": lambda: 1e-30 * gaussian(24, 16),
}


def kernel_and_norm(name, dtype):
    kernel = KERNELS[name]().astype(dtype)
    return kernel, np.linalg.norm(kernel.astype(np.float64), 2)


def start_for(kernel, seed=3):
    return np.random.default_rng(seed).normal(size=kernel.shape[-1]).astype(kernel.dtype)


@pytest.mark.parametrize("name", KERNELS)
def test_estimate_norm_and_bounds_are_in_order_and_close(name, dtype):
    kernel, norm = kernel_and_norm(name, dtype)
    estimate, vector = power_iteration(Matrix(kernel), start_for(kernel))
    rounding = 1 + 8 * np.finfo(dtype).eps
    assert 0.99 * norm <= float(estimate) <= norm * rounding
    assert np.linalg.norm(vector) == pytest.approx(1, rel=1e-6)
    bound = upper_bound(Matrix(kernel))
    assert norm <= bound <= norm * (1 + 1e-10)


@pytest.mark.parametrize("name", ["square", "wide", "zero"])
def test_every_mode_gives_the_eager_numbers(name, mode, run_in_mode):
    kernel, _ = kernel_and_norm(name, "float32")
    start = start_for(kernel)

    def run(kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            sigma, vector = power_iteration(Matrix(kernel), start)
        leading = leading_vector(Matrix(kernel), start, start[np.newaxis])
        swapped = swap_if_overtaken(Matrix(kernel), start, start[::-1])
        return sigma, vector, tape.gradient(sigma, kernel), leading, *swapped

    kernel = tf.constant(kernel)
    for ours, eager in zip(run_in_mode(run, mode)(kernel), run(kernel), strict=True):
        np.testing.assert_allclose(ours, eager, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("size", [4, 32, 256, 768])
def test_anchor_03_the_stop_means_the_same_for_every_size(size):
    # A stop on the norm of a vector's change grows easier with the size; ended after one pass.
    kernel = gaussian(size, size).astype("float32")
    norm = np.linalg.norm(kernel.astype("float64"), 2)
    start = start_for(kernel)
    once = float(power_iteration(Matrix(kernel), start, iterations=1)[0])
    assert once < 0.99 * norm
    found = power_iteration(Matrix(kernel), start, max_iterations=200)[0]
    assert float(found) >= 0.99 * norm


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-3])
def test_stop_proves_a_singular_value_within_half_the_tolerance(tolerance):
    for seed in range(5):
        kernel = gaussian(30, 50, seed=seed)
        start = start_for(kernel, seed)
        stopped = power_iteration(Matrix(kernel), start, tolerance, 200)[1]
        # The proof is about the vector that was checked: the last but one.
        after, passes = start / np.linalg.norm(start), 0
        while passes == 0 or np.abs(after - stopped).max() > 1e-9:
            before, passes = after, passes + 1
            after = kernel.T @ (kernel @ before)
            after /= np.linalg.norm(after)
            assert passes < 500, "the vector isn't one of the iteration's"
        value = np.linalg.norm(kernel @ before)
        values = np.linalg.svd(kernel, compute_uv=False)
        # Of squares: |λ − s²| ≤ tolerance s².
        assert np.min(np.abs(values**2 - value**2)) <= tolerance * value**2
        assert np.min(np.abs(values - value)) <= 0.51 * tolerance * value


def test_one_pass_decides_when_nothing_changed():
    kernel, norm = kernel_and_norm("square", "float32")
    start = leading_vector(Matrix(kernel), start_for(kernel), random_for(kernel), rounds=4)
    one = power_iteration(Matrix(kernel), start, iterations=1)
    many = power_iteration(Matrix(kernel), start, max_iterations=200)
    np.testing.assert_array_equal(one[1], many[1])
    assert float(many[0]) == pytest.approx(norm, rel=1e-5)


def test_fixed_passes_are_the_papers_iteration():
    kernel, _ = kernel_and_norm("tall", "float64")
    vector = start = start_for(kernel)
    for _ in range(3):
        vector = kernel.T @ (kernel @ vector)
        vector /= np.linalg.norm(vector)
    sigma, found = power_iteration(Matrix(kernel), start, iterations=3)
    np.testing.assert_allclose(found, vector, rtol=1e-12)
    assert float(sigma) == pytest.approx(np.linalg.norm(kernel @ vector), rel=1e-12)
    unchanged_sigma, found = power_iteration(Matrix(kernel), vector, iterations=0)
    np.testing.assert_allclose(found, vector, rtol=1e-12)
    assert float(unchanged_sigma) == pytest.approx(float(sigma), rel=1e-12)


@pytest.mark.parametrize("name", ["matrix", "strided", "circular"])
def test_gradient_is_that_of_the_largest_singular_value(name, mode, run_in_mode):
    """And twice, under an outer tape, of a function of it."""
    if name == "matrix":
        one = Matrix(tf.constant(with_spectrum(9, 6, np.array([2, 1.5, 1, 0.8, 0.2, 0.1]))))
    else:
        shape, *geometry = GEOMETRIES[name]
        one = Convolution(tf.constant(gaussian(*shape)), *geometry)
    direction = gaussian(*one.kernel.shape, seed=8)
    start = gaussian(*one.output_shape, seed=3)

    def run(kernel):
        with tf.GradientTape() as outer:
            outer.watch(kernel)
            with tf.GradientTape() as tape:
                tape.watch(kernel)
                norm, _ = power_iteration(one.with_kernel(kernel), start, 1e-7, 2000)
                value = norm**3
            gradient = tape.gradient(value, kernel)
            along = tf.reduce_sum(gradient * direction)
        return norm, gradient, outer.gradient(along, kernel)

    norm, gradient, second = (t.numpy() for t in run_in_mode(run, mode)(one.kernel))
    norm = float(norm)
    slope = np.sum(gradient * direction) / (3 * norm**2)

    def exact(kernel):
        return np.linalg.norm(one.with_kernel(tf.constant(kernel)).dense(), 2)

    step = 1e-6 * direction
    above, below = (exact(one.kernel + sign * step) for sign in (1, -1))
    assert slope == pytest.approx((above - below) / 2e-6, rel=1e-5)
    # The vectors are constants: the second derivative is that of the cube alone.
    twice = np.sum(second * direction)
    assert twice == pytest.approx(6 * norm * slope**2, rel=1e-6)


def test_zero_kernel_has_norm_and_gradient_zero_and_keeps_its_vector():
    kernel, start = tf.zeros([4, 3]), np.array([3.0, 0.0, 4.0], "float32")
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        sigma, vector = power_iteration(Matrix(kernel), start)
    assert float(sigma) == upper_bound(Matrix(kernel)) == 0
    np.testing.assert_allclose(vector, [0.6, 0, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(tape.gradient(sigma, kernel), tf.zeros([4, 3]))
    leading = leading_vector(Matrix(kernel), start, np.ones((1, 3)))
    np.testing.assert_allclose(leading, vector, rtol=1e-6)
    np.testing.assert_allclose(swap_if_overtaken(Matrix(kernel), start, start[::-1])[0], vector)


def test_a_kernel_with_nan_does_not_spoil_the_stored_vector_nor_other_copies():
    kernel = np.full([2, 4, 3], np.nan, "float32")
    kernel[1] = gaussian(4, 3)
    start = np.array([[3.0, 0.0, 4.0]] * 2, "float32")
    sigma, vector = power_iteration(Matrix(kernel), start)
    assert np.isnan(sigma[0])
    assert float(sigma[1]) == pytest.approx(np.linalg.norm(kernel[1], 2), rel=1e-2)
    np.testing.assert_allclose(vector[0], [0.6, 0, 0.8], rtol=1e-6)
    for found in swap_if_overtaken(Matrix(kernel), start, start[:, ::-1]):
        assert np.all(np.isfinite(found))
    leading = leading_vector(Matrix(kernel), start, random_for(kernel))
    np.testing.assert_allclose(leading[0], vector[0], rtol=1e-6)


def test_vector_carries_no_gradient():
    kernel = tf.constant(gaussian(5, 5))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(kernel)
        start = start_for(kernel.numpy())
        vectors = [
            power_iteration(Matrix(kernel), start)[1],
            leading_vector(Matrix(kernel), start, start[np.newaxis]),
            *swap_if_overtaken(Matrix(kernel), start, start[::-1]),
        ]
        totals = [tf.reduce_sum(vector) for vector in vectors]
    assert all(tape.gradient(total, kernel) is None for total in totals)


@pytest.mark.parametrize("name", ["matrix", "strided", "channels"])
@pytest.mark.parametrize("stack", [(3,), (2, 2)])
def test_a_stack_is_its_copies_one_by_one(name, stack):
    """Kernels of very different scales and numbers of passes."""
    if name == "matrix":
        shape, one = (24, 16), Matrix
    else:
        shape, *geometry = GEOMETRIES[name]

        def one(kernel):
            return Convolution(kernel, *geometry)

    count = int(np.prod(stack))
    kernels = gaussian(count, *shape).astype("float32")
    scales = np.array([1e20, 1e-20, 1.0, 0.0], "float32")[:count]
    kernels *= scales.reshape(-1, *[1] * len(shape))
    maps = [one(tf.constant(kernel)) for kernel in kernels]
    vectors, seconds = gaussian(2, count, *maps[0].output_shape).astype("float32")
    random = gaussian(4, *maps[0].output_shape, seed=5).astype("float32")
    stacked = one(tf.constant(kernels.reshape(*stack, *shape)))

    def compare(function, *tensors):
        together = function(stacked, *(t.reshape(*stack, *t.shape[1:]) for t in tensors))
        for index in range(count):
            alone = function(maps[index], *(t[index] for t in tensors))
            for ours, expected in zip(together, alone, strict=True):
                ours = ours.numpy().reshape(count, *expected.shape)[index]
                np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=2e-5)

    def norm_and_gradient(one, vector):
        with tf.GradientTape() as tape:
            tape.watch(one.kernel)
            sigma, vector = power_iteration(one, vector, iterations=8)
            total = tf.reduce_sum(sigma)
        return sigma, vector, tape.gradient(total, one.kernel)

    compare(norm_and_gradient, vectors)
    compare(lambda one, vector: power_iteration(one, vector), vectors)
    compare(swap_if_overtaken, vectors, seconds)
    compare(lambda one, vector: (leading_vector(one, vector, random, 2),), vectors)


@pytest.mark.parametrize("name", ["matrix", "circular"])
def test_a_stack_compiles_with_its_gradient(name, mode, run_in_mode):
    shape, *geometry = GEOMETRIES["circular"]
    one = Matrix(gaussian(3, 9, 6)) if name == "matrix" else None
    one = one or Convolution(gaussian(3, *shape), *geometry)
    start = gaussian(3, *one.output_shape, seed=1)

    def run(kernel):
        current = one.with_kernel(kernel)
        vector, second = swap_if_overtaken(current, start, start[::-1])
        vector = leading_vector(current, vector, second[:2])
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            sigma, vector = power_iteration(one.with_kernel(kernel), vector, 1e-7, 1000)
            total = tf.reduce_sum(sigma)
        return sigma, tape.gradient(total, kernel)

    sigma, gradient = run_in_mode(run, mode)(tf.constant(one.kernel))
    norms = np.linalg.norm(one.dense(), 2, axis=(-2, -1))
    np.testing.assert_allclose(sigma, norms, rtol=1e-6)
    # A norm is homogeneous: ⟨∇σ, W⟩ = σ.
    np.testing.assert_allclose(
        np.sum(gradient * one.kernel, tuple(range(1, one.kernel.ndim))), norms, rtol=1e-6
    )


@pytest.mark.parametrize(
    "name", ["same", "strided", "valid", "circular", "twice around", "dilated"]
)
def test_the_norm_of_a_convolution_is_found(name):
    shape, *geometry = GEOMETRIES[name]
    kernel = gaussian(*shape)
    norm = np.linalg.norm(dense_convolution(kernel, *geometry), 2)
    one = Convolution(kernel, *geometry)
    random = tf.constant(gaussian(4, *one.output_shape, seed=1))
    vector = leading_vector(one, random[0], random, 4)
    sigma, vector = power_iteration(one, vector, 1e-4)
    assert float(sigma) == pytest.approx(norm, rel=5e-3)
    assert vector.shape == one.output_shape


def test_half_precision_is_estimated_in_float32():
    kernel = tf.cast(gaussian(32, 32), tf.bfloat16)
    sigma, vector = power_iteration(Matrix(kernel), tf.ones([32], tf.bfloat16))
    norm = np.linalg.norm(tf.cast(kernel, tf.float64), 2)
    assert sigma.dtype == vector.dtype == tf.float32
    assert 0.99 * norm < float(sigma) < norm * (1 + 1e-6)


def test_eager_mode_traces_once_for_matrices_of_all_shapes():
    from tf_iresnet.numerics.map_functions import _graph

    power_iteration(Matrix(gaussian(3, 4)), np.ones(4))
    before = _graph.cache_info().currsize
    for rows in range(1, 6):
        power_iteration(Matrix(gaussian(rows, 4)), np.ones(4))
    assert _graph.cache_info().currsize == before
    assert _graph.cache_info().maxsize is not None


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"Expected.*Received.*-1"):
        power_iteration(Matrix(np.eye(2)), np.ones(2), iterations=-1)
