"""Bounds of convolutions beside the singular values of the whole operator, written out."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from support.dense_convolution import dense_convolution

from tf_iresnet.numerics import norms, symbols
from tf_iresnet.numerics.differentiable_norms import differentiable_bound
from tf_iresnet.numerics.linear_maps import Convolution
from tf_iresnet.numerics.norms import upper_bound


def kernel_of(kernel_size, inputs, outputs, seed=0):
    return np.random.default_rng(seed).normal(size=(*kernel_size, inputs, outputs))


def bound_of(kernel, size, strides=None, padding="same", dilation=None):
    ones = (1,) * (kernel.ndim - 2)
    return upper_bound(Convolution(kernel, size, strides or ones, padding, dilation or ones))


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
        truth = norm(dense_convolution(kernel, size, strides, padding))
        bound = bound_of(kernel, size, strides, padding)
        assert truth <= bound <= truth * 1.1, (k, inputs, outputs, bound / truth)


@pytest.mark.parametrize("padding", PADDINGS)
def test_bound_of_images_too_large_to_keep_every_axis(padding, monkeypatch):
    """One axis by its symbol, then both; the latter within the few per cent of its docstring."""
    size, strides = (12, 10), (1, 2)
    kernel = kernel_of((3, 3), 3, 8)
    truth = norm(dense_convolution(kernel, size, strides, padding))
    bounds = []
    for work in (2**31, 2**19, 0):
        monkeypatch.setattr(norms, "WORK", work)
        bounds.append(bound_of(kernel, size, strides, padding))
    assert truth <= bounds[0] * (1 + 1e-12) and bounds[0] <= truth * (1 + 1e-8)
    assert bounds[0] <= bounds[1] * (1 + 1e-8) and bounds[1] <= bounds[2] * (1 + 1e-8)
    assert bounds[2] <= truth * 1.05
    if padding == "circular":
        assert bounds[2] == pytest.approx(truth, rel=1e-8)


def test_anchor_16_zero_padding_is_not_circular_and_a_bound_holds_for_the_kernel_in_use():
    """A circulant of the image's own size isn't a bound of the zero-padded operator's extension."""
    kernel = np.ones((5, 5, 1, 1)) * [[-1.0]]
    zero = norm(dense_convolution(kernel, (6, 6), (1, 1), "same"))
    ring = norm(dense_convolution(kernel, (6, 6), (1, 1), "circular"))
    assert zero < 0.8 * ring == pytest.approx(0.8 * 25)
    assert bound_of(kernel, (6, 6)) == pytest.approx(zero)
    assert bound_of(kernel, (6, 6), padding="circular") == pytest.approx(ring)
    # And where the ring of that size is too short, its largest value is too small.
    alternating = np.array([1.0, 1.0, -1.0]).reshape(3, 1, 1)
    zero = norm(dense_convolution(alternating, (3,), (1,), "same"))
    assert zero <= bound_of(alternating, (3,))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_bound_for_every_size_holds_for_every_size_and_is_reached(k, stride):
    """And so does the norm on one ring, times a factor."""
    kernel = kernel_of((k,), 2, 3)
    bound = bound_of(kernel, None, (stride,))
    largest = max(
        norm(dense_convolution(kernel, (n,), (stride,), padding))
        for n in (7, 12, 61, 120)
        for padding in ("same", "valid")
    )
    assert largest <= bound <= largest * 1.03
    circular = bound_of(kernel, None, (stride,), "circular")
    assert bound <= circular * 1.03
    assert norm(dense_convolution(kernel, (13,), (stride,), "circular")) <= circular

    every = Convolution(tf.constant(kernel), None, (stride,), "same", (1,))
    ringed, factor = symbols.for_every_size(every)
    on_ring = norm(ringed.dense())
    assert largest <= on_ring * factor * (1 + 1e-12) and on_ring <= bound
    differentiable = differentiable_bound(every)
    assert largest <= differentiable <= largest * 1.03


@pytest.mark.parametrize("padding", PADDINGS)
def test_dilation(padding):
    kernel = kernel_of((3, 2), 2, 3)
    truth = norm(dense_convolution(kernel, (7, 6), (1, 1), padding, (2, 3)))
    bound = bound_of(kernel, (7, 6), None, padding, (2, 3))
    assert truth <= bound <= truth * (1 + 1e-8)


def test_gram_iteration_of_many_channels(monkeypatch):
    kernel = kernel_of((3, 3), 20, 24)
    monkeypatch.setattr(norms, "WORK", 0)
    exact = bound_of(kernel, (9, 9))
    monkeypatch.setattr(norms, "EIGENVALUES_UP_TO", 8)
    bound = bound_of(kernel, (9, 9))
    assert exact * (1 - 1e-9) <= bound <= exact * 20 ** (1 / 2**12) * (1 + 1e-9)


def test_edges():
    assert bound_of(np.zeros((3, 3, 2, 2)), (5, 5)) == 0
    assert bound_of(np.full((3, 1, 1), np.nan), (5,)) == math.inf
    assert bound_of(np.full((1, 1, 1), np.nan), (5,)) == math.inf
    for scale in (1e-20, 1e20, 1e30):
        bound = bound_of(np.full((3, 1, 1), scale), (50,))
        assert bound == pytest.approx(3 * scale, rel=1e-2)
    stack = np.zeros((2, 3, 3, 2, 2))
    with pytest.raises(ValueError, match=r"one convolution. Received: shape=\(2, 3, 3, 2, 2\)"):
        upper_bound(Convolution(stack, (5, 5), (1, 1), "same", (1, 1)))


@pytest.mark.parametrize("rings", [(5,), (8,), (4, 3)])
def test_blocks_are_the_discrete_fourier_transform(rings):
    """Of taps that meet on the ring, too: one of each pair of conjugates."""
    kernel_size = (6, 2)[: len(rings)]
    kernel = kernel_of(kernel_size, 3, 2)
    waves = symbols.waves(kernel_size, rings)
    blocks = symbols.blocks(
        tf.constant(kernel.reshape(-1, 3, 2)), tf.stack([waves.real, waves.imag])
    )
    ringed = np.zeros((*rings, 3, 2))
    for tap in itertools.product(*map(range, kernel_size)):
        ringed[tuple(t % n for t, n in zip(tap, rings, strict=True))] += kernel[tap]
    symbol = np.fft.rfftn(ringed, axes=range(len(rings))).reshape(-1, 3, 2).conj()
    np.testing.assert_allclose(blocks[:, :3, :2], symbol.real, atol=1e-12)
    np.testing.assert_allclose(blocks[:, 3:, :2], symbol.imag, atol=1e-12)
    values = np.linalg.svd(symbol, compute_uv=False).repeat(2, -1)
    np.testing.assert_allclose(np.linalg.svd(blocks, compute_uv=False), values, atol=1e-12)
