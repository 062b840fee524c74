"""The same global batch gives the same model, on one replica and on two."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi
from tf_iresnet import layers

RANDOM = np.random.default_rng(0)
TABLE = (RANDOM.normal(size=(17, 2)) * [1.0, 5.0] + [0.0, -3.0]).astype("float64")
CONDITION = RANDOM.normal(size=(17, 1))
IMAGES = RANDOM.uniform(size=(17, 4, 4, 1))
LABELS = RANDOM.integers(0, 3, 17)
NOISY = tfi.log_det.RussianRoulette(probes=2, exact_trace=False)
SMALL = {"blocks": (1, 1), "seed": 1, "dtype": "float64"}


def pair(regularizer=None):
    dense = layers.SpectralDense(
        2, 0.7, "sine", kernel_regularizer=regularizer,
        kernel_initializer=keras.initializers.Orthogonal(seed=1), dtype="float64",
    )  # fmt: skip
    norm = layers.ActNorm(dtype="float64")
    return [norm, layers.ResidualBlock([dense], "exact"), layers.Inverse(norm)]


# a model, and its arguments of `fit`
MODELS = {
    "conditional": (
        lambda: tfi.mlp_flow(
            2, 1, (4,), activation="sine", condition_size=1, log_det=NOISY, seed=1, dtype="float64"
        ),
        (TABLE, CONDITION),
    ),
    "regularised": (lambda: tfi.ResidualFlow(pair(keras.regularizers.L2(0.1))), (TABLE, None)),
    "images": (
        lambda: tfi.image_flow(
            (4, 4, 1), "resflow-mnist", width=4, tail_blocks=1, tail_width=4, log_det=NOISY, **SMALL
        ),
        (IMAGES, None),
    ),
    "hybrid": (
        lambda: tfi.image_hybrid(
            (4, 4, 1), 3, "idensenet-cifar10", growth=2, depth=1, tail_blocks=0, **SMALL
        ),
        (IMAGES, LABELS),
    ),
    "classifier": (
        lambda: tfi.image_classifier((4, 4, 1), 3, width=(4, 4), pad_channels=1, **SMALL),
        (IMAGES, LABELS),
    ),
}


def two():
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def trained(make, data, strategy=None, weight=None, optimizer=None, **compiled):
    """A model after two epochs, what `fit` and `evaluate` said, and its weights."""
    keras.utils.set_random_seed(1)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = make()
        model.compile(optimizer or keras.optimizers.Adam(0.02), **compiled)
    x, y = data
    # 17 = 6 + 6 + 5: the last batch divides unevenly.
    fit = {"batch_size": 6, "shuffle": False, "epochs": 2, "verbose": 0}
    history = model.fit(x, y, sample_weight=weight, **fit).history
    # 17 = 8 + 8 + 1: one replica has nothing.
    said = model.evaluate(x, y, batch_size=8, verbose=0, sample_weight=weight, return_dict=True)
    weights = {w.path: w.value for w in model.weights}
    return model, history, said, weights


def assert_same(one, two, rtol=1e-6):
    for ours, theirs in zip(one[1:3], two[1:3], strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=rtol, err_msg=name)
    for (path, ours), theirs in zip(one[3].items(), two[3].values(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-7, err_msg=path)
        copies = theirs.values
        np.testing.assert_array_equal(*copies, err_msg=path)


@pytest.mark.parametrize("name", MODELS)
def test_fit_and_evaluate_do_not_depend_on_the_number_of_replicas(name):
    make, data = MODELS[name]
    assert_same(trained(make, data), trained(make, data, two()))
