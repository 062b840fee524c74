"""Convolutions in blocks and models: gradients, conditions, inverses, training and files."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.convolutions import build, norm, operator
from support.references import bound_once, jacobian, jacobian_log_det

import tf_iresnet as tfi
from tf_iresnet import layers


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"strides": 2}, {"padding": "circular"}, {"padding": "valid"}, {"dilation_rate": 2}],
)
def test_gradient_flows_through_the_norm(kwargs):
    """Against finite differences of the kernel normalised by the operator's singular values."""
    precise = {"tolerance": 1e-7, "max_power_iterations": 5000, "dtype": "float64"}
    layer = build((5, 6), 2, 2, 3, use_bias=False, **precise, **kwargs)
    random = np.random.default_rng(1)
    cotangent, direction = random.normal(size=(2, 3, 3, 2, 2))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(cotangent * layer.normalized_kernel())
    slope = np.sum(tape.gradient(value, layer.kernel.value) * direction)
    kernel = layer.kernel.numpy()
    layer.coefficient = 1e9  # now the layer is its raw kernel's operator

    def truth(kernel):
        layer.kernel.assign(kernel)
        return np.sum(cotangent * kernel * 0.9 / norm(operator(layer)))

    expected = (truth(kernel + 1e-6 * direction) - truth(kernel - 1e-6 * direction)) / 2e-6
    assert slope == pytest.approx(expected, rel=1e-5)


PADDINGS, SIZES = ("same", "valid", "circular"), ((4,), (4, 3), (4, 3, 3))
# Compiled by `make test`: each padding and each number of axes once.
COMPILED = {*zip(SIZES, ("circular", "same", "valid"), strict=True)}


@pytest.mark.parametrize(
    ("size", "padding", "mode"),
    [(*case, "eager") for case in itertools.product(SIZES, PADDINGS)]
    + [
        pytest.param(
            *case, mode, marks=[pytest.mark.slow] * (mode == "graph" or case not in COMPILED)
        )
        for case in itertools.product(SIZES, PADDINGS)
        for mode in ("graph", "xla")
    ],
)
def test_gradients_of_products_with_the_jacobian(size, padding, mode, run_in_mode):
    """As the gradient of a log-det takes them: `∂/∂ε ‖J(x + ε d)ᵀ c‖²` by finite differences."""
    layer = build(size, 2, 2, 3, padding=padding, activation="sine", dtype="float64")
    random = np.random.default_rng(0)
    x, direction = tf.constant(random.normal(size=(2, 1, *size, 2)))
    cotangent = tf.constant(random.normal(size=layer(x).shape))

    def length_and_slope(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = tf.reduce_sum(layer(x) * cotangent)
            length = tf.reduce_sum(inner.gradient(value, x) ** 2)
        gradients = outer.gradient(length, [x, layer.kernel.value])
        return length, tf.reduce_sum(gradients[0] * direction), tf.reduce_sum(gradients[1] ** 2)

    function = run_in_mode(length_and_slope, mode)
    above, below = (function(x + step * direction)[0] for step in (1e-6, -1e-6))
    _, slope, of_kernel = function(x)
    np.testing.assert_allclose(slope, (above - below) / 2e-6, rtol=1e-5)
    assert of_kernel > 0


def test_condition_moves_the_output_and_not_the_lipschitz_constant():
    layer = build((4, 4), 2, 3, 3, condition_size=2, activation="tanh")
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(3, 4, 4, 2)), tf.float32)
    condition = tf.constant(random.normal(size=(3, 2)), tf.float32)
    y = layer(x, condition)
    shift = condition @ layer.condition_kernel
    linear = keras.ops.conv(x, layer.normalized_kernel(), padding="same")
    np.testing.assert_allclose(y, tf.tanh(linear + shift[:, None, None]), rtol=1e-4, atol=1e-5)
    matrices = jacobian(lambda x: layer(x, condition), x)
    assert matrices.shape == (3, 48, 32)
    assert np.linalg.svd(matrices, compute_uv=False).max() <= 0.9 * 1.01
    with pytest.raises(ValueError, match=r"condition of shape \[batch, 2\]"):
        layer(x)


def test_inputs_of_higher_rank_are_batches():
    layer = build((4, 5), 2, 3, 3, activation="elu", condition_size=3)
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 7, 4, 5, 2)).astype("float32")
    condition = random.normal(size=(2, 3)).astype("float32")
    whole = layer(x, condition)
    assert whole.shape == (2, 7, 4, 5, 3)
    for index in range(7):
        np.testing.assert_allclose(
            whole[:, index], layer(x[:, index], condition), rtol=1e-4, atol=1e-5
        )


def block(**kwargs):
    common = {"coefficient": 0.8, "kernel_initializer": keras.initializers.RandomNormal(0, 1, 1)}
    common |= {"padding": "same", "dtype": kwargs.get("dtype")}
    return layers.ResidualBlock(
        [
            layers.SpectralConv2D(4, 3, activation="lipswish", **common),
            layers.SpectralConv2D(4, 1, activation="sine", **common),
            layers.SpectralConv2D(3, 3, **common),
        ],
        "exact",
        **kwargs,
    )


@functools.cache
def built_block():
    """A block, data, and the log-det by autodiff and LAPACK."""
    layer = block(tolerance=1e-10, dtype="float64")
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 4, 4, 3)))
    layer.build(x.shape)
    return layer, x, jacobian_log_det(layer, x)


def test_residual_blocks_of_images_invert_and_know_their_log_det(mode, run_in_mode):
    layer, x, exact = built_block()

    def both_ways(x):
        with bound_once(layer):
            y, log_det = layer.forward_with_log_det(x)
            return y, log_det, layer.inverse(y)

    _, log_det, recovered = run_in_mode(both_ways, mode)(x)
    np.testing.assert_allclose(recovered, x, atol=1e-9)
    np.testing.assert_allclose(log_det, exact, rtol=1e-8)
    assert tfi.certify(layer).invertible


@pytest.mark.slow
def test_repeated_blocks_train_and_load_with_their_norms(tmp_path):
    flow = tfi.ResidualFlow(layers.Repeated(block(), 2))
    x = np.random.default_rng(0).normal(size=(64, 4, 4, 3)).astype("float32")
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    losses = flow.fit(x, batch_size=16, epochs=2, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert tfi.certify(flow).invertible
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded.log_prob(x[:3]), flow.log_prob(x[:3]))
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, atol=1e-3)


def test_keras_sequential_trains_and_loads(tmp_path):
    model = keras.Sequential(
        [
            keras.Input([8, 8, 2]),
            layers.SpectralConv2D(4, 3, strides=2, padding="same", activation="relu"),
            layers.SpectralConv2D(4, 3, padding="circular", activation="lipswish"),
            keras.layers.Reshape([16, 4]),
            layers.SpectralConv1D(2, 3, dilation_rate=2),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    random = np.random.default_rng(0)
    x, y = random.normal(size=(128, 8, 8, 2)), random.normal(size=(128, 1))
    model.compile(optimizer="adam", loss="mse")
    losses = model.fit(x, y, epochs=2, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert [layer.padding for layer in loaded.layers[:2]] == ["same", "circular"]
    free = keras.Sequential([keras.Input([None, None, 1]), layers.SpectralConv2D(2, 3)])
    assert free(np.ones((1, 5, 4, 1))).shape == (1, 3, 2, 2)
    free.save(tmp_path / "free.keras")
    keras.models.load_model(tmp_path / "free.keras")
