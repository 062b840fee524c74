"""Bounds from above beside singular values, and the differentiable ones beside the certificate."""

import functools
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from support.dense_convolution import GEOMETRIES

from tf_iresnet.numerics import differentiable_norms, map_functions, norms
from tf_iresnet.numerics.differentiable_norms import (
    almost_orthogonal,
    differentiable_bound,
    gram_iteration,
    in_full_products,
)
from tf_iresnet.numerics.linear_maps import Convolution, Matrix
from tf_iresnet.numerics.norms import upper_bound


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# Graphs are kept by what they compute, not by settings: those of the other setting are kept apart.
SAMPLED = functools.lru_cache(map_functions.TRACES)(map_functions._graph.__wrapped__)


@pytest.fixture(params=[True, False], ids=["written out", "sampled"])
def written_out(request, monkeypatch):
    """Whether convolutions of small images are written out; otherwise all are sampled."""
    if not request.param:
        monkeypatch.setattr(differentiable_norms, "SIDE", 0)
        monkeypatch.setattr(map_functions, "_graph", SAMPLED)
    return request.param


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
    "large": lambda: 1e20 * gaussian(16, 24),
    "small": lambda: 1e-20 * gaussian(16, 24),
    "huge": lambda: 1e30 * gaussian(16, 24),
    "tiny": lambda: 1e-30 * gaussian(24, 16),
}


@pytest.mark.parametrize("name", KERNELS)
def test_bound_is_above_the_norm_and_close_and_a_certificate_agrees(name, dtype):
    kernel = KERNELS[name]().astype(dtype)
    norm = np.linalg.norm(kernel.astype(np.float64), 2)
    bound = differentiable_bound(Matrix(kernel))
    assert bound.dtype == dtype
    assert norm < bound <= norm * (1.0082 if name == "half of them" else 1.004)
    for limit in (0.97, 1e-3, 30.0):
        divided = (kernel / (bound / tf.constant(limit, dtype))).numpy()
        assert upper_bound(Matrix(divided)) <= limit


def test_each_iteration_halves_the_excess():
    kernel = gaussian(30, 40)
    norm = np.linalg.norm(kernel, 2)
    bounds = [float(differentiable_bound(Matrix(kernel), n)) for n in (2, 3, 4, 5)]
    excess = [bound / norm - 1 for bound in bounds]
    assert all(0 < after < 0.6 * before for before, after in itertools.pairwise(excess))


def test_a_stack_is_bounded_matrix_by_matrix():
    stack = gaussian(3, 2, 7, 5) * np.logspace(-3, 3, 3)[:, None, None, None]
    exact = np.linalg.norm(stack, 2, axis=(-2, -1))
    certified = upper_bound(Matrix(stack))
    for bounds in (gram_iteration(tf.constant(stack)), differentiable_bound(Matrix(stack))):
        assert bounds.shape == (3, 2) and np.all(certified < bounds)
        assert np.all(bounds < 1.01 * exact)
    assert certified.shape == (3, 2)
    assert np.all(exact <= certified) and np.all(certified <= exact * (1 + 1e-10))


def test_upper_bound_of_a_kernel_too_large_to_decompose(monkeypatch):
    kernel = gaussian(60, 80).astype("float32")
    norm = np.linalg.norm(kernel.astype("float64"), 2)
    monkeypatch.setattr(norms, "EXACT_UP_TO", 50)
    assert norm < upper_bound(Matrix(kernel)) < norm * 60 ** (1 / 2**11) * (1 + 1e-9)
    stack = np.stack([kernel, 2 * kernel, 1e20 * kernel])
    bounds = upper_bound(Matrix(stack.astype("float64")))
    np.testing.assert_allclose(bounds / norm, [1, 2, 1e20], rtol=3e-3)


def test_upper_bounds_of_kernels_that_are_not_finite_are_infinite_copy_by_copy():
    stack = gaussian(3, 4, 5)
    stack[1, 2, 3] = np.nan
    bounds = upper_bound(Matrix(stack))
    np.testing.assert_array_equal(np.isinf(bounds), [False, True, False])
    assert upper_bound(Matrix(stack[1])) == math.inf
    assert upper_bound(Matrix(np.zeros((0, 3)))) == 0


ALL = {"matrix": ((9, 6),), **GEOMETRIES, "large": ((3, 3, 3, 8), (12, 40), (1, 1), "same", (1, 1))}
every_map = pytest.mark.parametrize("name", ALL)


def map_of(name, kernel):
    _, *geometry = ALL[name]
    return Convolution(kernel, *geometry) if geometry else Matrix(kernel)


@every_map
def test_bound_of_a_convolution_covers_its_certificate(name, written_out, dtype):
    """Whether it is written out or sampled; the latter is close for images that aren't small."""
    for seed in range(3):
        kernel = gaussian(*ALL[name][0], seed=seed).astype(dtype)
        bound = differentiable_bound(map_of(name, kernel))
        proven = upper_bound(map_of(name, kernel))
        assert upper_bound(map_of(name, (kernel / bound).numpy())) <= 1
        assert proven < bound
        if written_out and name != "large":
            assert bound <= proven * 1.004
        elif name != "circular":  # whose strides don't divide it
            assert bound <= proven * (1.05 if name in ("large", "sequence") else 1.4)


@every_map
def test_gradient_is_that_of_the_bound_and_nearly_that_of_the_norm(name, written_out):
    """Against central differences in float64, of the bound itself and, sharper, of the norm."""
    shape = ALL[name][0]
    kernel, direction = tf.constant(gaussian(*shape)), gaussian(*shape, seed=8)

    def slope(iterations):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            bound = differentiable_bound(map_of(name, kernel), iterations)
        return np.sum(tape.gradient(bound, kernel) * direction)

    def difference(function):
        above, below = (function(kernel.numpy() + s * direction) for s in (1e-6, -1e-6))
        return (float(above) - float(below)) / 2e-6

    for iterations in (2, 8):
        expected = difference(lambda k, n=iterations: differentiable_bound(map_of(name, k), n))
        # All but what is allowed for rounding, where lengths are taken for constants.
        assert slope(iterations) == pytest.approx(expected, rel=5e-5, abs=1e-5)
    if written_out and name != "large":
        exact = difference(lambda k: upper_bound(map_of(name, k)))
        assert slope(13) == pytest.approx(exact, rel=1e-3, abs=1e-3)


# Under XLA each takes seconds, and those of a kind compile the same operations.
OF_A_KIND = {"same", "valid", "twice around", "dilated", "channels"}


@pytest.mark.parametrize(
    ("name", "mode"),
    [(n, "graph") for n in ALL]
    + [pytest.param(n, "xla", marks=[pytest.mark.slow] * (n in OF_A_KIND)) for n in ALL],
)
def test_every_mode_gives_the_eager_numbers(name, mode, run_in_mode):
    kernel = tf.constant(gaussian(*ALL[name][0]), tf.float32)

    def bound_and_gradient(kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            bound = differentiable_bound(map_of(name, kernel))
        return bound, tape.gradient(bound, kernel)

    ours, eager = run_in_mode(bound_and_gradient, mode)(kernel), bound_and_gradient(kernel)
    np.testing.assert_allclose(ours[0], eager[0], rtol=1e-5)
    np.testing.assert_allclose(ours[1], eager[1], atol=1e-4 * np.abs(eager[1]).max())


@pytest.mark.parametrize("name", ["matrix", "strided", "large"])
@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_a_stack_is_its_copies_one_by_one(name, mode, run_in_mode):
    """Bounds (sampled for large images), almost-orthogonal kernels, gradients; at all scales."""
    scales = np.array([[1e20, 1e-20], [1.0, 0.0]])
    kernels = gaussian(2, 2, *ALL[name][0]) * scales.reshape(2, 2, *[1] * len(ALL[name][0]))
    kernels = tf.constant(kernels.astype("float32"))
    weights = tf.constant(gaussian(*ALL[name][0], seed=1), tf.float32)

    def run(kernel):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(kernel)
            bounds = differentiable_bound(map_of(name, kernel))
            scaled = almost_orthogonal(map_of(name, kernel))
            totals = tf.reduce_sum(bounds), tf.reduce_sum(scaled * weights)
        return bounds, scaled, *(tape.gradient(total, kernel) for total in totals)

    together = run_in_mode(run, mode)(kernels)
    for index in itertools.product(range(2), range(2)):
        for ours, expected in zip(together, run(kernels[index]), strict=True):
            size = np.abs(expected).max()
            np.testing.assert_allclose(ours[index] / size, expected / size, atol=2e-5)


@every_map
def test_zeros_have_bound_and_gradient_zero(name):
    kernel = tf.zeros(ALL[name][0])
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        bound = differentiable_bound(map_of(name, kernel))
    assert float(bound) == 0
    np.testing.assert_array_equal(tape.gradient(bound, kernel), kernel)


@pytest.mark.parametrize("name", ["matrix", "strided", "channels"])
def test_singular_values_are_those_of_the_dense_matrix(name):
    linear_map = map_of(name, tf.constant(gaussian(*ALL[name][0])))
    values = norms.singular_values(linear_map)
    gram = linear_map.dense() @ tf.transpose(linear_map.dense())
    eigenvalues = np.sort(np.linalg.eigvalsh(gram))[::-1][: len(values)]
    np.testing.assert_allclose(values**2, eigenvalues, atol=1e-10)
    assert values[0] == pytest.approx(upper_bound(linear_map), rel=1e-6)


def test_half_precision_is_bounded_in_float32():
    kernel = tf.cast(gaussian(32, 32), tf.bfloat16)
    bound = differentiable_bound(Matrix(kernel))
    assert bound.dtype == tf.float32
    assert float(bound) >= np.linalg.norm(tf.cast(kernel, tf.float64), 2)


@pytest.mark.parametrize("device", ["GPU", "TPU"])
def test_products_that_drop_digits_are_avoided(device, monkeypatch):
    devices = [tf.config.PhysicalDevice("/physical_device:X:0", device)]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda: devices)
    assert in_full_products(tf.ones([2, 2])).dtype == (
        tf.float64 if device == "TPU" else tf.float32
    )
    monkeypatch.setattr(tf.config.experimental, "tensor_float_32_execution_enabled", lambda: True)
    assert in_full_products(tf.ones([2, 2])).dtype == tf.float64


def test_nan_is_not_hidden():
    kernel = np.full([4, 3], np.nan, "float32")
    assert math.isnan(differentiable_bound(Matrix(kernel)))
    kernel[1:] = 0
    assert math.isnan(differentiable_bound(Matrix(kernel)))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"Expected.*Received.*iterations=0"):
        differentiable_bound(Matrix(np.eye(2)), iterations=0)
    with pytest.raises(ValueError, match=r"Expected.*Received.*\(3,\)"):
        upper_bound(Matrix(np.ones(3)))


SHAPES = [
    (6, 9),
    (9, 6),
    (1, 1),
    (128, 128),
    (5, 3, 4),
    (3, 3, 2, 5),
    (2, 3, 5, 2),
    (3, 2, 2, 3, 2),
]


def conv_or_matrix(kernel, stride=1, padding="same", rate=1):
    axes = kernel.ndim - 2 if isinstance(kernel, np.ndarray) else kernel.shape.rank - 2
    if not axes:
        return Matrix(kernel)
    size = (9, 8, 7)[:axes]
    return Convolution(kernel, size, (stride,) * axes, padding, (rate,) * axes)


def orthogonalized(kernel):
    return almost_orthogonal(conv_or_matrix(kernel))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_almost_orthogonal_norm_is_certainly_at_most_one(shape, scale, dtype):
    kernel = orthogonalized((scale * gaussian(*shape)).astype(dtype)).numpy()
    assert kernel.dtype == dtype and kernel.shape == shape
    for padding, stride, rate in itertools.product(("same", "valid", "circular"), (1, 2), (1, 2)):
        certified = upper_bound(conv_or_matrix(kernel, stride, padding, rate))
        assert 0.2 < certified <= 1 if stride == 1 else True
        assert certified <= 1


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_a_matrix_is_scaled_by_the_formula_on_its_smaller_side(shape):
    kernel = gaussian(*shape)
    wide = kernel.T if shape[0] > shape[1] else kernel
    expected = wide / np.sqrt(np.abs(wide @ wide.T).sum(1, keepdims=True))
    expected = expected.T if shape[0] > shape[1] else expected
    np.testing.assert_allclose(orthogonalized(kernel), expected, rtol=1e-6)


def test_a_convolution_is_scaled_by_its_operator_on_a_long_ring():
    """The same formula for the written-out circulant, whose rows know nothing of an edge."""
    kernel = gaussian(3, 2, 4)
    images = np.pad(np.eye(16).reshape(16, 8, 2), [(0, 0), (1, 1), (0, 0)], mode="wrap")
    operator = tf.nn.conv1d(images, kernel, 1, "VALID").numpy().reshape(16, -1)
    scale = 1 / np.sqrt(np.abs(operator @ operator.T).sum(1)).reshape(8, 2)
    np.testing.assert_allclose(scale, scale[:1].repeat(8, 0), rtol=1e-12)
    np.testing.assert_allclose(orthogonalized(kernel), kernel * scale[0][:, None], rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 6), (6, 6), (6, 3)])
def test_orthogonal_kernels_stay_and_the_scale_cancels(shape, dtype):
    orthogonal = np.linalg.svd(gaussian(*shape), full_matrices=False)
    orthogonal = (orthogonal[0] @ orthogonal[2]).astype(dtype)
    np.testing.assert_allclose(orthogonalized(3 * orthogonal), orthogonal, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (3, 3, 2), (3, 2, 2, 3)])
def test_almost_orthogonal_gradient_is_that_of_finite_differences(shape, mode, run_in_mode):
    kernel = tf.constant(gaussian(*shape))
    cotangent, direction = gaussian(2, *shape, seed=1)

    def value_and_gradient(kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            value = tf.reduce_sum(cotangent * orthogonalized(kernel))
        return value, tape.gradient(value, kernel)

    function = run_in_mode(value_and_gradient, mode)
    above, below = (function(kernel + step * direction)[0] for step in (1e-6, -1e-6))
    slope = np.sum(function(kernel)[1] * direction)
    assert slope == pytest.approx(float(above - below) / 2e-6, rel=1e-5)


def test_channels_of_zeros_stay_with_gradient_zero():
    kernel = tf.constant((gaussian(3, 2, 5) * [[1.0], [0.0]]).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        scaled = orthogonalized(kernel)
        value = tf.reduce_sum(scaled**2)
    np.testing.assert_array_equal(scaled[:, 1], tf.zeros([3, 5]))
    gradient = tape.gradient(value, kernel).numpy()
    assert np.all(np.isfinite(gradient)) and np.all(gradient[:, 1] == 0)
    np.testing.assert_array_equal(orthogonalized(tf.zeros([4, 3])), tf.zeros([4, 3]))
