"""Differentiable upper bounds beside singular values and the certificate in float64."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet.numerics import convolution, gram, rounding, spectral_norm
from tf_iresnet.numerics.operators import MATRIX, Convolution


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture(params=[True, False], ids=["written out", "sampled"])
def written_out(request, monkeypatch):
    """Whether convolutions of small images are written out; otherwise all are sampled."""
    if not request.param:
        monkeypatch.setattr(gram, "SIDE", 0)
    gram._traced.cache_clear()
    yield request.param
    gram._traced.cache_clear()


def with_spectrum(rows, columns, spectrum):
    left, right = (np.linalg.qr(gaussian(n, n, seed=n))[0] for n in (rows, columns))
    return left[:, : len(spectrum)] * spectrum @ right[:, : len(spectrum)].T


KERNELS = {
    "square": lambda: gaussian(64, 64),
    "wide": lambda: gaussian(2, 128),
    "tall": lambda: gaussian(128, 2),
    "one entry": lambda: np.array([[-3.0]]),
    "one row": lambda: gaussian(1, 20),
    "rank one": lambda: np.outer(gaussian(30), gaussian(40, seed=1)),
    "orthogonal": lambda: with_spectrum(128, 128, np.ones(128)),
    "half of them": lambda: with_spectrum(128, 128, np.ones(64)),
    "clustered": lambda: with_spectrum(64, 96, np.r_[np.linspace(1, 0.97, 20), np.ones(30) / 2]),
    "ill-conditioned": lambda: with_spectrum(40, 40, np.logspace(0, -12, 40)),
    "huge": lambda: 1e30 * gaussian(16, 24),
    "tiny": lambda: 1e-30 * gaussian(24, 16),
}


@pytest.mark.parametrize("name", KERNELS)
def test_bound_is_above_the_norm_and_close_and_a_certificate_agrees(name, dtype):
    kernel = KERNELS[name]().astype(dtype)
    norm = np.linalg.norm(kernel.astype(np.float64), 2)
    bound = gram.upper_bound(kernel)
    assert bound.dtype == dtype
    assert norm < bound <= norm * (1.0082 if name == "half of them" else 1.004)
    for limit in (0.97, 1e-3, 30.0):
        divided = (kernel / (bound / tf.constant(limit, dtype))).numpy()
        assert spectral_norm.upper_bound(divided) <= limit


def test_each_iteration_halves_the_excess():
    kernel = gaussian(30, 40)
    norm = np.linalg.norm(kernel, 2)
    excess = [float(gram.upper_bound(kernel, iterations=n)) / norm - 1 for n in (2, 3, 4, 5)]
    assert all(0 < after < 0.6 * before for before, after in itertools.pairwise(excess))


def test_a_stack_is_bounded_matrix_by_matrix():
    stack = gaussian(3, 2, 7, 5) * np.logspace(-3, 3, 3)[:, None, None, None]
    bounds = gram.gram_iteration(tf.constant(stack)).numpy()
    norms = np.linalg.norm(stack, 2, axis=(-2, -1))
    assert bounds.shape == (3, 2) and np.all(norms < bounds) and np.all(bounds < 1.01 * norms)


OPERATORS = {
    "matrix": ((9, 6), MATRIX),
    "same": ((3, 3, 2, 3), Convolution((5, 6), (1, 1), "same", (1, 1))),
    "strided": ((3, 4, 2, 3), Convolution((5, 6), (2, 3), "same", (1, 1))),
    "valid": ((3, 2, 3, 2), Convolution((5, 6), (2, 1), "valid", (1, 1))),
    "circular": ((3, 3, 2, 3), Convolution((6, 7), (1, 2), "circular", (1, 1))),
    "twice around": ((3, 4, 2, 3), Convolution((2, 6), (1, 1), "circular", (3, 1))),
    "dilated": ((3, 2, 2, 3), Convolution((7, 6), (1, 1), "same", (2, 3))),
    "sequence": ((5, 4, 4), Convolution((40,), (1,), "same", (1,))),
    "volume": ((3, 1, 2, 2, 3), Convolution((4, 3, 5), (1, 1, 1), "same", (1, 1, 1))),
    "large": ((3, 3, 3, 8), Convolution((12, 40), (1, 1), "same", (1, 1))),
}
operators = pytest.mark.parametrize("name", OPERATORS)


def certificate(kernel, operator):
    if operator == MATRIX:
        return spectral_norm.upper_bound(kernel)
    arguments = operator.size, operator.strides, operator.padding, operator.dilation
    return convolution.upper_bound(kernel, *arguments)


@operators
def test_bound_of_a_convolution_covers_its_certificate(name, written_out, dtype):
    """Whether it is written out or sampled; the latter is close for images that aren't small."""
    shape, operator = OPERATORS[name]
    for seed in range(3):
        kernel = gaussian(*shape, seed=seed).astype(dtype)
        bound = gram.upper_bound(kernel, operator)
        proven = certificate(kernel, operator)
        assert certificate((kernel / bound).numpy(), operator) <= 1
        assert proven < bound
        if written_out and name != "large":
            assert bound <= proven * 1.004
        elif name != "circular":  # whose strides don't divide it
            assert bound <= proven * (1.05 if name in ("large", "sequence") else 1.4)


@operators
def test_gradient_is_that_of_the_bound_and_nearly_that_of_the_norm(name, written_out):
    """Against central differences in float64, of the bound itself and, sharper, of the norm."""
    shape, operator = OPERATORS[name]
    kernel, direction = tf.constant(gaussian(*shape)), gaussian(*shape, seed=8)

    def slope(iterations):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            bound = gram.upper_bound(kernel, operator, iterations)
        return np.sum(tape.gradient(bound, kernel) * direction)

    def difference(function):
        above, below = (function(kernel.numpy() + s * direction) for s in (1e-6, -1e-6))
        return (float(above) - float(below)) / 2e-6

    for iterations in (2, 8):
        expected = difference(lambda k, n=iterations: gram.upper_bound(k, operator, n))
        # All but what is allowed for rounding, where lengths are taken for constants.
        assert slope(iterations) == pytest.approx(expected, rel=5e-5, abs=1e-5)
    if written_out and name != "large":
        exact = difference(lambda k: certificate(k, operator))
        assert slope(13) == pytest.approx(exact, rel=1e-3, abs=1e-3)


@operators
@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_every_mode_gives_the_eager_numbers(name, mode, run_in_mode):
    shape, operator = OPERATORS[name]
    kernel = tf.constant(gaussian(*shape), tf.float32)

    def bound_and_gradient(kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            bound = gram.upper_bound(kernel, operator)
        return bound, tape.gradient(bound, kernel)

    ours, eager = run_in_mode(bound_and_gradient, mode)(kernel), bound_and_gradient(kernel)
    np.testing.assert_allclose(ours[0], eager[0], rtol=1e-5)
    np.testing.assert_allclose(ours[1], eager[1], atol=1e-4 * np.abs(eager[1]).max())


@operators
def test_zeros_have_bound_and_gradient_zero(name):
    shape, operator = OPERATORS[name]
    kernel = tf.zeros(shape)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        bound = gram.upper_bound(kernel, operator)
    assert float(bound) == 0
    np.testing.assert_array_equal(tape.gradient(bound, kernel), kernel)


def test_half_precision_is_bounded_in_float32():
    kernel = tf.cast(gaussian(32, 32), tf.bfloat16)
    bound = gram.upper_bound(kernel)
    assert bound.dtype == tf.float32
    assert float(bound) >= np.linalg.norm(tf.cast(kernel, tf.float64), 2)


@pytest.mark.parametrize("device", ["GPU", "TPU"])
def test_products_that_drop_digits_are_avoided(device, monkeypatch):
    devices = [tf.config.PhysicalDevice("/physical_device:X:0", device)]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda: devices)
    assert rounding.in_full_products(tf.ones([2, 2])).dtype == (
        tf.float64 if device == "TPU" else tf.float32
    )
    monkeypatch.setattr(tf.config.experimental, "tensor_float_32_execution_enabled", lambda: True)
    assert rounding.in_full_products(tf.ones([2, 2])).dtype == tf.float64


def test_nan_is_not_hidden():
    assert math.isnan(gram.upper_bound(np.full([4, 3], np.nan, "float32")))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"Expected.*Received.*iterations=0"):
        gram.upper_bound(np.eye(2), iterations=0)
