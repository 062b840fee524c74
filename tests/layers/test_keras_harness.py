"""Keras' own tests of a layer, on every public layer.

They build each layer anew, read it from its config, call it on symbolic and on real inputs, also
under Keras' policies of mixed precision, count its weights and train it for one step in a model.
"""

import functools
import inspect

import pytest
import tensorflow as tf
from keras.src.testing import TestCase
from layers.test_contract import EVENT, EVENTS, LAYERS, VARIANTS

from tf_iresnet import layers

BATCH = 2
# Contractive layers, beside the invertible ones of the contract: a constructor and an event shape.
CONTRACTIVE = {
    "dense": (functools.partial(layers.SpectralDense, 4, activation="elu"), (3,)),
    "dense_gram": (functools.partial(layers.SpectralDense, 4, normalization="gram"), (3,)),
    "dense_aol": (functools.partial(layers.SpectralDense, 4, normalization="aol"), (5, 3)),
    "conv1d": (functools.partial(layers.SpectralConv1D, 4, 3, padding="same"), (5, 2)),
    "conv2d": (functools.partial(layers.SpectralConv2D, 4, 3, padding="same"), (4, 4, 2)),
    "conv3d": (functools.partial(layers.SpectralConv3D, 2, 2, padding="same"), (3, 3, 3, 2)),
    "mlp": (functools.partial(layers.LipschitzMLP, (4,), 2, activation="sine"), (3,)),
    "concat": (
        lambda dtype=None: layers.LipschitzConcat(
            layers.SpectralDense(4, dtype=dtype), dtype=dtype
        ),
        (3,),
    ),
    "composition": (
        lambda dtype=None: layers.ContractiveSequential(
            [layers.SpectralDense(4, dtype=dtype), layers.MaxMin(dtype=dtype)], dtype=dtype
        ),
        (3,),
    ),
    "lipswish": (layers.LipSwish, (3,)),
    "clipswish": (layers.CLipSwish, (3,)),
    "cpila": (layers.CPila, (3,)),
    "maxmin": (layers.MaxMin, (4,)),
    "fullsort": (layers.FullSort, (4,)),
    "sine": (layers.Sine, (3,)),
    "channel_pad": (functools.partial(layers.ChannelPad, 2), (2, 2, 3)),
}
CASES = CONTRACTIVE | {
    name: (
        lambda dtype="float32", name=name: LAYERS[name](dtype),
        EVENTS.get(name, EVENT),
    )
    for name in LAYERS
}
# A step of training is compiled for each, which takes seconds: of the others it is a slow test.
TRAINED = {"act_norm", "conv2d", "dense", "lipswish", "mlp"}


class Harness(TestCase):
    def runTest(self):
        """Only the method below is wanted."""


def run(name, train):
    make, event = CASES[name]
    size = make().condition_size
    Harness().run_layer_test(
        make,
        {},
        input_shape=(BATCH, *event),
        call_kwargs={} if size is None else {"condition": tf.ones([BATCH, size])},
        expected_output_shape=make().compute_output_shape((BATCH, *event)),
        expected_output_dtype="float32",
        run_training_check=train and size is None,  # its model passes no condition on
        run_mixed_precision_check=True,
    )


@pytest.mark.parametrize("name", [name for name in CASES if name not in VARIANTS])
def test_keras_tests_of_a_layer_pass(name):
    run(name, train=name in TRAINED)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_keras_tests_of_a_layer_pass_with_a_step_of_training(name):
    run(name, train=True)


def test_every_public_layer_is_tested():
    bases = ("ContractiveLayer", "InvertibleLayer", "BoundFunction")
    public = {getattr(layers, name) for name in layers.__all__ if name not in bases}
    tested = {type(inner) for make, _ in CASES.values() for inner in make()._flatten_layers()}
    assert all(inspect.isclass(layer) for layer in public)
    assert public <= tested
