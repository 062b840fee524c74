"""Non-expansive activations: their largest slope, by dense sampling of the Jacobian."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.references import jacobian

from tf_iresnet import certify, layers
from tf_iresnet.layers import activations
from tf_iresnet.layers.branch import as_contractive
from tf_iresnet.numerics.bound_function import Pointwise

NAMES = sorted({*activations.LAYERS, *activations.SLOPES})


def largest_singular_value(layer, x):
    return np.linalg.svd(jacobian(layer, x), compute_uv=False).max()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beta", [-3.0, 0.5, 5.0])
def test_slope_is_at_most_the_bound(name, beta):
    """Over a grid fine enough to come within 1 % of the bound wherever it is tight."""
    layer = activations.get(name, "float64")
    grid = np.concatenate([np.linspace(-4, 4, 20_001), [-30.0, 30.0]])
    x = tf.constant(np.stack([grid, np.roll(grid, 7)], 1))
    layer(x)
    if hasattr(layer, "beta"):
        layer.beta.assign(beta)
    largest = largest_singular_value(layer, x)
    assert largest <= layer.lipschitz_bound() * (1 + 1e-9)
    if name not in ("clipswish", "log_sigmoid") and beta == 0.5:
        assert largest >= 0.98 * layer.lipschitz_bound()


@pytest.mark.parametrize("name", ["clipswish", "cpila"])
def test_concatenated_activations_double_the_features(name):
    layer = activations.get(name)
    assert layer(tf.zeros((5, 4))).shape == (5, 8) == layer.compute_output_shape((5, 4))


def test_cpila_has_two_continuous_derivatives():
    """At the joint, where its two halves meet (x = 0.2)."""
    values = []
    for x in (0.2 - 1e-9, 0.2 + 1e-9):
        x = tf.constant([[x]], tf.float64)
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = layers.CPila(dtype="float64")(x)[:, 0]
            slope = inner.gradient(y, x)
        values.append([y[0], slope[0, 0], outer.gradient(slope, x)[0, 0]])
    np.testing.assert_allclose(values[0], values[1], atol=1e-6)


@pytest.mark.parametrize("name", ["elu", "softplus", "softsign", "tanh", *activations.LAYERS])
def test_a_stated_slope_and_its_gradient_are_the_derivatives_of_the_value(name):
    layer = activations.get(name, "float64")
    x = tf.constant(np.random.default_rng(0).normal(size=(50, 4)))
    layer(x)
    function = layer.bind()
    if not isinstance(function, Pointwise):
        pytest.skip("sorts, so no feature stands for itself")
    assert function.value_and_slope is not None
    plain = Pointwise(function.function, function.parameters)

    def found(activation):
        with tf.GradientTape() as tape:
            tape.watch([x, *function.parameters])
            value, slope = activation.with_slope(x)
            total = tf.reduce_sum(value**2) + tf.reduce_sum(slope**3)
        return value, slope, *tape.gradient(total, [x, *function.parameters])

    for ours, expected in zip(found(function), found(plain), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)


def test_sorting_keeps_the_values():
    x = tf.constant(np.random.default_rng(0).normal(size=(10, 6)))
    for layer in (layers.MaxMin(dtype="float64"), layers.FullSort(dtype="float64")):
        np.testing.assert_allclose(np.sort(layer(x), 1), np.sort(x, 1))


@pytest.mark.parametrize(
    "layer,accepted",
    [
        (keras.layers.Activation("elu"), "elu"),
        (keras.layers.ReLU(), "relu"),
        (keras.layers.ReLU(max_value=6), "relu6"),
        (keras.layers.ELU(), "elu"),
        (keras.layers.Activation(keras.activations.tanh), "tanh"),
    ],
)
def test_known_keras_activations_are_accepted(layer, accepted):
    assert as_contractive(layer).function == accepted


class Tripled(keras.layers.Activation):
    """A subclass may compute something else than its function."""

    def call(self, inputs):
        return 3 * super().call(inputs)


class Doubled(keras.Sequential):
    """A subclass may compute something else than its layers one after another."""

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training, mask)


def relu(x):
    """Of the name of an activation that is known."""
    return 3 * keras.activations.relu(x)


def test_functions_are_known_by_what_they_are_and_not_by_their_name():
    assert layers.SpectralDense(2, activation=keras.activations.relu).lipschitz_bound() == 0.97
    with pytest.raises(ValueError, match="slopes aren't known"):
        layers.SpectralDense(2, activation=relu)


NAMES = [*activations.SLOPES, *activations.EXPANSIVE]
HOMES = (keras.activations, keras.ops, tf.nn, tf.math)


@pytest.mark.parametrize("name", NAMES)
def test_functions_of_keras_and_tensorflow_are_those_of_the_name(name):
    x = tf.constant(np.linspace(-9, 9, 1001))
    functions = [getattr(home, name) for home in HOMES if hasattr(home, name)]
    assert functions
    for function in functions:
        if name in activations.SLOPES:
            np.testing.assert_allclose(function(x), keras.activations.get(name)(x), atol=1e-7)
            assert activations.get(function).function == name
        else:
            with pytest.raises(ValueError, match="has slope up to"):
                activations.get(function)


@pytest.mark.parametrize("name", activations.SLOPES)
def test_every_keras_activation_has_an_exact_log_det_with_a_gradient(name):
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 2)) * 2)
    block = layers.ResidualBlock(
        [
            layers.SpectralDense(4, 0.8, activation=name, dtype="float64"),
            layers.SpectralDense(2, 0.8, dtype="float64"),
        ],
        "exact",
    )
    with tf.GradientTape() as of_log_det, tf.GradientTape(persistent=True) as of_value:
        of_value.watch(x)
        y, log_det = block.forward_with_log_det(x)
    jacobian = of_value.batch_jacobian(y, x, experimental_use_pfor=False)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-12)
    kernel = block.branch.layers[0].kernel
    assert np.all(np.isfinite(of_log_det.gradient(log_det, kernel.value)))
    assert certify(block).invertible


@pytest.mark.parametrize("name", sorted(set(activations.SLOPES) - {"linear"}))
def test_slopes_are_within_the_stated_range(name):
    x = tf.constant(np.linspace(-9, 9, 10001))
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = activations.get(name, "float64")(x)
    slope, (lowest, highest) = tape.gradient(value, x), activations.SLOPES[name]
    assert np.min(slope) >= lowest - 1e-8 and np.max(slope) <= highest + 1e-8
    assert np.max(slope) > highest - 1e-3  # no smaller one would do


@pytest.mark.parametrize(
    "layer,message",
    [
        (keras.layers.Dense(2), "Dense.*SpectralDense"),
        (keras.layers.BatchNormalization(), "BatchNormalization.*ActNorm"),
        (keras.layers.Dropout(0.1), "Dropout.*no single map to invert.*weight decay"),
        (keras.layers.SpatialDropout2D(0.1), "SpatialDropout2D.*no single map"),
        (keras.layers.GaussianNoise(0.1), "GaussianNoise.*no single map"),
        (keras.layers.ELU(alpha=2.0), "ELU"),
        (keras.layers.Activation("gelu"), "gelu.*1.13.*lipswish"),
        (keras.layers.Activation("silu"), "silu.*1.1.*lipswish"),
        (keras.layers.PReLU(), "PReLU.*isn't known"),
        (keras.layers.ReLU(negative_slope=3.0), "ReLU.*slopes aren't known"),
        (keras.layers.ReLU(threshold=1.0), "ReLU.*slopes aren't known"),  # it jumps there
        (keras.layers.ReLU(max_value=2.0), "ReLU.*slopes aren't known"),
        (keras.layers.Activation(lambda x: 2 * x), "Activation.*slopes aren't known"),
        (Tripled("relu"), "Tripled.*slopes aren't known"),
        (Doubled([layers.SpectralDense(2)]), "Doubled.*isn't known"),
    ],
)
def test_anything_else_is_refused_with_the_reason(layer, message):
    with pytest.raises(ValueError, match=message):
        layers.ResidualBlock([layers.SpectralDense(2), layer])


def test_maxmin_needs_pairs():
    with pytest.raises(ValueError, match=r"even number.*3"):
        layers.MaxMin()(tf.zeros((1, 3)))
