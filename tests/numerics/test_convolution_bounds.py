"""Bounds of convolutions beside the singular values of the whole operator, written out."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet.numerics import convolution, spectral_norm
from tf_iresnet.numerics.operators import Convolution


def kernel_of(kernel_size, inputs, outputs, seed=0):
    return np.random.default_rng(seed).normal(size=(*kernel_size, inputs, outputs))


def operator(kernel, size, strides, padding, dilation=None):
    """`[inputs, outputs]` in all, by TensorFlow's own convolution of every unit image."""
    axes = len(size)
    count = math.prod(size) * kernel.shape[-2]
    images = np.eye(count).reshape(count, *size, kernel.shape[-2])
    dilation = dilation or (1,) * axes
    if padding == "circular":
        widths = []
        for n, k, stride, rate in zip(size, kernel.shape, strides, dilation, strict=False):
            total = max((-(-n // stride) - 1) * stride + (k - 1) * rate + 1 - n, 0)
            widths.append((total // 2, total - total // 2))
        images = np.pad(images, [(0, 0), *widths, (0, 0)], mode="wrap")
    padding = "SAME" if padding == "same" else "VALID"
    result = tf.nn.convolution(images, kernel, strides, padding, dilations=dilation)
    return result.numpy().reshape(count, -1)


def norm(matrix):
    return np.linalg.norm(matrix, 2)


CHANNELS = [(1, 1), (3, 8), (8, 3), (16, 16)]
PADDINGS = ["same", "valid", "circular"]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(4,), (9,), (16,), (4, 4), (5, 8), (4, 3, 5)])
def test_bound_is_above_the_norm_and_within_a_tenth(size, stride, padding):
    for k, (inputs, outputs) in itertools.product(range(1, 8), CHANNELS):
        large = math.prod(size) * inputs > 400
        if (padding == "valid" and k > min(size)) or (large and k not in (2, 3, 5)):
            continue
        kernel = kernel_of((k,) * len(size), inputs, outputs, seed=k)
        strides = (stride,) * len(size)
        truth = norm(operator(kernel, size, strides, padding))
        bound = convolution.upper_bound(kernel, size, strides, padding)
        assert truth <= bound <= truth * 1.1, (k, inputs, outputs, bound / truth)


@pytest.mark.parametrize("padding", PADDINGS)
def test_bound_of_images_too_large_to_keep_every_axis(padding, monkeypatch):
    """One axis by its symbol, then both; the latter within the few per cent of its docstring."""
    size, strides = (12, 10), (1, 2)
    kernel = kernel_of((3, 3), 3, 8)
    truth = norm(operator(kernel, size, strides, padding))
    bounds = []
    for work in (2**31, 2**19, 0):
        monkeypatch.setattr(convolution, "WORK", work)
        bounds.append(convolution.upper_bound(kernel, size, strides, padding))
    assert truth <= bounds[0] * (1 + 1e-12) and bounds[0] <= truth * (1 + 1e-8)
    assert bounds[0] <= bounds[1] * (1 + 1e-8) and bounds[1] <= bounds[2] * (1 + 1e-8)
    assert bounds[2] <= truth * 1.05
    if padding == "circular":
        assert bounds[2] == pytest.approx(truth, rel=1e-8)


def test_anchor_16_zero_padding_is_not_circular_and_a_bound_holds_for_the_kernel_in_use():
    """A circulant of the image's own size isn't a bound of the zero-padded operator's extension."""
    kernel = np.ones((5, 5, 1, 1)) * [[-1.0]]
    zero = norm(operator(kernel, (6, 6), (1, 1), "same"))
    ring = norm(operator(kernel, (6, 6), (1, 1), "circular"))
    assert zero < 0.8 * ring == pytest.approx(0.8 * 25)
    assert convolution.upper_bound(kernel, (6, 6)) == pytest.approx(zero)
    assert convolution.upper_bound(kernel, (6, 6), padding="circular") == pytest.approx(ring)
    # And where the ring of that size is too short, its largest value is too small.
    alternating = np.array([1.0, 1.0, -1.0]).reshape(3, 1, 1)
    zero = norm(operator(alternating, (3,), (1,), "same"))
    assert zero <= convolution.upper_bound(alternating, (3,))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_bound_for_every_size_holds_for_every_size_and_is_reached(k, stride):
    kernel = kernel_of((k,), 2, 3)
    bound = convolution.upper_bound(kernel, None, (stride,))
    norms = [
        norm(operator(kernel, (n,), (stride,), padding))
        for n in (7, 12, 61, 120)
        for padding in ("same", "valid")
    ]
    assert max(norms) <= bound <= max(norms) * 1.03
    circular = convolution.upper_bound(kernel, None, (stride,), "circular")
    assert bound <= circular * 1.03
    assert norm(operator(kernel, (13,), (stride,), "circular")) <= circular


@pytest.mark.parametrize("padding", PADDINGS)
def test_dilation(padding):
    kernel = kernel_of((3, 2), 2, 3)
    truth = norm(operator(kernel, (7, 6), (1, 1), padding, (2, 3)))
    bound = convolution.upper_bound(kernel, (7, 6), None, padding, (2, 3))
    assert truth <= bound <= truth * (1 + 1e-8)


def test_gram_iteration_of_many_channels(monkeypatch):
    kernel = kernel_of((3, 3), 20, 24)
    monkeypatch.setattr(convolution, "WORK", 0)
    exact = convolution.upper_bound(kernel, (9, 9))
    monkeypatch.setattr(convolution, "EIGENVALUES_UP_TO", 8)
    bound = convolution.upper_bound(kernel, (9, 9))
    assert exact * (1 - 1e-9) <= bound <= exact * 20 ** (1 / 2**12) * (1 + 1e-9)


def test_edges():
    assert convolution.upper_bound(np.zeros((3, 3, 2, 2)), (5, 5)) == 0
    assert convolution.upper_bound(np.full((3, 1, 1), np.nan), (5,)) == math.inf
    huge = convolution.upper_bound(np.full((3, 1, 1), 1e30), (50,))
    assert huge == pytest.approx(3e30, rel=1e-2)
    with pytest.raises(ValueError, match=r"one size, stride and dilation.*size=\(5,\)"):
        convolution.upper_bound(np.zeros((3, 3, 2, 2)), (5,))
    with pytest.raises(ValueError, match="each spatial axis"):
        convolution.upper_bound(np.zeros((2, 2)), ())


OPERATORS = {
    "same": Convolution((5, 6), (1, 1), "same", (1, 1)),
    "strided": Convolution((5, 6), (2, 3), "same", (1, 1)),
    "valid": Convolution((5, 6), (2, 1), "valid", (1, 1)),
    "circular": Convolution((5, 6), (1, 2), "circular", (1, 1)),
    "twice around": Convolution((2, 6), (1, 1), "circular", (3, 1)),
    "dilated": Convolution((7, 6), (1, 1), "same", (2, 1)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_and_its_adjoint_are_the_convolution(name):
    """`⟨Ax, y⟩ = ⟨x, Aᵀy⟩`, where `A` is TensorFlow's convolution; and its norm is estimated."""
    one = OPERATORS[name]
    kernel = kernel_of((3, 4), 2, 3)
    matrix = operator(kernel, one.size, one.strides, one.padding, one.dilation)
    random = np.random.default_rng(1)
    x = random.normal(size=(2, *one.size, 2))
    images = one.adjoint(tf.constant(kernel), tf.constant(x)).numpy()
    np.testing.assert_allclose(images.reshape(2, -1), x.reshape(2, -1) @ matrix, atol=1e-12)
    assert images.shape[1:-1] == one.output_size((3, 4))
    y = random.normal(size=images.shape)
    back = one.apply(tf.constant(kernel), tf.constant(y)).numpy()
    np.testing.assert_allclose(back.reshape(2, -1), y.reshape(2, -1) @ matrix.T, atol=1e-12)

    generic = tf.constant(random.normal(size=(4, *images.shape[1:])))
    vector = generic[0]
    for _ in range(4):
        vector = spectral_norm.leading_vector(kernel, vector, generic, operator=one)
    sigma, vector = spectral_norm.power_iteration(kernel, vector, 1e-4, operator=one)
    assert float(sigma) == pytest.approx(norm(matrix), rel=5e-3)
    assert vector.shape == images.shape[1:]
