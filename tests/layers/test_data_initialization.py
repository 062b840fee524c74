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


@pytest.mark.parametrize("turned", [False, True])
def test_multi_scale_networks_are_initialised_in_either_direction(turned):
    norms = [layers.ActNorm(), layers.Inverse(layers.ActNorm())]
    layer = layers.Inverse(layers.MultiScale(norms)) if turned else layers.MultiScale(norms)
    x = np.concatenate([X, data(1)], axis=1)
    assert_normalised([layer(x, training=True)])
    assert np.all(flags(layer) == 1)


def in_turn(norm, dense):
    """A layer that is used thrice, between others that see what it makes of the data."""
    middle = layers.InvertibleSequential([dense, layers.Inverse(norm)])  # another level
    return [norm, middle, layers.ActNorm(), norm, layers.ActNorm()]


@pytest.mark.parametrize("times", [None, 2])
def test_the_first_use_of_a_shared_layer_decides_and_later_ones_use_what_it_decided(times):
    norm = layers.ActNorm() if times is None else layers.Repeated(layers.ActNorm(), times)
    sequence = in_turn(norm, pair().layers[1])
    layer = layers.InvertibleSequential(sequence)
    layer(X, training=True)
    assert np.all(flags(layer) == 1)
    for index in (0, 2, 4):  # the first use, and those of the layers that are used once
        assert_normalised([layers.InvertibleSequential(sequence[: index + 1])(X)])


def test_a_shared_layer_in_a_repeated_one():
    norm = layers.ActNorm()
    block = layers.InvertibleSequential([norm, layers.Rescale(3.0), norm, layers.ActNorm()])
    layer = layers.Repeated(block, 2)
    assert_normalised([layer(X, training=True)])
    assert np.all(flags(layer) == 1) and len(layer.initialized_weights) == 6


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])  # the squares of the last overflow
@pytest.mark.parametrize("name", LAYERS)
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


def of_a_later_layer():
    """Finite data whose first half alone becomes infinite: layers in between saw finite data."""
    return layers.InvertibleSequential([layers.ActNorm(), layers.Rescale(1e38), layers.ActNorm()])


def of_one_channel():
    """One stage sees finite data, since what isn't finite left before."""
    stages = [[layers.Rescale(1.0)], [layers.ActNorm()]]
    return layers.MultiScale(stages)


@pytest.mark.parametrize("make", [of_a_later_layer, of_one_channel])
def test_a_batch_initialises_all_layers_or_none(make):
    layer, x = make(), X[:, :2].copy()
    layer.build((None, 2))
    x[5, 1] = 1e6 if make is of_a_later_layer else np.nan  # the channel that leaves
    layer(x, training=True)
    assert not np.any(flags(layer))
    for weight in layer.trainable_weights:
        np.testing.assert_array_equal(weight, np.zeros_like(weight))


def test_a_condition_that_is_not_finite_initialises_nothing():
    norm, block = (
        layers.ActNorm(),
        layers.ResidualBlock([layers.SpectralDense(3, condition_size=1)]),
    )
    layer = layers.InvertibleSequential([norm, block])
    condition = np.ones((len(X), 1), "float32")
    layer(X, condition * np.nan, training=True)
    assert norm.initialized.numpy() == 0
    layer(X, condition[:1], training=True)  # one condition for all
    assert norm.initialized.numpy() == 1


def test_what_was_initialised_before_stays():
    trained, new = layers.ActNorm(), layers.ActNorm()
    trained(X, training=True)
    before = [weight.numpy() for weight in trained.weights]
    layer = layers.InvertibleSequential([trained, layers.Rescale(4.0), new])
    other = data(1) * 2 + 1
    spoilt = np.where(np.arange(len(X))[:, None] == 3, np.nan, other)
    for batch in (spoilt, other):
        layer(batch, training=True)
        for weight, value in zip(trained.weights, before, strict=True):
            np.testing.assert_array_equal(weight, value)
    assert_normalised([layer(other)])


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


def by_fit_compiled():
    def run(flow):
        flow.compile(optimizer=keras.optimizers.SGD(0.0), jit_compile=True)
        flow.fit(X, batch_size=len(X), verbose=0)

    return flow_and_fit(run)


def by_several_steps_per_execution():
    def run(flow):
        flow.compile(optimizer=keras.optimizers.SGD(0.0), steps_per_execution=2)
        x = np.concatenate([X, 5 * X + 1])
        flow.fit(x, batch_size=len(X), shuffle=False, verbose=0)

    return flow_and_fit(run)


def by_accumulated_gradients():
    def run(flow):
        flow.compile(optimizer=keras.optimizers.SGD(0.0, gradient_accumulation_steps=2))
        x = np.concatenate([X, 5 * X + 1])
        flow.fit(x, batch_size=len(X), shuffle=False, verbose=0)

    return flow_and_fit(run)


@pytest.mark.parametrize(
    "train",
    [
        by_fit,
        by_train_on_batch,
        by_a_custom_loop,
        by_a_functional_model,
        by_fit_compiled,
        by_several_steps_per_execution,
        by_accumulated_gradients,
    ],
)
def test_every_way_to_train_initialises(train):
    layer = train()
    assert np.all(flags(layer) == 1)
    assert_normalised(at_blocks(layer)(X))


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
