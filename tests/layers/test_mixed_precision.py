"""Policies of half precision: where layers and models round, and that nothing else is lost."""

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet
from tf_iresnet import layers

EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
POLICIES = [prefix + name for prefix in ("mixed_", "") for name in EPSILON]
policies = pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])


def half(policy):
    return policy.removeprefix("mixed_")


def dense(dtype=None, features=3, activation="sine", **kwargs):
    start = keras.initializers.RandomNormal(stddev=1.0, seed=1)  # beyond the coefficient
    common = {"kernel_initializer": start, "dtype": dtype, **kwargs}
    return [
        layers.SpectralDense(8, 0.8, activation=activation, **common),
        layers.SpectralDense(features, 0.8, bias_initializer="ones", **common),
    ]


def residual(dtype=None, **kwargs):
    return layers.ResidualBlock(dense(dtype, **kwargs), "exact", dtype=dtype)


def image(dtype=None):
    common = {"padding": "same", "coefficient": 0.8, "dtype": dtype}
    branch = [layers.LipSwish(dtype=dtype), layers.SpectralConv2D(4, 3, **common)]
    branch += [layers.CPila(dtype=dtype), layers.SpectralConv2D(4, 1, **common)]
    return layers.ResidualBlock(branch, "exact", dtype=dtype)


def sequential(dtype, make):
    return layers.InvertibleSequential([layers.ActNorm(dtype=dtype), make(dtype)], dtype=dtype)


# Everything invertible that has arithmetic of its own, and the shape of an example.
INVERTIBLE = {
    "residual": (residual, (3,)),
    "conditional": (lambda dtype: residual(dtype, condition_size=2), (3,)),
    "gram": (lambda dtype: residual(dtype, normalization="gram", activation="maxmin"), (3,)),
    "lipschitz_mlp": (
        lambda dtype: layers.ResidualBlock(
            layers.LipschitzMLP((6, 5), 3, 0.9, "lipswish", seed=1, dtype=dtype), "exact"
        ),
        (3,),
    ),
    "concatenation": (
        lambda dtype: layers.ResidualBlock(
            [layers.LipschitzConcat(dense(dtype)[0], dtype=dtype), dense(dtype)[1]], "exact"
        ),
        (3,),
    ),
    "monotone": (lambda dtype: layers.MonotoneBlock(dense(dtype, activation="elu"), "exact"), (3,)),
    "triangular": (lambda dtype: layers.TriangularBlock((3, 2), 0.8, seed=1, dtype=dtype), (3,)),
    "repeated": (lambda dtype: layers.Repeated(sequential(dtype, residual), 2, dtype=dtype), (3,)),
    "implicit": (lambda dtype: layers.Inverse(residual(dtype), dtype=dtype), (3,)),
    "images": (
        lambda dtype: layers.MultiScale(
            [[layers.Rescale(2.0, dtype=dtype), layers.Squeeze(dtype=dtype), image(dtype)]],
            dtype=dtype,
        ),
        (4, 2, 1),
    ),
}


def build(name, policy):
    make, event = INVERTIBLE[name]
    layer = make(policy)
    layer.build((None, *event))
    random = np.random.default_rng(0)
    condition = (
        tf.constant(random.normal(size=(4, 2)), "float32") if name == "conditional" else None
    )
    return layer, tf.constant(random.uniform(-1, 1, (4, *event)), "float32"), condition


@pytest.mark.parametrize("index, name", list(enumerate(INVERTIBLE)))
def test_inference_is_that_of_a_float32_layer_with_the_same_weights(index, name):
    policy = POLICIES[index % len(POLICIES)]
    layer, x, condition = build(name, policy)
    trained = {w.dtype for w in layer.trainable_weights}
    assert trained <= {"float32" if policy.startswith("mixed") else half(policy)}
    reference = build(name, "float32")[0]
    for ours, theirs in zip(layer.weights, reference.weights, strict=True):
        theirs.assign(tf.cast(ours.value, theirs.dtype))
    y, log_det = layer.forward_with_log_det(x, condition)
    for found, expected in zip(
        (y, log_det), reference.forward_with_log_det(x, condition), strict=True
    ):
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    solution = layer.inverse_with_report(y, condition)
    assert np.all(solution.converged) and solution.value.dtype == tf.float32
    np.testing.assert_allclose(solution.value, x, atol=2e-5)
    called = layer(x) if condition is None else layer(x, condition)
    assert called.dtype == half(policy)
    np.testing.assert_allclose(tf.cast(called, "float32"), y, rtol=EPSILON[half(policy)], atol=1e-6)


# Compositions of the others are left out.
@pytest.mark.parametrize(
    "index, name",
    list(enumerate([n for n in INVERTIBLE if n not in ("conditional", "gram", "implicit")])),
)
def test_training_differs_from_float32_by_rounding(index, name):
    """In outputs, log-determinants and gradients; and it differs, or a policy would do nothing."""
    dtype = ("float16", "bfloat16")[index % 2]
    found = {}
    for policy in ("float32", f"mixed_{dtype}"):
        layer, x, condition = build(name, policy)
        if not found:
            for weight in layer.weights:  # not by data, which rounding would change
                if weight.name == "initialized":
                    weight.assign(tf.ones_like(weight.value))
            weights = layer.get_weights()
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            y, log_det = layer.forward_with_log_det(x, condition, training=True)
            value = tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(log_det)
        gradients = tape.gradient(value, layer.trainable_weights)
        flat = tf.concat([tf.reshape(g, [-1]) for g in gradients if g is not None], 0)
        found[policy] = [t.numpy() for t in (y, log_det, flat)]
    pairs = list(zip(*found.values(), strict=True))
    for exact, rounded in pairs:
        assert rounded.dtype == np.float32
        error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
        assert error < 4 * EPSILON[dtype], error
    assert any(np.any(exact != rounded) for exact, rounded in pairs)


@policies
def test_a_layer_by_itself_follows_keras_and_is_certified_as_rounded(policy):
    dtype = half(policy)
    model = keras.Sequential([layers.SpectralDense(5, 0.9, "relu", dtype=policy)])
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    kernel = model(x) is not None and model.layers[0].kernel
    kernel.assign(3 * kernel.value)
    outputs = model(x)
    assert outputs.dtype == dtype
    numpy_dtype = getattr(ml_dtypes, dtype, np.float16)
    rounded = model.layers[0].normalized_kernel().numpy().astype(numpy_dtype).astype(np.float64)
    exact = np.linalg.svd(rounded, compute_uv=False)[0]
    (certificate,) = tf_iresnet.certify(model).layers
    np.testing.assert_allclose(certificate.upper_bound, exact, rtol=1e-12)
    expected = np.maximum(x.astype(numpy_dtype).astype(np.float64) @ rounded, 0)
    np.testing.assert_allclose(np.asarray(outputs, np.float64), expected, atol=4 * EPSILON[dtype])


@policies
def test_enforced_bounds_hold_for_the_weights_as_stored(policy):
    block = residual(policy, power_iterations=0)  # divides by too small a norm
    block.build((None, 3))
    for layer in block.branch.layers:
        layer.rule.leading_vector.assign(tf.one_hot(0, layer.units))
    assert not tf_iresnet.certify(block).invertible
    certificate = tf_iresnet.enforce(block)
    assert certificate.invertible
    for layer, proven in zip(block.branch.layers, certificate.layers, strict=True):
        assert layer.kernel.dtype == ("float32" if policy.startswith("mixed") else policy)
        stored = np.asarray(layer.kernel.value).astype(np.float64)
        assert np.linalg.svd(stored, compute_uv=False)[0] <= 0.8
        assert proven.upper_bound <= 0.8


@pytest.fixture
def global_policy():
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def test_a_functional_model_around_a_block_trains_under_the_global_policy(global_policy):
    global_policy("mixed_float16")
    inputs = keras.Input([3])
    outputs = residual()(keras.layers.Dense(3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, dtype="float32")(outputs))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    history = model.fit(x, x.sum(1), batch_size=16, epochs=5, verbose=0).history["loss"]
    assert outputs.dtype == "float16" and history[-1] < history[0] / 2


def test_a_flow_trains_with_a_scaled_loss_and_is_saved(global_policy, tmp_path):
    global_policy("mixed_float16")
    flow = tf_iresnet.mlp_flow(2, 1, (8,), seed=0, base="learned_normal", log_det="power_series")
    flow.compile(keras.optimizers.Adam(1e-2))
    x = 0.3 * np.random.default_rng(0).normal(size=(64, 2)).astype("float32") + 1
    before = np.mean(flow.log_prob(x))
    flow.fit(x, batch_size=16, epochs=4, verbose=0)
    assert isinstance(flow.optimizer, keras.optimizers.LossScaleOptimizer)
    assert int(flow.optimizer.iterations) == 16
    density = flow.log_prob(x)
    assert density.dtype == tf.float32 and -np.mean(density) < -before - 0.1
    global_policy("float32")
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    assert loaded.layer.compute_dtype == "float16"
    np.testing.assert_array_equal(loaded.log_prob(x), density)


@pytest.mark.parametrize("policy, kind", [("float16", "classifier"), ("mixed_bfloat16", "hybrid")])
def test_models_return_float32(policy, kind):
    """Logits, features, densities, and inverses to the precision of float32."""
    x = np.random.default_rng(0).uniform(size=(4, 4, 4, 1)).astype("float32")
    small = {"blocks": (1,), "width": 4, "dtype": policy, "seed": 0}
    if kind == "classifier":
        model = tf_iresnet.image_classifier((4, 4, 1), 3, pad_channels=0, **small)
    else:
        model = tf_iresnet.image_hybrid((4, 4, 1), 3, "resflow-mnist", tail_blocks=0, **small)
        assert all(weight.dtype == "float32" for weight in model.base.weights)
    values = model._values(tf.constant(x), np.array([0, 1, 2, 0]), True).means
    assert all(value.dtype == tf.float32 for value in values.values())
    assert np.all(np.isfinite(values["loss"]))
    assert model(x).dtype == tf.float32
    z = model.layer.forward(x).value
    np.testing.assert_allclose(model.layer.inverse(z), x, atol=1e-4)


def test_a_bound_too_close_to_1_for_half_precision_is_not_put_at_risk():
    """`1 + J` of a slope near −1 would round to 0, and its logarithm to −∞."""
    block = layers.ResidualBlock(
        layers.SpectralDense(1, 0.999, dtype="mixed_bfloat16", kernel_initializer="ones"), "exact"
    )
    block.build((None, 1))
    block.branch.kernel.assign([[-0.999]])
    log_det = block.forward_with_log_det(tf.ones((2, 1)), training=True)[1]
    np.testing.assert_allclose(log_det, np.log1p(-0.999), rtol=1e-3)


@pytest.mark.parametrize("dtype", EPSILON)
def test_a_perceptron_by_itself_is_certified_as_rounded(dtype):
    layer = layers.LipschitzMLP((8, 8), 3, 0.9, "tanh", seed=1, dtype=f"mixed_{dtype}")
    x = tf.constant(np.random.default_rng(0).normal(size=(50, 4)), "float32")
    assert layer(x).dtype == dtype
    (certificate,) = tf_iresnet.certify(layer).layers
    assert 0.9 * (1 - EPSILON[dtype]) < certificate.upper_bound < 0.9 * (1 + 8 * EPSILON[dtype])
    rounded = tf.nest.map_structure(lambda t: tf.cast(t, tf.float64), layer.as_called(layer.bind()))
    x, y = tf.cast(x[:25], tf.float64), tf.cast(x[25:], tf.float64)
    stretch = tf.norm(rounded(x) - rounded(y), axis=1) / tf.norm(x - y, axis=1)
    assert np.max(stretch) <= certificate.upper_bound
