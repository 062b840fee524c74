"""The same global batch gives the same model, on one replica and on two."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi
from tf_iresnet import layers
from tf_iresnet.models.classifier import IResNetClassifier

RANDOM = np.random.default_rng(0)
TABLE = RANDOM.normal(size=(17, 2)) * [1.0, 5.0] + [0.0, -3.0]
CONDITION = RANDOM.normal(size=(17, 1))
IMAGES = RANDOM.uniform(size=(17, 4, 4, 1))
LABELS = RANDOM.integers(0, 3, 17)
WEIGHT = RANDOM.uniform(0.5, 2.0, 17)
NOISY = tfi.log_det.RussianRoulette(probes=2, exact_trace=False)
SMALL = {"blocks": (1, 1), "seed": 1, "dtype": "float64"}


def network(condition_size=None):
    """A layer that is used twice, once turned round, and a block with noise and a regulariser."""
    dense = layers.SpectralDense(
        2, 0.7, "sine", condition_size=condition_size,
        kernel_regularizer=keras.regularizers.L2(0.1), dtype="float64",
    )  # fmt: skip
    norm = layers.ActNorm(dtype="float64")
    last = layers.ActNorm(dtype="float64")
    return [norm, layers.ResidualBlock([dense], NOISY), layers.Inverse(norm), last]


# a model, and its arguments of `fit`
MODELS = {
    "flow": (lambda: tfi.ResidualFlow(network(1)), (TABLE, CONDITION, WEIGHT)),
    "classifier": (lambda: IResNetClassifier(network(), 3), (TABLE, LABELS, None)),
    "mlp": (
        lambda: tfi.mlp_flow(
            2, 2, (4,), activation="sine", condition_size=1, log_det=NOISY, seed=1, dtype="float64"
        ),
        (TABLE, CONDITION, None),
    ),
    "images": (
        lambda: tfi.image_flow(
            (4, 4, 1), "resflow-mnist", width=4, tail_blocks=1, tail_width=4, log_det=NOISY, **SMALL
        ),
        (IMAGES, None, None),
    ),
    "hybrid": (
        lambda: tfi.image_hybrid(
            (4, 4, 1), 3, "idensenet-cifar10", growth=2, depth=1, tail_blocks=0, **SMALL
        ),
        (IMAGES, LABELS, WEIGHT),
    ),
    "classified images": (
        lambda: tfi.image_classifier((4, 4, 1), 3, width=(4, 4), pad_channels=1, **SMALL),
        (IMAGES, LABELS, None),
    ),
}
FAST = ("flow", "classifier")  # the others take half a minute to a minute each


def two_replicas():
    # In TensorFlow 2.21 collective operations fail with a second strategy of the same process.
    reduction = tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=reduction)


@pytest.fixture
def _quick_to_trace():
    """Without optimisations of graphs, which take longer here than the graphs do."""
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False, **before})


def trained(name, strategy=None):
    """A model after two epochs, and what `fit` and `evaluate` said of it."""
    make, (x, y, weight) = MODELS[name]
    keras.utils.set_random_seed(1)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = make()
        model.build((None, *x.shape[1:]))
        model.compile(keras.optimizers.Adam(0.02))
    # 17 = 6 + 6 + 5: the last batch divides unevenly.
    fit = {"batch_size": 6, "shuffle": False, "epochs": 2, "verbose": 0}
    history = model.fit(x, y, sample_weight=weight, **fit).history
    # 17 = 8 + 8 + 1: one replica has nothing.
    said = model.evaluate(x, y, batch_size=8, verbose=0, sample_weight=weight, return_dict=True)
    return model, {**history, **{f"evaluated {key}": value for key, value in said.items()}}


def assert_same_weights(one, two):
    for ours, theirs in zip(one.weights, two.weights, strict=True):
        copies = theirs.value.values
        np.testing.assert_array_equal(*copies, err_msg=ours.path)
        np.testing.assert_allclose(ours, copies[0], rtol=1e-6, atol=1e-7, err_msg=ours.path)


@pytest.mark.usefixtures("_quick_to_trace")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in MODELS]
)
def test_training_does_not_depend_on_the_number_of_replicas(name, tmp_path):
    (one, expected), (two, found) = trained(name), trained(name, two_replicas())
    assert found.keys() == expected.keys()
    for key, value in expected.items():  # means are kept in float32
        np.testing.assert_allclose(found[key], value, rtol=1e-5, err_msg=key)
    assert_same_weights(one, two)
    # What was initialised and stored is saved, and loaded on every replica.
    one.save_weights(tmp_path / "of.weights.h5")
    for weight in two.weights:
        weight.assign(tf.zeros_like(weight))
    two.load_weights(tmp_path / "of.weights.h5")
    assert_same_weights(one, two)


@pytest.mark.usefixtures("_quick_to_trace")
def test_whatever_batch_comes_first_is_initialised_by_as_a_whole():
    strategy = two_replicas()
    with strategy.scope():
        layer = layers.Repeated(layers.ActNorm(dtype="float64"), 2)
        layer.build((None, 2))
    step = tf.function(lambda x: strategy.run(lambda x: layer(x, training=True), args=(x,)))

    def of_sizes(*sizes, bad=False):
        ends = np.cumsum(sizes)
        data = TABLE * np.where(np.arange(len(TABLE)) == 0, np.nan, 1)[:, None] if bad else TABLE
        return strategy.experimental_distribute_values_from_function(
            lambda c: tf.constant(data[ends[c.replica_id_in_sync_group] - sizes[
                c.replica_id_in_sync_group] : ends[c.replica_id_in_sync_group]])
        )  # fmt: skip

    step(of_sizes(3, 2, bad=True))  # in the part of one replica, and neither takes it
    for weight in layer.weights:
        np.testing.assert_array_equal(weight.value.values, np.zeros((2, *weight.shape)))
    step(of_sizes(17, 0))
    step(of_sizes(3, 2))
    y = layer(TABLE)
    np.testing.assert_allclose(np.mean(y, 0), 0, atol=1e-12)
    np.testing.assert_allclose(np.std(y, 0), 1, rtol=1e-12)
    for weight in layer.weights:
        np.testing.assert_array_equal(*weight.value.values)


def small(strategy=None, x=TABLE, skip=False, steps=1):
    """A flow of one layer after three steps, clipped and averaged, and what `fit` said."""
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = tfi.ResidualFlow([layers.ActNorm(dtype="float64")])
        model.build((None, 2))
        optimizer = keras.optimizers.SGD(0.1, 0.9, global_clipnorm=0.05, use_ema=True)
        model.compile(optimizer, steps_per_execution=steps)
    model.skip_not_finite = skip
    return model, model.fit(in_batches(x), shuffle=False, verbose=0).history


def in_batches(x):
    return tf.data.Dataset.from_tensor_slices(x).batch(6)


SPOILED = np.where(np.arange(17)[:, None] == 11, np.nan, TABLE)  # in the second half of a batch


@pytest.mark.usefixtures("_quick_to_trace")
@pytest.mark.parametrize("steps", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_gradient_of_the_whole_batch_is_clipped(steps):
    one, expected = small()
    two, found = small(two_replicas(), steps=steps)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert_same_weights(one, two)
    for ours, theirs in zip(one.optimizer.variables, two.optimizer.variables, strict=True):
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-6, err_msg=ours.path)


@pytest.mark.usefixtures("_quick_to_trace")
def test_a_step_that_is_not_finite_in_one_part_is_skipped_by_all(capfd):
    one, expected = small(x=SPOILED, skip=True)
    two, found = small(two_replicas(), SPOILED, skip=True)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert np.isfinite(found["loss"]) and two.optimizer.iterations.numpy() == 2
    assert_same_weights(one, two)
    assert capfd.readouterr().out.count("Received in step 1") == 2, "once for each model"


@pytest.mark.usefixtures("_quick_to_trace")
def test_a_step_that_is_not_finite_in_one_part_is_taken_by_none():
    strategy = two_replicas()
    with strategy.scope():
        model = tfi.ResidualFlow([layers.ActNorm(dtype="float64")])
        model.build((None, 2))
        model.compile(keras.optimizers.SGD(0.1, 0.9))
    with pytest.raises(FloatingPointError, match="in batch 1 of epoch 0"):
        model.fit(in_batches(SPOILED), shuffle=False, verbose=0)
    assert model.optimizer.iterations.numpy() == 1
    for weight in (*model.weights, *model.optimizer.variables):
        assert np.isfinite(weight.numpy()).all()
