"""Estimates from below, bounds from above, beside the float64 singular value decomposition."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet.numerics import spectral_norm

MODES = {
    "eager": lambda f: f,
    "graph": tf.function,
    "xla": lambda f: tf.function(f, jit_compile=True),
}


def _with_spectrum(rows, columns, spectrum, seed=0):
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(rows, rows)))[0]
    right = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    return left[:, : len(spectrum)] * spectrum @ right[:, : len(spectrum)].T


def _gaussian(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


KERNELS = {
    "square": lambda: _gaussian(64, 64),
    "wide": lambda: _gaussian(2, 128),
    "tall": lambda: _gaussian(128, 2),
    "one entry": lambda: np.array([[-3.0]]),
    "one row": lambda: _gaussian(1, 20),
    "one column": lambda: _gaussian(20, 1),
    "zero": lambda: np.zeros((5, 7)),
    "rank one": lambda: np.outer(_gaussian(30), _gaussian(40, seed=1)),
    "orthogonal": lambda: _with_spectrum(48, 48, np.ones(48)),
    "clustered": lambda: _with_spectrum(64, 96, np.r_[np.linspace(1, 0.97, 20), np.ones(30) / 2]),
    "ill-conditioned": lambda: _with_spectrum(40, 40, np.logspace(0, -12, 40)),
    "huge": lambda: 1e20 * _gaussian(16, 24),
    "tiny": lambda: 1e-30 * _gaussian(24, 16),
}


def _kernel(name, dtype):
    kernel = KERNELS[name]().astype(dtype)
    return kernel, np.linalg.norm(kernel.astype(np.float64), 2)


def _start(kernel, seed=3):
    return np.random.default_rng(seed).normal(size=kernel.shape[1]).astype(kernel.dtype)


def _generic(kernel, vectors=4):
    return np.random.default_rng(5).normal(size=(kernel.shape[1], vectors)).astype(kernel.dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", KERNELS)
def test_estimate_norm_and_bounds_are_in_order_and_close(name, dtype):
    kernel, norm = _kernel(name, dtype)
    estimate, vector = spectral_norm.power_iteration(kernel, _start(kernel))
    rounding = 1 + 8 * np.finfo(dtype).eps
    assert 0.99 * norm <= float(estimate) <= norm * rounding
    assert np.linalg.norm(vector) == pytest.approx(1, rel=1e-6)
    bound = spectral_norm.upper_bound(kernel)
    assert norm <= bound <= norm * (1 + 1e-10)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["square", "wide", "zero"])
def test_every_mode_gives_the_eager_numbers(name, mode):
    kernel, _ = _kernel(name, "float32")
    start = _start(kernel)

    def run(kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            sigma, vector = spectral_norm.power_iteration(kernel, start)
        leading = spectral_norm.leading_vector(kernel, start, start[:, np.newaxis])
        return sigma, vector, tape.gradient(sigma, kernel), leading

    kernel = tf.constant(kernel)
    for ours, eager in zip(MODES[mode](run)(kernel), run(kernel), strict=True):
        np.testing.assert_allclose(ours, eager, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("size", [4, 32, 256, 768])
def test_anchor_03_the_stop_means_the_same_for_every_size(size):
    # A stop on the norm of a vector's change grows easier with the size; ended after one pass.
    kernel = _gaussian(size, size).astype("float32")
    norm = np.linalg.norm(kernel.astype("float64"), 2)
    start = _start(kernel)
    once = float(spectral_norm.power_iteration(kernel, start, iterations=1)[0])
    assert once < 0.99 * norm
    assert float(spectral_norm.power_iteration(kernel, start)[0]) >= 0.99 * norm


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-3])
def test_stop_proves_a_singular_value_within_half_the_tolerance(tolerance):
    for seed in range(5):
        kernel = _gaussian(30, 50, seed=seed)
        start = _start(kernel, seed)
        # The proof is about the vector that was checked: the last but one.
        for passes in range(1, 500):
            _, before = spectral_norm.power_iteration(kernel, start, iterations=passes - 1)
            _, after = spectral_norm.power_iteration(kernel, start, iterations=passes)
            if np.array_equal(after, spectral_norm.power_iteration(kernel, start, tolerance)[1]):
                break
        value = np.linalg.norm(kernel @ before.numpy())
        values = np.linalg.svd(kernel, compute_uv=False)
        # Of squares: |λ − s²| ≤ tolerance s².
        assert np.min(np.abs(values**2 - value**2)) <= tolerance * value**2
        assert np.min(np.abs(values - value)) <= 0.51 * tolerance * value


def test_one_pass_decides_when_nothing_changed():
    kernel, norm = _kernel("square", "float32")
    start = _start(kernel)
    for _ in range(4):
        start = spectral_norm.leading_vector(kernel, start, _generic(kernel))
    one = spectral_norm.power_iteration(kernel, start, iterations=1)
    many = spectral_norm.power_iteration(kernel, start, max_iterations=200)
    np.testing.assert_array_equal(one[1], many[1])
    assert float(many[0]) == pytest.approx(norm, rel=1e-5)


def test_fixed_passes_are_the_papers_iteration():
    kernel, _ = _kernel("tall", "float64")
    vector = start = _start(kernel)
    for _ in range(3):
        vector = kernel.T @ (kernel @ vector)
        vector /= np.linalg.norm(vector)
    sigma, found = spectral_norm.power_iteration(kernel, start, iterations=3)
    np.testing.assert_allclose(found, vector, rtol=1e-12)
    assert float(sigma) == pytest.approx(np.linalg.norm(kernel @ vector), rel=1e-12)
    unchanged, found = spectral_norm.power_iteration(kernel, vector, iterations=0)
    np.testing.assert_allclose(found, vector, rtol=1e-12)
    assert float(unchanged) == pytest.approx(float(sigma), rel=1e-12)


def test_gradient_is_that_of_the_largest_singular_value():
    kernel = tf.constant(_with_spectrum(9, 6, np.array([2, 1.5, 1, 0.8, 0.2, 0.1])))
    direction = _gaussian(9, 6, seed=8)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        norm, _ = spectral_norm.power_iteration(kernel, _start(kernel.numpy()), 1e-7)
    slope = np.sum(tape.gradient(norm, kernel) * direction)
    step = 1e-6 * direction
    above, below = (np.linalg.norm(kernel + sign * step, 2) for sign in (1, -1))
    assert slope == pytest.approx((above - below) / 2e-6, rel=1e-5)


def test_zero_kernel_has_norm_and_gradient_zero_and_keeps_its_vector():
    kernel, start = tf.zeros([4, 3]), np.array([3.0, 0.0, 4.0], "float32")
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        sigma, vector = spectral_norm.power_iteration(kernel, start)
    assert float(sigma) == spectral_norm.upper_bound(kernel) == 0
    np.testing.assert_allclose(vector, [0.6, 0, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(tape.gradient(sigma, kernel), tf.zeros([4, 3]))
    leading = spectral_norm.leading_vector(kernel, start, np.ones((3, 1)))
    np.testing.assert_allclose(leading, vector, rtol=1e-6)


def test_a_kernel_with_nan_does_not_spoil_the_stored_vector():
    kernel = np.full([4, 3], np.nan, "float32")
    sigma, vector = spectral_norm.power_iteration(kernel, np.array([3.0, 0.0, 4.0], "float32"))
    assert np.isnan(sigma)
    np.testing.assert_allclose(vector, [0.6, 0, 0.8], rtol=1e-6)
    assert spectral_norm.upper_bound(kernel) == math.inf


def test_vector_carries_no_gradient():
    kernel = tf.constant(_gaussian(5, 5))
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        _, vector = spectral_norm.power_iteration(kernel, _start(kernel.numpy()))
        total = tf.reduce_sum(vector)
    assert tape.gradient(total, kernel) is None


SPECTRA = {
    "close second": lambda: np.r_[1, 0.97, np.full(14, 0.3)],
    "one percent above all": lambda: np.r_[1, np.full(63, 0.99)],
    "cluster": lambda: np.r_[np.linspace(1, 0.97, 20), np.linspace(0.9, 0.1, 44)],
    "Gaussian": lambda: np.linalg.svd(_gaussian(64, 64), compute_uv=False),
    "far above": lambda: np.r_[1, np.full(63, 1e-3)],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(64, 64), (64, 200), (200, 64)])
@pytest.mark.parametrize("name", SPECTRA)
def test_leading_vector_misses_no_direction(name, shape, dtype):
    # A stored singular vector passes the residual's test whatever its value is.
    spectrum = SPECTRA[name]()
    kernel = _with_spectrum(*shape, spectrum / spectrum[0]).astype(dtype)
    right = np.linalg.svd(kernel)[2].astype(dtype)
    for index in (0, 1, 10, 15):
        vector = spectral_norm.leading_vector(kernel, right[index], _generic(kernel))
        assert np.linalg.norm(vector) == pytest.approx(1, rel=1e-5)
        assert 0.993 <= float(spectral_norm.power_iteration(kernel, vector)[0]) <= 1 + 1e-5
    for _ in range(3):
        vector = spectral_norm.leading_vector(kernel, vector, _generic(kernel))
    assert np.linalg.norm(kernel @ vector.numpy()) >= 0.994


def test_leading_vector_keeps_one_that_leads():
    kernel = _gaussian(50, 30)
    leading = np.linalg.svd(kernel)[2][0]
    kept = spectral_norm.leading_vector(kernel, 7 * leading, _generic(kernel))
    np.testing.assert_allclose(kept, leading, rtol=1e-12)


def test_upper_bound_of_a_kernel_too_large_to_decompose(monkeypatch):
    kernel = _gaussian(60, 80).astype("float32")
    norm = np.linalg.norm(kernel.astype("float64"), 2)
    monkeypatch.setattr(spectral_norm, "EXACT_UP_TO", 50)
    assert norm < spectral_norm.upper_bound(kernel) < norm * 60 ** (1 / 2**11) * (1 + 1e-9)


def test_half_precision_is_estimated_in_float32():
    kernel = tf.cast(_gaussian(32, 32), tf.bfloat16)
    sigma, vector = spectral_norm.power_iteration(kernel, tf.ones([32], tf.bfloat16))
    norm = np.linalg.norm(tf.cast(kernel, tf.float64), 2)
    assert sigma.dtype == vector.dtype == tf.float32
    assert 0.99 * norm < float(sigma) < norm * (1 + 1e-6)


ERRORS = {
    "passes": (lambda: spectral_norm.power_iteration(np.eye(2), np.ones(2), iterations=-1), "-1"),
    "convolution": (lambda: spectral_norm.upper_bound(np.ones([3, 3, 1, 2])), r"\(3, 3, 1, 2\)"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_wrong_arguments_are_named(name):
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=rf"Expected.*Received.*{message}"):
        call()
