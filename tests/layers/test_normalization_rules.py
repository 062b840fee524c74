"""The rules "gram" and "aol": coefficients that a certificate proves, without a state."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.convolutions import norm_bound, norm_estimate

import tf_iresnet as tfi
from tf_iresnet import layers

STRONG = keras.initializers.RandomNormal(stddev=2.0, seed=3)
LAYERS = {
    "dense": (lambda **kw: layers.SpectralDense(8, **kw), (12,)),
    "sequence": (lambda **kw: layers.SpectralConv1D(3, 3, strides=2, padding="same", **kw), (9, 2)),
    "image": (lambda **kw: layers.SpectralConv2D(3, 3, padding="same", **kw), (5, 6, 2)),
    "dilated": (lambda **kw: layers.SpectralConv2D(3, 3, dilation_rate=2, **kw), (7, 6, 2)),
    "circular": (lambda **kw: layers.SpectralConv2D(3, 3, padding="circular", **kw), (20, 20, 2)),
    "channels": (lambda **kw: layers.SpectralConv2D(3, 1, strides=2, **kw), (5, 6, 2)),
    "any size": (lambda **kw: layers.SpectralConv2D(3, 3, padding="same", **kw), (None, None, 2)),
    "volume": (lambda **kw: layers.SpectralConv3D(3, 2, **kw), (3, 4, 3, 2)),
}
names = pytest.mark.parametrize("name", LAYERS)
rules = pytest.mark.parametrize("rule", ["gram", "aol"])


def build(name, rule, **kwargs):
    make, shape = LAYERS[name]
    kwargs = {"coefficient": 0.9, "kernel_initializer": STRONG, **kwargs}
    layer = make(normalization=rule, **kwargs)
    layer.build((None, *shape))
    return layer


@names
@rules
def test_the_certified_norm_is_at_most_the_coefficient_wherever_the_weights_go(name, rule, dtype):
    layer = build(name, rule, dtype=dtype)
    random = np.random.default_rng(0)
    for scale in (3.0, 1e3, 1e-3, 1e25, 1e-25):
        layer.kernel.assign(scale * random.normal(size=layer.kernel.shape))
        bound = norm_bound(layer)
        assert bound <= 0.9
        if rule == "gram" and scale >= 1:
            assert bound >= 0.9 * (0.9 if name == "circular" else 0.98)
        estimate = norm_estimate(layer)
        assert 0.8 * bound < estimate <= bound
        assert (bound > 0.3) == (rule == "aol" or scale >= 1)


@names
@rules
def test_there_is_no_state_and_training_changes_nothing(name, rule):
    layer = build(name, rule)
    assert layer.non_trainable_variables == []
    x = tf.ones((2, *(n or 5 for n in LAYERS[name][1])))
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    layer.store_norm()
    assert build(name, "power").non_trainable_variables != []


# Under XLA each takes seconds, and those of a kind compile the same operations.
OF_A_KIND = {"sequence", "dilated", "channels", "volume"}


@pytest.mark.parametrize(
    ("name", "mode"),
    [(n, "graph") for n in LAYERS]
    + [pytest.param(n, "xla", marks=[pytest.mark.slow] * (n in OF_A_KIND)) for n in LAYERS],
)
@rules
def test_every_mode_gives_the_eager_numbers(name, rule, mode, run_in_mode):
    layer = build(name, rule, activation="sine")
    x = tf.random.stateless_normal((2, *(n or 5 for n in LAYERS[name][1])), [0, 0])

    def outputs_and_gradient(x):
        with tf.GradientTape() as tape:
            y = layer(x, training=True)
            value = tf.reduce_sum(y**2)
        return y, tape.gradient(value, layer.kernel.value)

    ours, eager = run_in_mode(outputs_and_gradient, mode)(x), outputs_and_gradient(x)
    np.testing.assert_allclose(ours[0], eager[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours[1], eager[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["dense", "image", "channels"])
def test_gradient_by_gram_is_that_through_the_norm(name):
    """Against finite differences of the kernel normalised by its certified norm in float64."""
    layer = build(name, "gram", dtype="float64")
    random = np.random.default_rng(1)
    cotangent, direction = random.normal(size=(2, *layer.kernel.shape))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(cotangent * layer.normalized_kernel())
    slope = np.sum(tape.gradient(value, layer.kernel.value) * direction)
    kernel = layer.kernel.numpy()

    def truth(kernel):
        return np.sum(cotangent * kernel * 0.9 / norm_bound(layer, kernel))

    expected = (truth(kernel + 1e-6 * direction) - truth(kernel - 1e-6 * direction)) / 2e-6
    assert slope == pytest.approx(expected, rel=1e-2)


@rules
def test_another_size_than_it_was_built_for(rule):
    layer = build("image", rule, use_bias=False)
    images = tf.reshape(tf.eye(9 * 8 * 2), [-1, 9, 8, 2])
    operator = np.reshape(layer(images), [len(images), -1])
    assert np.linalg.norm(operator, 2) <= 0.9


def test_without_a_coefficient_gram_leaves_the_kernel():
    layer = build("dense", "gram", coefficient=None)
    np.testing.assert_array_equal(layer.normalized_kernel(), layer.kernel)


def test_conditions_move_the_output():
    layer = build("dense", "aol", condition_size=2, activation="elu")
    condition = tf.constant([[0.0, 1.0], [3.0, 0.0]])
    assert layer(tf.zeros((2, 12)), condition).shape == (2, 8)
    assert np.any(layer(tf.zeros((2, 12)), condition)[0] != layer(tf.zeros((2, 12)), condition)[1])


@pytest.mark.parametrize(
    ("rule", "dtype"), [("gram", "float32"), pytest.param("aol", "float64", marks=pytest.mark.slow)]
)
def test_repeated_blocks_train_load_and_are_certified(rule, dtype, tmp_path):
    flow = tfi.mlp_flow(
        3, num_blocks=3, hidden_units=(8, 8), seed=0, normalization=rule, dtype=dtype
    )
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(dtype) ** 3
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    losses = flow.fit(x, batch_size=32, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    certificate = tfi.certify(flow)
    assert all(row.upper_bound <= row.coefficient for row in certificate.layers)
    assert tfi.enforce(flow) == certificate
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded.log_prob(x[:3]), flow.log_prob(x[:3]))
    assert tfi.certify(loaded) == certificate
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, rtol=1e-4, atol=1e-3)


@rules
def test_image_flows_take_the_rule(rule):
    flow = tfi.image_flow(
        (4, 4, 1), "resflow-mnist", blocks=(1, 2), width=4, tail_blocks=1, tail_width=4, seed=0,
        normalization=rule,
    )  # fmt: skip
    rows = tfi.certify(flow).layers
    assert len(rows) == 12 and all(row.upper_bound <= 0.98 for row in rows)
    triangular = tfi.mlp_flow(3, 2, (6,), seed=0, block="triangular", normalization=rule)
    assert all(row.upper_bound <= row.coefficient for row in tfi.certify(triangular).layers)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"normalization": "svd"}, "power, gram, aol.*svd"),
        ({"normalization": "gram", "power_iterations": 5}, "power_iterations=5.*'gram'"),
        ({"normalization": "aol", "coefficient": None}, "coefficient.*'aol'"),
    ],
)
def test_errors_say_what_was_expected(kwargs, message):
    for make in (layers.SpectralDense, lambda n, **kw: layers.SpectralConv2D(n, 3, **kw)):
        with pytest.raises(ValueError, match=rf"Expected.*{message}"):
            make(4, **kwargs)


def test_the_rule_is_in_the_config():
    layer = build("image", "aol")
    assert layer.get_config()["normalization"] == "aol"
    assert type(layer).from_config(layer.get_config()).normalization == "aol"
    older = {k: v for k, v in layer.get_config().items() if k != "normalization"}
    assert type(layer).from_config(older).normalization == "power"
