"""Spectral layers against NumPy's singular values."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.references import jacobian

from tf_iresnet import layers
from tf_iresnet.layers import normalization_rules


def dense(features=16, units=8, stddev=2.0, **kwargs):
    initializer = keras.initializers.RandomNormal(stddev=stddev, seed=3)
    layer = layers.SpectralDense(units, kernel_initializer=initializer, **kwargs)
    layer.build((None, features))
    return layer


def norm(matrix):
    return np.linalg.norm(np.asarray(matrix, np.float64), 2)


@pytest.mark.parametrize("shape", [(1, 1), (2, 128), (128, 2), (64, 64), (128, 128)])
def test_anchor_01_a_fresh_layer_is_normalised(shape, dtype, mode, run_in_mode):
    """Before its first training step and in inference: norm within 1 % of the coefficient."""
    layer = dense(*shape, coefficient=0.9, dtype=dtype)
    kernel = run_in_mode(lambda: layer.normalized_kernel(), mode)()
    assert norm(layer.kernel) > 0.9
    assert 0.9 * 0.999 <= norm(kernel) <= 0.9 * 1.01


def test_small_kernels_stay_as_they_are():
    layer = dense(stddev=1e-2)
    np.testing.assert_array_equal(layer.normalized_kernel(), layer.kernel)
    layer.kernel.assign(tf.zeros_like(layer.kernel))
    np.testing.assert_array_equal(layer.normalized_kernel(), layer.kernel)


def test_anchor_02_only_training_stores_state():
    layer = dense()
    layer.kernel.assign(np.random.default_rng(0).normal(size=layer.kernel.shape))
    before = layer.rule.leading_vector.numpy()
    layer(tf.zeros((1, 16)))
    layer(tf.zeros((1, 16)), training=False)
    np.testing.assert_array_equal(layer.rule.leading_vector, before)
    layer(tf.zeros((1, 16)), training=True)
    assert np.any(layer.rule.leading_vector.numpy() != before)


def test_anchor_04_state_is_made_in_build_without_a_batch_axis():
    assert dense(units=8).rule.leading_vector.shape == (8,)


@pytest.mark.parametrize("training", [False, True])
def test_anchor_14_nothing_to_call_after_a_step(training):
    """150 large optimiser steps leave the norm at the coefficient, training=True or not."""
    layer = dense(coefficient=0.9)
    optimizer = keras.optimizers.Adam(0.05)
    x = tf.constant(np.random.default_rng(0).normal(size=(32, 16)), tf.float32)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(tf.square(layer(x, training=training) - 5.0 * x[:, :8]))
        variables = layer.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(150):
        step()
        assert norm(layer.normalized_kernel()) <= 0.9 * 1.01


def test_a_stored_vector_is_used_as_long_as_the_kernel_is_the_one_it_was_stored_for(monkeypatch):
    """Any small change of the norm is noticed, of whatever direction the vector knows nothing."""
    layer = dense(64, 64)
    kernel, search = layer.kernel.numpy(), normalization_rules.search
    searches = []
    monkeypatch.setattr(
        normalization_rules, "search", lambda *args, **kw: searches.append(1) or search(*args, **kw)
    )
    left, values, right = np.linalg.svd(kernel)

    def grown(index):
        spectrum = np.where(np.arange(64) == index, 1.05 * values[0], values)
        return ((left * spectrum) @ right).astype("float32")

    def searched(kernel):
        """Whether a vector was searched for; the norm is right in any case."""
        layer.kernel.assign(kernel)
        searches.clear()
        assert norm(layer.normalized_kernel()) == pytest.approx(layer.coefficient, rel=0.01)
        return bool(searches)

    assert not searched(kernel) and not searched(kernel * 1.0001)
    for index in (1, 30, 63):
        assert searched(grown(index))
    # Training goes on from another kernel, whose vector says nothing of the first one.
    layer.kernel.assign(grown(63))
    layer.rule.leading_vector.assign(right[63])
    layer(tf.zeros((1, 64)), training=True)
    assert not searched(kernel)
    layer.kernel.assign(grown(63))
    layer.store_norm()
    assert not searched(grown(63))


def test_gradient_flows_through_the_norm():
    """Against finite differences of the SVD-normalised kernel in float64."""
    layer = dense(5, 4, dtype="float64", coefficient=0.8, tolerance=1e-7, max_power_iterations=5000)
    random = np.random.default_rng(1)
    cotangent, direction = random.normal(size=(2, 5, 4))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(cotangent * layer.normalized_kernel())
    slope = np.sum(tape.gradient(value, layer.kernel.value) * direction)

    def truth(kernel):
        return np.sum(cotangent * kernel * 0.8 / norm(kernel))

    kernel = layer.kernel.numpy()
    expected = (truth(kernel + 1e-6 * direction) - truth(kernel - 1e-6 * direction)) / 2e-6
    assert slope == pytest.approx(expected, rel=1e-5)


def test_condition_moves_the_output_and_not_the_lipschitz_constant():
    layer = dense(4, 4, condition_size=2, activation="tanh", coefficient=0.9)
    x = tf.constant(np.random.default_rng(0).normal(size=(50, 4)), tf.float32)
    far = tf.constant(np.random.default_rng(1).normal(size=(50, 2)) * 100, tf.float32)
    assert np.any(layer(x, far) != layer(x, 0 * far))
    matrices = jacobian(lambda x: layer(x, far * 0.01), x)
    assert np.linalg.svd(matrices, compute_uv=False).max() <= 0.9 * 1.01


def test_inputs_of_higher_rank_are_batches():
    layer = dense(5, 4, activation="elu", condition_size=3)
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 7, 5)).astype("float32")
    condition = random.normal(size=(2, 3)).astype("float32")
    whole = layer(x, condition)
    for index in range(7):
        np.testing.assert_allclose(whole[:, index], layer(x[:, index], condition), rtol=1e-5)


def test_fixed_number_of_power_iterations():
    layer = dense(128, 128, power_iterations=5)
    rough, exact = layer.normalized_kernel(), dense(128, 128).normalized_kernel()
    assert norm(rough) >= norm(exact) - 1e-3  # five steps estimate the norm from further below


def test_keras_sequential_and_functional_models_train_and_load(tmp_path):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(256, 4)), random.normal(size=(256, 1))
    spectral = keras.Sequential(
        [
            keras.Input([4]),
            layers.SpectralDense(64, activation="elu"),
            layers.SpectralDense(64, activation="lipswish"),
            keras.layers.Dense(1),
        ]
    )
    inputs = keras.Input([4])
    block = layers.ResidualBlock(
        [layers.SpectralDense(8, activation="elu"), layers.SpectralDense(4)]
    )
    functional = keras.Model(inputs, keras.layers.Dense(1)(block(inputs)))
    models = {"sequential": (spectral, False), "functional": (functional, "auto")}  # Keras: by XLA
    for name, (model, jit_compile) in models.items():
        model.compile(optimizer="adam", loss="mse", jit_compile=jit_compile)
        losses = model.fit(x, y, epochs=3, verbose=0).history["loss"]
        assert losses[-1] < losses[0]
        model.save(tmp_path / f"{name}.keras")
        loaded = keras.models.load_model(tmp_path / f"{name}.keras")
        np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: layers.SpectralDense(4, coefficient=0.0), "coefficient > 0.*0.0"),
        (lambda: layers.SpectralDense(4, activation="gelu"), "non-expansive.*gelu"),
        (lambda: layers.SpectralDense(4, activation="nonsense"), "nonsense.*unknown"),
        (lambda: layers.SpectralDense(4, lora_rank=2), "lora_rank"),
        (lambda: dense(condition_size=3)(tf.zeros((1, 16))), r"condition of shape \[batch, 3\]"),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()
