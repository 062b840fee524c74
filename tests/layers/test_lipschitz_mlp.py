"""Perceptrons of bounded Lipschitz constant, beside the singular values of their Jacobians."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi
from tf_iresnet import layers
from tf_iresnet.layers import activations

BOUNDED = sorted(
    name
    for name in (*activations.SLOPES, *activations.LAYERS)
    if (slopes := activations.get(name).slope_range) is not None and slopes[0] < slopes[1]
)
# inputs, hidden units, outputs: the last map keeps, drops or adds dimensions
SHAPES = {
    "square": (4, (9, 7), 4),
    "narrow": (5, (3,), 6),
    "wide": (2, (16, 16, 16), 2),
    "bottleneck": (6, (8, 2, 8), 3),
}


def build(shape="square", activation="elu", coefficient=0.9, **kwargs):
    inputs, hidden, outputs = SHAPES[shape]
    layer = layers.LipschitzMLP(hidden, outputs, coefficient, activation, **kwargs)
    layer.build((None, inputs))
    return layer


def move_far(layer, seed=0):
    """Weights that no initialiser would give."""
    random = np.random.default_rng(seed)
    for weight in layer.weights:
        draws = random.normal(size=weight.shape)
        if weight.name.endswith("_scale"):
            weight.assign(np.exp(1.5 * draws) * weight)
        elif weight.name == "beta":
            weight.assign(3.0)
        else:
            weight.assign((1.5 if weight.name.startswith("log_multiplier") else 3.0) * draws)
    return layer


def points(layer, n=200, scale=3.0, dtype="float64"):
    size = layer.pairs[0][1].shape[0]
    return tf.constant(scale * np.random.default_rng(1).normal(size=(n, size)), dtype)


def jacobians(function, x):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = function(x)
    return tape.batch_jacobian(y, x, experimental_use_pfor=False).numpy()


def steepest(function, x):
    return np.linalg.norm(jacobians(function, x), 2, axis=(1, 2)).max()


@pytest.mark.parametrize("activation", BOUNDED)
def test_no_jacobian_is_steeper_than_the_coefficient(activation):
    """Near the start, where it isn't far below, and far from it."""
    layer = build(activation=activation, seed=1, dtype="float64")
    x = points(layer)
    near = max(steepest(layer, scale * x) for scale in (0.05, 1.0))
    assert 0.4 * 0.9 < near <= 0.9
    for seed in range(3):
        assert steepest(move_far(layer, seed), x) <= 0.9


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("coefficient", [0.3, 0.97, 5.0])
def test_a_certificate_proves_the_coefficient_of_float32_weights(shape, coefficient):
    layer = build(shape, "sine", coefficient)
    for moved in (layer, move_far(layer)):
        (row,) = tfi.certify(moved).layers
        assert row.coefficient == coefficient and row.estimate is None
        # Of the float32 numbers that are used, at points in float64.
        exact = tf.nest.map_structure(lambda t: tf.cast(t, tf.float64), moved.bind())
        assert steepest(exact, points(moved)) <= row.upper_bound <= coefficient
        assert row.upper_bound > 0.999 * coefficient


def test_it_stays_certified_while_it_is_trained_at_a_high_rate():
    """Nothing is called in between; the target is much steeper than the branch may be."""
    block = layers.ResidualBlock(layers.LipschitzMLP((16, 16), 3, seed=0))
    model = keras.Sequential([keras.Input([3]), block])
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss="mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    before = model.get_weights()
    losses = [float(model.train_on_batch(x, x + np.sin(4 * x))) for _ in range(50)]
    assert min(losses) < 0.9 * losses[0]
    moved = zip(before, model.get_weights(), strict=True)
    assert max(np.abs(after - start).max() for start, after in moved) > 1
    certificate = tfi.certify(block, x)
    (row,) = certificate.blocks
    assert certificate.invertible and row.measured <= row.lipschitz <= 0.97
    np.testing.assert_allclose(block.inverse(block(x)), x, atol=1e-4)


@pytest.mark.parametrize("steps", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_every_block_of_a_flow_is_certified_at_every_step(steps):
    random = np.random.default_rng(0)
    angle = random.integers(8, size=(steps, 64)) * np.pi / 4
    centers = np.stack([np.cos(angle), np.sin(angle)], -1)
    batches = (2 * centers + random.normal(scale=0.1, size=centers.shape)).astype("float32")
    flow = tfi.mlp_flow(2, 2, (24, 24), branch="lipschitz_mlp", activation="sine", seed=0)
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    losses = []
    for batch in batches:
        losses.append(flow.train_on_batch(batch)[0])
        certificate = tfi.certify(flow)
        assert certificate.invertible and len(certificate.blocks) == len(certificate.layers) == 2
        assert all(block.lipschitz <= 0.97 for block in certificate.blocks)
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) - (0.2 if steps < 100 else 0.5)


def test_conditions_move_the_outputs_and_not_the_lipschitz_constant():
    layer = move_far(build("square", "sine", condition_size=2, dtype="float64"))
    x, random = points(layer), np.random.default_rng(2)
    for scale in (0.0, 1.0, 100.0):
        condition = tf.constant(scale * random.normal(size=(len(x), 2)))
        assert steepest(lambda x, c=condition: layer(x, c), x) <= 0.9
    moved = layer(x, tf.constant(random.normal(size=(len(x), 2))))
    assert np.all(np.any(moved != layer(x, tf.zeros((len(x), 2))), axis=1))
    with pytest.raises(ValueError, match=r"condition of shape \[batch, 2\]"):
        layer(x)
    block = layers.ResidualBlock(layers.LipschitzMLP((8,), 3, condition_size=2, seed=0))
    block.build((None, 3))
    assert tfi.certify(block).invertible  # for every condition, so without one


@pytest.mark.parametrize("activation", ["elu", "sine", "lipswish"])
def test_the_trace_of_two_hidden_layers_is_exact(activation):
    layer = move_far(build("square", activation, dtype="float64"))
    x = points(layer)
    expected = np.trace(jacobians(layer, x), axis1=1, axis2=2)
    outputs, _, trace = layer.bind().linearize(x, trace=True)
    np.testing.assert_allclose(trace, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(outputs, layer(x), rtol=1e-12)


def test_a_config_gives_the_same_layer():
    activation = layers.LipSwish(dtype="float64")
    layer = move_far(
        build("bottleneck", activation, 0.5, condition_size=2, seed=3, dtype="float64")
    )
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(copy)["config"] == config["config"]
    copy.set_weights(layer.get_weights())
    x, condition = points(layer, 5), tf.ones((5, 2))
    np.testing.assert_array_equal(copy(x, condition), layer(x, condition))
    assert copy.lipschitz_bound() == 0.5


def test_a_seed_fixes_the_initial_weights():
    first, again, other, none = (build(seed=seed) for seed in (1, 1, 2, None))
    for ours, same in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, same)
    for different in (other, none, build(seed=None)):
        assert np.all(first.pairs[0][0].numpy() != different.pairs[0][0].numpy())


def test_inputs_of_higher_rank_are_batches():
    layer = build("bottleneck", "sine")
    x = np.random.default_rng(0).normal(size=(2, 7, 6)).astype("float32")
    whole = layer(x)
    assert whole.shape == (2, 7, 3) == layer.compute_output_shape(x.shape)
    for index in range(7):
        np.testing.assert_allclose(whole[:, index], layer(x[:, index]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ["cpila", "clipswish", "maxmin", "fullsort", "linear", None])
def test_activations_without_a_range_of_slopes_are_refused(activation):
    with pytest.raises(ValueError, match=rf"known range.*activation={activation!r}.*'elu'"):
        layers.LipschitzMLP((8,), 2, activation=activation)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((8,), 2, 0.0), "coefficient > 0.*coefficient=0.0"),
        (((8,), 2, -1.0), "coefficient > 0.*coefficient=-1.0"),
        (((8,), 2, float("nan")), "coefficient > 0.*coefficient=nan"),
        (((), 2), r"at least one hidden layer.*hidden_units=\(\)"),
        (((8, 0), 2), r"units ≥ 1.*hidden_units=\(8, 0\)"),
        (((8,), 0), "units ≥ 1.*units=0"),
        (((8,), 2, 0.9, "gelu"), "non-expansive.*gelu"),
    ],
)
def test_errors_say_what_was_expected(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.LipschitzMLP(*arguments)


def test_a_block_needs_a_coefficient_below_one():
    with pytest.raises(ValueError, match=r"bound below 1.*bound=1.0"):
        layers.ResidualBlock(layers.LipschitzMLP((8,), 2, 1.0))
