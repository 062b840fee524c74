"""Triangular blocks beyond the contract: their Jacobian, their norm, and what they refuse."""

import keras
import numpy as np
import pytest
from support.references import PRECISE, jacobian, jacobian_log_det, points

from tf_iresnet import certify, layers
from tf_iresnet.layers import activations
from tf_iresnet.layers.triangular import ELEMENTWISE
from tf_iresnet.numerics import norms

DENSE = {
    "kernel_initializer": keras.initializers.RandomNormal(stddev=1.0, seed=1),
    "bias_initializer": "ones",
    **PRECISE,
}


def block(**kwargs):
    arguments = {"units_per_dim": (3, 2), "dense": DENSE, "dtype": "float64", **kwargs}
    return layers.TriangularBlock(**arguments)


def dense_layers(layer):
    return [one for one in layer.branch.layers if isinstance(one, layers.SpectralDense)]


@pytest.mark.parametrize(
    ("activation", "reverse"), [*((name, False) for name in ELEMENTWISE), ("lipswish", True)]
)
def test_the_jacobian_is_triangular_and_its_determinant_exact(activation, reverse):
    layer, x = block(activation=activation, reverse=reverse), points(7, 5)
    value = layer.forward_with_log_det(x)[1]
    full = jacobian(layer, x)
    other = np.tril(full, -1) if reverse else np.triu(full, 1)
    assert not np.any(other), "exact zeros, not small numbers"
    assert np.any(np.abs(full - other - np.eye(5)) > 1e-3)
    np.testing.assert_allclose(value, np.linalg.slogdet(full)[1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("units_per_dim", [(), (1,), (4, 3, 2)])
def test_any_number_of_layers(units_per_dim):
    layer, x = block(units_per_dim=units_per_dim), points(4, 3)
    y, value = layer.forward_with_log_det(x)
    np.testing.assert_allclose(value, jacobian_log_det(layer, x), rtol=1e-11)
    np.testing.assert_allclose(layer.inverse(y), x, atol=1e-4)


def test_both_orders_together_depend_on_everything():
    stack = layers.InvertibleSequential([block(), block(reverse=True)], dtype="float64")
    assert np.all(np.abs(jacobian(stack, points(3, 4))) > 1e-9)


def test_what_counts_is_the_norm_of_the_masked_kernel():
    """By an SVD: it is at the coefficient, though the kernel with all its entries is beyond."""
    layer = block(coefficient=0.9)
    layer.build((None, 6))
    for dense in dense_layers(layer):
        norm = np.linalg.svd(dense.normalized_kernel(), compute_uv=False)[0]
        assert norm == pytest.approx(0.9, rel=1e-6)
        used = dense.linear_map(dense.normalized_kernel())
        np.testing.assert_allclose(norms.singular_values(used)[0], norm)
    certificate = certify(layer)
    assert len(certificate.layers) == 3
    assert certificate.blocks[0].lipschitz == pytest.approx(0.9**3, rel=1e-3)


def test_entries_outside_the_mask_have_no_effect():
    layer, x = block(), points(4, 3)
    y, value = layer.forward_with_log_det(x)
    for dense in dense_layers(layer):
        dense.kernel.assign(dense.kernel.value + 5.0 * ~dense.mask)
    for before, after in zip((y, value), layer.forward_with_log_det(x), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6)


def test_copies_and_layers_start_from_weights_of_their_own():
    repeated = layers.Repeated(layers.TriangularBlock((4, 4, 4), seed=3), 3)
    repeated.build((None, 2))
    stacks = [dense.kernel.value.numpy() for dense in dense_layers(repeated.layer)]
    kernels = [kernel for stack in stacks for kernel in stack]
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels) == 12


@pytest.mark.parametrize("normalization", ["gram", "aol"])
def test_other_normalizations_see_the_mask(normalization):
    """Proven bounds at once, of kernels that are masked."""
    layer, x = block(dense={**DENSE, "normalization": normalization}), points(4, 5)
    value = layer.forward_with_log_det(x)[1]
    np.testing.assert_allclose(value, jacobian_log_det(layer, x), rtol=1e-11)
    for dense in dense_layers(layer):
        kernel = dense.normalized_kernel().numpy()
        assert not np.any(kernel[~dense.mask])
        assert np.linalg.svd(kernel, compute_uv=False)[0] <= 0.97 * (1 + 1e-12)
    assert certify(layer).blocks[0].lipschitz <= 0.97**3 * (1 + 1e-9)


@pytest.mark.parametrize("activation", sorted(set(activations.LAYERS) - set(ELEMENTWISE)))
def test_activations_that_mix_entries_are_refused(activation):
    with pytest.raises(ValueError, match=rf"each entry by itself.*{activation}.*ResidualBlock"):
        layers.TriangularBlock(activation=activation)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: layers.TriangularBlock(coefficient=1.0, activation="sine"), "bound below 1"),
        (lambda: layers.TriangularBlock().build((None, 4, 4, 1)), r"\[batch, dims\].*Reshape"),
        (lambda: layers.TriangularBlock((0,)), "units"),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()
