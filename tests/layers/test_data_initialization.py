"""`ActNorm` is initialised by the first training batch, wherever it is and however one trains."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi
from tf_iresnet import layers


def data(seed=0, n=256, dtype="float32"):
    random = np.random.default_rng(seed)
    return (random.normal(size=(n, 3)) * [1.0, 5.0, 0.1] + [0.0, -3.0, 7.0]).astype(dtype)


X = data()


def pair():
    initializer = keras.initializers.RandomNormal(stddev=1.0, seed=1)
    dense = layers.SpectralDense(3, 0.7, activation="sine", kernel_initializer=initializer)
    return layers.InvertibleSequential([layers.ActNorm(), layers.ResidualBlock([dense], "exact")])


def last(layer):
    """What comes out."""
    return lambda x: [layer(x)]


def at_blocks(layer):
    """What every block receives: the outputs of the ActNorm before it."""

    def found(x):
        inputs = []
        layer.visit_blocks(x, lambda _, branch_input: inputs.append(branch_input))
        return inputs

    return found


# a layer, and what of it is normalised
LAYERS = {
    "one": (layers.ActNorm, last),
    "inverse": (lambda: layers.Inverse(layers.ActNorm()), last),
    "repeated": (lambda: layers.Repeated(pair(), 3), at_blocks),
    "inverse of repeated": (lambda: layers.Inverse(layers.Repeated(pair(), 2)), last),
    "repeated inverse": (
        lambda: layers.Repeated(
            layers.InvertibleSequential(
                [layers.ResidualBlock([layers.SpectralDense(3)]), layers.Inverse(layers.ActNorm())]
            ),
            2,
        ),
        last,
    ),
    "nested": (
        lambda: layers.InvertibleSequential(
            [layers.Rescale(3.0), layers.Repeated(layers.Repeated(pair(), 2), 2)]
        ),
        at_blocks,
    ),
}
names = pytest.mark.parametrize("name", LAYERS)


def flags(layer):
    found = [own.initialized for own in layer._flatten_layers() if isinstance(own, layers.ActNorm)]
    return np.concatenate([np.ravel(flag.numpy()) for flag in found])


def assert_normalised(outputs):
    assert outputs
    for output in outputs:
        np.testing.assert_allclose(np.mean(output, 0), 0, atol=1e-3)
        np.testing.assert_allclose(np.std(output, 0), 1, rtol=1e-2)  # min_variance has a share


@names
@pytest.mark.parametrize("graph", [False, True])
def test_the_first_training_batch_comes_out_normalised_and_no_later_one_does(name, graph):
    make, normalised = LAYERS[name]
    layer = make()
    layer.build((None, 3))
    x, other = tf.constant(X), tf.constant(10 * data(1) + 1)

    def train(x):
        return layer(x, training=True)

    train = tf.function(train, autograph=False) if graph else train
    layer(x)
    assert not np.any(flags(layer))  # inference initialises nothing
    y = train(x)
    assert np.all(flags(layer) == 1)
    assert_normalised(normalised(layer)(X))
    np.testing.assert_allclose(y, layer(X), rtol=1e-4, atol=1e-4)
    before = [weight.numpy() for weight in layer.trainable_weights]
    train(other)
    for ours, theirs in zip(layer.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["one", "inverse", "repeated"])
def test_data_that_are_not_finite_initialise_nothing(name, bad):
    make, normalised = LAYERS[name]
    layer = make()
    layer.build((None, 3))
    spoilt = X.copy()
    spoilt[3, 1] = bad
    before = [weight.numpy() for weight in layer.trainable_weights]
    layer(spoilt, training=True)
    for weight, value in zip(layer.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert not np.any(flags(layer))
    layer(X, training=True)
    assert_normalised(normalised(layer)(X))


def flow_and_fit(run):
    flow = tfi.ResidualFlow(layers.Repeated(pair(), 2))
    flow.compile(optimizer=keras.optimizers.SGD(0.0))
    run(flow)
    return flow.layer


def by_fit():
    return flow_and_fit(lambda flow: flow.fit(X, batch_size=len(X), epochs=2, verbose=0))


def by_train_on_batch():
    def run(flow):
        flow.train_on_batch(X)
        flow.train_on_batch(5 * X + 1)

    return flow_and_fit(run)


def by_a_custom_loop():
    flow = tfi.ResidualFlow(layers.Repeated(pair(), 2))
    flow.build((None, 3))

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow(x, training=True))
        return loss, tape.gradient(loss, flow.trainable_variables)

    loss, gradients = step(tf.constant(X))
    assert np.isfinite(loss) and all(np.all(np.isfinite(gradient)) for gradient in gradients)
    # As initialised, the loss and its gradients are those of a second step.
    again, expected = step(tf.constant(X))
    np.testing.assert_allclose(loss, again, rtol=1e-5)
    for ours, theirs in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    return flow.layer


def by_a_functional_model():
    inputs = keras.Input([3])
    layer = layers.Repeated(pair(), 2)
    model = keras.Model(inputs, keras.layers.Dense(1)(layer(inputs)))
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse", jit_compile=False)
    assert not np.any(flags(layer))
    model.fit(X, X[:, :1], batch_size=len(X), verbose=0)
    return layer


@pytest.mark.parametrize(
    "train", [by_fit, by_train_on_batch, by_a_custom_loop, by_a_functional_model]
)
def test_every_way_to_train_initialises(train):
    layer = train()
    assert np.all(flags(layer) == 1)
    assert_normalised(at_blocks(layer)(X))


def test_replicas_initialise_and_train():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        flow = tfi.ResidualFlow(layers.Repeated(pair(), 2))
        flow.build((None, 3))
        flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = flow.fit(X, batch_size=len(X), epochs=3, verbose=0).history["loss"]
    assert np.all(np.isfinite(history)) and history[-1] < history[0]
    assert np.all(flags(flow.layer) == 1)
    for inputs in at_blocks(flow.layer)(X):  # of a replica's half, and three steps after
        assert np.all(np.abs(np.mean(inputs, 0)) < 0.5)
        np.testing.assert_allclose(np.std(inputs, 0), 1, rtol=0.3)


def test_what_was_initialised_is_saved(tmp_path):
    model = keras.Sequential([keras.Input([3]), layers.Repeated(pair(), 2)])
    model(X, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert np.all(flags(loaded.layers[-1]) == 1)
    before = [weight.numpy() for weight in model.trainable_weights]
    loaded(10 * X, training=True)
    for ours, theirs in zip(loaded.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
