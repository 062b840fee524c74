"""Weighted concatenation: its Lipschitz constant measured, and a block of an i-DenseNet."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.references import jacobian, jacobian_log_det

from tf_iresnet import layers


def dense(units, coefficient=0.98, activation=None, seed=1, **kwargs):
    """Of a norm beyond the coefficient before it is normalised."""
    initializer = keras.initializers.RandomNormal(stddev=1.0, seed=seed)
    return layers.SpectralDense(
        units,
        coefficient,
        activation=activation,
        kernel_initializer=initializer,
        tolerance=1e-6,
        max_power_iterations=5000,
        **kwargs,
    )


def points(*shape, dtype="float64", seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), dtype)


def largest_singular_value(function, x):
    return np.linalg.norm(jacobian(function, x), 2, axis=(1, 2)).max()


def test_it_is_the_weighted_concatenation(dtype, mode, run_in_mode):
    inner = dense(3, activation="sine", dtype=dtype)
    layer = layers.LipschitzConcat(inner)
    x = points(5, 2, dtype=dtype)
    layer.build(x.shape)
    layer.logits.assign([0.3, -1.2])
    y = run_in_mode(layer, mode)(x)
    positive = np.log1p(np.exp([0.3, -1.2])) + 0.1
    eta = 0.98 * positive / np.linalg.norm(positive)
    expected = np.concatenate([eta[0] * x, eta[1] * inner(x)], 1)
    np.testing.assert_allclose(y, expected, rtol=1e-5 if dtype == "float32" else 1e-12)
    assert y.shape == layer.compute_output_shape(x.shape) == (5, 5) and y.dtype == dtype


@pytest.mark.parametrize("logits", [(1, 1), (-20, 3), (8, -20), (-20, -20), (-300, 300)])
@pytest.mark.parametrize("inner_bound", [0.4, 1.0, 1.7])
def test_the_lipschitz_constant_is_at_most_the_bound(logits, inner_bound):
    """Attained by a linear `h`, so the bound given the weights is tight."""
    for activation in (None, "sine", "clipswish"):
        inner = dense(4, inner_bound, activation, dtype="float64")
        layer = layers.LipschitzConcat(inner, 0.9)
        x = points(50, 3)
        layer.build(x.shape)
        layer.logits.assign(logits)
        measured = largest_singular_value(layer, x)
        of_input, of_inner = layer.eta().numpy()
        given = math.hypot(of_input, of_inner * inner_bound)
        (certified,) = layer.certified_parts(layer.bind(), "branch")
        assert measured <= certified.upper_bound * (1 + 1e-12)
        assert measured <= given * (1 + 1e-6) and certified.upper_bound <= given * (1 + 1e-6)
        assert given <= layer.lipschitz_bound() * (1 + 1e-12)
        assert layer.lipschitz_bound() == pytest.approx(0.9 * max(1, inner_bound))
        if activation is None:
            assert measured >= given * (1 - 1e-4)


def test_equal_constant_weights_have_a_lower_bound():
    layer = layers.LipschitzConcat(dense(4, 0.5, dtype="float64"), 0.9, learned=False)
    x = points(50, 3)
    measured = largest_singular_value(layer, x)
    assert measured == pytest.approx(layer.lipschitz_bound(), rel=1e-5)
    assert layer.lipschitz_bound() == pytest.approx(0.9 * math.sqrt((1 + 0.25) / 2))
    (certified,) = layer.certified_parts(layer.bind(), "branch")
    assert certified.upper_bound == pytest.approx(layer.lipschitz_bound(), rel=1e-5)
    assert {w.name for w in layer.trainable_weights} == {"kernel", "bias"}


def test_the_weights_stay_on_their_circle_in_training():
    layer = layers.LipschitzConcat(dense(4, activation="sine"), 0.7)
    x = points(64, 3, dtype="float32")
    model = keras.Sequential([keras.Input([3]), layer, keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse", jit_compile=False)
    before = layer.eta().numpy()
    np.testing.assert_allclose(before, 0.7 / math.sqrt(2), rtol=1e-6)
    model.fit(x, tf.reduce_sum(tf.sin(3 * x), 1), epochs=20, verbose=0)
    eta = layer.eta().numpy()
    assert np.abs(eta - before).max() > 1e-2
    assert np.linalg.norm(eta) == pytest.approx(0.7, rel=1e-6) and np.all(eta > 0)


def test_the_weights_can_be_held_for_the_first_epochs():
    layer = layers.LipschitzConcat(dense(4, activation="sine"))
    model = keras.Sequential([keras.Input([3]), layer, keras.layers.Dense(1)])
    x = points(64, 3, dtype="float32")
    moved = []
    for learned in (False, True):
        layer.logits.trainable = learned
        model.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse", jit_compile=False)
        before, kernel = layer.logits.numpy(), layer.layer.kernel.numpy()
        model.fit(x, tf.reduce_sum(x, 1), epochs=2, verbose=0)
        moved.append(np.any(layer.logits.numpy() != before))
        assert np.any(layer.layer.kernel.numpy() != kernel)
    assert moved == [False, True]


def test_what_a_solver_differentiates_by_includes_the_weights():
    layer = layers.LipschitzConcat([dense(4, activation="lipswish"), dense(2, seed=2)])
    x = points(5, 3, dtype="float32")
    layer.build(x.shape)
    tensors, inner = tf.nest.flatten(layer.bind()), tf.nest.flatten(layer.layer.bind())
    assert len(tensors) == 1 + len(inner)
    np.testing.assert_array_equal(tensors[0], layer.eta())
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(layer.bind()(x) ** 2)
    for gradient in tape.gradient(value, [w.value for w in layer.trainable_weights]):
        assert gradient is not None


def growing(features):
    """A branch of two dense layers and a last one, as in an i-DenseNet."""
    return [
        layers.LipschitzConcat(dense(4, activation="clipswish", dtype="float64")),
        layers.LipschitzConcat(dense(4, activation="clipswish", seed=2, dtype="float64")),
        dense(features, seed=3, dtype="float64"),
    ]


def test_a_dense_block_of_images_inverts():
    block = layers.ResidualBlock(growing(3), "exact", tolerance=1e-12, dtype="float64")
    assert block.lipschitz == pytest.approx(0.98**3)
    x = points(4, 2, 2, 3)
    y, log_det = block.forward_with_log_det(x)
    np.testing.assert_allclose(log_det, jacobian_log_det(block, x), rtol=1e-9)
    np.testing.assert_allclose(block.inverse(y), x, atol=1e-9)
    assert largest_singular_value(block.branch.bind(), x) <= block.lipschitz


def test_conditions_reach_the_wrapped_layer():
    layer = layers.LipschitzConcat([dense(4, condition_size=2), dense(2, seed=2)])
    assert layer.condition_size == 2
    x, condition = points(5, 3, dtype="float32"), points(5, 2, dtype="float32", seed=1)
    y, other = layer(x, condition), layer(x, condition + 1.0)
    np.testing.assert_array_equal(y[:, :3], other[:, :3])
    assert np.all(np.any(y[:, 3:] != other[:, 3:], axis=1))


@pytest.mark.parametrize("learned", [True, False])
def test_a_saved_layer_is_the_same(learned, tmp_path):
    layer = layers.LipschitzConcat([dense(4, activation="elu")], 0.8, learned=learned)
    model = keras.Sequential([keras.Input([2, 3]), layer])
    if learned:
        layer.logits.assign([2.0, -1.0])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = points(5, 2, 3, dtype="float32")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.layers[-1].lipschitz_bound() == layer.lipschitz_bound()
    assert model.output_shape == (None, 2, 7)


class Shorter(layers.ContractiveLayer):
    """Drops a position, so that its output doesn't fit beside its input."""

    def lipschitz_bound(self):
        return 1.0

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[1] - 1, *input_shape[2:])


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: layers.LipschitzConcat(dense(2), 0.0), "coefficient > 0.*coefficient=0.0"),
        (lambda: layers.LipschitzConcat(keras.layers.Dense(2)), "Dense.*SpectralDense"),
        (lambda: layers.LipschitzConcat([keras.layers.Dropout(0.1)]), "Dropout.*no single map"),
        (
            lambda: layers.LipschitzConcat(Shorter()).build((None, 4, 3)),
            r"last axis only.*\(4, 3\) → \(3, 3\)",
        ),
        (
            lambda: layers.ResidualBlock([layers.LipschitzConcat(dense(2), 1.0)]),
            "bound below 1.*bound=1.0",
        ),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()
