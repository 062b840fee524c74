"""Norms and certificates of convolutions beside the SVD of the materialised operator."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.convolutions import build, norm, norm_bound, norm_estimate, operator

from tf_iresnet import layers
from tf_iresnet.numerics import norms

# size, channels in and out, kernel, stride, padding
GRID = [
    ((16,), 3, 8, 7, 1, "same"),
    ((16,), 16, 16, 4, 2, "valid"),
    ((9,), 8, 3, 5, 2, "circular"),
    ((4,), 1, 1, 3, 1, "valid"),
    ((4, 4), 3, 8, 3, 1, "same"),
    ((4, 4), 16, 16, 7, 1, "same"),
    ((4, 4), 8, 3, 7, 1, "circular"),
    ((5, 8), 1, 1, 5, 2, "valid"),
    ((5, 8), 8, 3, 2, 1, "valid"),
    ((6, 8), 3, 8, 5, 2, "circular"),
    ((7, 7), 8, 3, 3, 2, "same"),
    ((8, 8), 16, 16, 3, 1, "circular"),
    ((8, 8), 3, 8, 6, 2, "same"),
    ((8, 8), 16, 16, 1, 2, "same"),
    ((16, 16), 1, 1, 5, 1, "same"),
    ((16, 16), 3, 8, 3, 1, "same"),
    ((4, 4, 4), 3, 4, 3, 1, "same"),
    ((4, 5, 3), 2, 3, 2, 2, "circular"),
    ((5, 4, 4), 3, 2, (3, 1, 2), 1, "valid"),
]


@pytest.mark.parametrize(("size", "inputs", "outputs", "kernel", "stride", "padding"), GRID)
def test_anchor_01_estimate_norm_and_certificate_of_a_fresh_layer(
    size, inputs, outputs, kernel, stride, padding
):
    layer = build(size, inputs, outputs, kernel, strides=stride, padding=padding, use_bias=False)
    truth = norm(operator(layer))
    assert 0.9 * 0.999 <= truth <= 0.9 * 1.01
    assert 0.99 * truth <= norm_estimate(layer) <= truth * (1 + 1e-5)
    # The operator is written out in float32, the bound is one of the exact operator.
    assert truth * (1 - 1e-6) <= norm_bound(layer) <= 1.1 * truth


@pytest.mark.parametrize("padding", ["same", "valid", "circular"])
def test_every_mode_and_dtype_normalises(padding, dtype, mode, run_in_mode):
    """The value is Keras' convolution with the normalised kernel, the gradient is finite."""
    layer = build((5, 6), 2, 3, 3, padding=padding, dtype=dtype)
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 6, 2)), dtype)
    around = [[0, 0], [1, 1], [1, 1], [0, 0]]

    def outputs_and_gradient(x):
        with tf.GradientTape() as tape:
            y = layer(x)
            value = tf.reduce_sum(y**2)
        return y, tape.gradient(value, layer.kernel.value), layer.normalized_kernel()

    y, gradient, kernel = run_in_mode(outputs_and_gradient, mode)(x)
    images = np.pad(x, around, mode="wrap") if padding == "circular" else x
    expected = keras.ops.conv(images, kernel, padding="valid" if padding != "same" else "same")
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert np.all(np.isfinite(gradient)) and np.any(gradient != 0)
    layer.kernel.assign(kernel)
    assert 0.9 * 0.999 <= norm(operator(layer)) <= 0.9 * 1.01


@pytest.mark.parametrize("rule", ["power", "gram"])
def test_small_kernels_stay_as_they_are(rule):
    layer = build((4, 4), 2, 2, 3, normalization=rule)
    for kernel in (layer.kernel * 1e-2, tf.zeros_like(layer.kernel)):
        layer.kernel.assign(kernel)
        with tf.GradientTape() as tape:
            normalized = layer.normalized_kernel()
        np.testing.assert_array_equal(normalized, kernel)
        np.testing.assert_array_equal(tape.gradient(normalized, layer.kernel.value), kernel * 0 + 1)


def test_anchor_02_only_training_stores_state():
    layer = build((4, 4), 2, 3, 3)
    layer.kernel.assign(np.random.default_rng(0).normal(size=layer.kernel.shape))
    before = [weight.numpy() for weight in layer.weights]
    vector = layer.rule.leading_vector.numpy()
    layer(tf.zeros((1, 4, 4, 2)))
    layer(tf.zeros((1, 4, 4, 2)), training=False)
    layer(tf.zeros((1, 6, 5, 2)), training=True)  # of another size: not its operator
    for weight, value in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    layer(tf.zeros((1, 4, 4, 2)), training=True)
    assert np.any(layer.rule.leading_vector.numpy() != vector)


def test_anchor_04_state_is_made_in_build_and_has_no_batch_axis():
    layer = build((5, 8), 2, 3, 3, strides=2)
    assert layer.rule.leading_vector.shape == (3, 4, 3)
    assert layer.rule.kernel_sketch.shape == (3, 3, 2, 4)
    assert build((5, 8), 2, 3, 1).rule.leading_vector.shape == (3,)
    assert build((None, 8), 2, 3, (3, 5)).rule.leading_vector.shape == (16, 32, 3)


def test_a_stale_vector_does_no_harm_in_inference():
    """The kernel becomes another one, the stored vector a singular vector of a small value."""
    layer = build((4, 4), 2, 3, 3, use_bias=False)
    layer.kernel.assign(np.random.default_rng(0).normal(size=layer.kernel.shape) * 3)
    raw = layer.kernel.numpy()
    layer.coefficient = 1e9
    right = np.linalg.svd(operator(layer))[2]
    layer.coefficient = 0.9
    layer.rule.leading_vector.assign(right[5].reshape(4, 4, 3))
    assert 0.9 * 0.999 <= norm(operator(layer)) <= 0.9 * 1.01
    np.testing.assert_array_equal(layer.kernel, raw)


@pytest.mark.parametrize("training", [False, True])
def test_anchor_14_nothing_to_call_after_a_step(training):
    layer = build((4, 4), 2, 2, 3, use_bias=False)
    optimizer = keras.optimizers.Adam(0.05)
    x = tf.constant(np.random.default_rng(0).normal(size=(16, 4, 4, 2)), tf.float32)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(tf.square(layer(x, training=training) - 5.0 * x))
        variables = layer.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(10):
        for _ in range(8):
            step()
        assert norm(operator(layer)) <= 0.9 * 1.01


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid", "circular"])
def test_without_a_size_the_norm_is_bounded_for_every_size(padding, strides):
    """Whether built without one, or called with another one."""
    kwargs = {"padding": padding, "strides": strides, "use_bias": False}
    anywhere, here = build((None, None), 2, 3, 3, **kwargs), build((4, 4), 2, 3, 3, **kwargs)
    for size in ((5, 5), (12, 9)):
        for layer in (anywhere, here):
            assert norm(operator(layer, size)) <= 0.9
    if strides == 1 or padding != "circular":
        assert norm(operator(anywhere, (16, 16))) >= 0.9 * 0.9
        assert norm(operator(here)) >= 0.9 * 0.999
    assert norm_estimate(anywhere) <= norm_bound(anywhere) <= 0.9 * 1.01


def test_dilated_kernels():
    layer = build((6, 7), 2, 3, (3, 2), dilation_rate=(2, 3), use_bias=False)
    truth = norm(operator(layer))
    assert 0.9 * 0.999 <= truth <= 0.9 * 1.01
    assert truth * (1 - 1e-6) <= norm_bound(layer) <= truth * (1 + 1e-5)
    x = tf.random.normal((2, 6, 7, 2))
    expected = tf.nn.convolution(x, layer.normalized_kernel(), 1, "SAME", dilations=(2, 3))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: layers.SpectralConv2D(2, 3, groups=2), "groups=1.*groups=2.*Split"),
        (
            lambda: layers.SpectralConv2D(2, 3, data_format="channels_first"),
            "channels_last.*channels_first.*Permute",
        ),
        (lambda: layers.SpectralConv1D(2, 3, padding="causal"), "'circular'.*causal.*'valid'"),
        (lambda: layers.SpectralConv2D(2, 3, coefficient=-1), "coefficient > 0.*-1"),
        (lambda: layers.SpectralConv2D(2, 3, activation="gelu"), "non-expansive.*gelu"),
        (lambda: layers.SpectralConv2D(2, 3, lora_rank=2), "SpectralConv2D.*lora_rank"),
        (lambda: build((2, 2), 1, 1, 3, padding="valid"), r"kernel fits.*\(2, 2\).*'same'"),
        (
            lambda: layers.ContractiveSequential([build((4, 4), 1, 1, 3)])(tf.zeros((1, 5, 5, 1))),
            r"size \(4, 4\).*\(1, 5, 5, 1\).*unknown sizes",
        ),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_bound_of_an_unnormalised_kernel_is_that_of_its_operator():
    layer = build((4, 4), 2, 3, 3)
    kernel = layer.kernel.numpy()
    truth = norm(operator_with(layer, layer.kernel.value))
    assert truth * (1 - 1e-6) <= norm_bound(layer, kernel) <= truth * (1 + 1e-5)
    assert truth > 5


@pytest.mark.parametrize("kernel", [1, 3])
def test_the_spectrum_is_that_of_the_materialised_operator(kernel):
    layer = build((5, 4), 2, 3, kernel, padding="same")
    for used in (layer.normalized_kernel(), layer.kernel.value):
        found = norms.singular_values(layer.linear_map(used))
        expected = np.linalg.svd(operator_with(layer, used), compute_uv=False)
        expected = expected if kernel > 1 else np.linalg.svd(used.numpy()[0, 0], compute_uv=False)
        np.testing.assert_allclose(found, expected[: len(found)], rtol=1e-4, atol=1e-5)
        assert np.all(expected[len(found) :] < 1e-5)


def operator_with(layer, kernel):
    """The dense matrix of the linear map with that kernel, [inputs, outputs]."""
    count = math.prod(layer.size) * 2
    basis = tf.reshape(tf.eye(count), (count, *layer.size, 2))
    return np.asarray(layer.linear_map(kernel).apply(basis)).reshape(count, -1)


def test_without_a_coefficient_the_kernel_stays_as_it_is():
    layer = build((5, 4), 2, 3, 3, coefficient=None, padding="same")
    layer.kernel.assign(5 * layer.kernel)
    np.testing.assert_array_equal(layer.normalized_kernel(True), layer.kernel.value)
    assert layer.lipschitz_bound() == np.inf
    layer.store_norm()
    sigma = norm(operator_with(layer, layer.kernel.value))
    assert 0.99 * sigma <= norm_estimate(layer, layer.kernel) <= sigma * (1 + 1e-5)
    assert norm_bound(layer, layer.kernel) >= sigma * (1 - 1e-6)
    np.testing.assert_array_equal(
        layer(tf.ones((1, 7, 6, 2))).shape, (1, 7, 6, 3), "another size than it was built for"
    )


@pytest.mark.parametrize("shape", [(3, 3, 12, 64), (3, 3, 64, 12)])
def test_stored_norms_are_those_of_kernels_that_were_assigned_as_a_whole(shape):
    """Whatever the stored vector was: a search finds the leading one of normal kernels."""
    layer = layers.SpectralConv2D(shape[-1], 3, padding="same")
    layer.set_stack((4,))
    layer.build((None, 16, 16, shape[-2]))
    layer.kernel.assign(np.random.default_rng(0).standard_normal((4, *shape)) / 10)
    layer.store_norm()
    for kernel in np.asarray(layer.normalized_kernel(), np.float64):
        assert 0.97 * 0.99 < norms.upper_bound(layer.certified_map(kernel)) < 0.97 * 1.02
