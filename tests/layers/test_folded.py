"""Folded layers: plain Keras ones that compute the same, here, from a file and in TFLite."""

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from layers.test_contract import LAYERS, build
from support.references import points

from tf_iresnet import layers
from tf_iresnet.layers import activations

# Their outputs are solved for.
SOLVED = {name for name in LAYERS if name.startswith(("monotone", "inverse", "implicit"))}
# Fitted to data; export serves them.
FITTED = {"gaussianize", "whiten"}
PLAIN = [name for name in LAYERS if name not in SOLVED | FITTED]


def folded(layer, x, condition=None):
    """The folded layer's outputs, after a look at what it is made of."""
    plain = layer.folded()
    modules = {type(part).__module__ for part in plain._flatten_layers()}
    assert not any(module.startswith("tf_iresnet") for module in modules), modules
    return plain(x if condition is None else [x, condition])


@pytest.mark.parametrize("name", PLAIN)
def test_a_folded_layer_computes_the_same(name, dtype):
    layer, x, condition = build(name, dtype)
    expected = layer(x, condition)
    outputs = folded(layer, x, condition)
    assert outputs.dtype == expected.dtype
    precision = 1e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(outputs, expected, rtol=precision, atol=precision)


@pytest.mark.parametrize("name", sorted(SOLVED))
def test_what_is_solved_for_is_refused(name):
    layer, *_ = build(name, "float32")
    with pytest.raises(ValueError, match=r"plain Keras.*Received: \w+ '.*solved|inverts.*export\("):
        layer.folded()


@pytest.mark.parametrize("name", sorted(FITTED))
def test_what_is_fitted_is_refused_with_the_way_to_serve_it(name):
    layer, *_ = build(name, "float32")
    with pytest.raises(ValueError, match=r"defines no fold\(\).*export\("):
        layer.folded()


class Halved(layers.ContractiveLayer):
    def lipschitz_bound(self):
        return 0.5

    def bind(self, condition=None, training=None):
        return layers.BoundFunction.pointwise(lambda x: x / 2)


def repeated(layer):
    return layers.Repeated(layers.ResidualBlock([layer]), 2)


circular = {"padding": "circular", "activation": "relu"}
REFUSED = {
    "not built": (lambda: layers.SpectralDense(3), None, "no weights yet"),
    "one's own": (Halved, (3,), "Halved.*defines no fold"),
    "circular, of any size": (
        lambda: layers.SpectralConv1D(2, 3, **circular), (None, 2), "known size",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "event", "message"), REFUSED.values(), ids=REFUSED)
def test_layers_without_a_plain_form_say_so(make, event, message):
    layer = make()
    if event is not None:
        layer.build((None, *event))
    with pytest.raises(ValueError, match=message):
        layer.folded()


def test_the_layer_that_is_repeated_is_folded_in_its_whole():
    dense = layers.SpectralDense(3)
    whole = repeated(dense)
    whole.build((None, 3))
    with pytest.raises(ValueError, match=r"those of 2\. Fold the Repeated"):
        dense.folded()
    assert isinstance(whole.folded(), keras.Model)


def mlp(activation):
    return layers.LipschitzMLP((5, 4), 3, activation=activation)


KINDS = {
    "dense": (lambda: layers.SpectralDense(4), (3,), keras.layers.Dense),
    "dense, elu": (lambda: layers.SpectralDense(4, activation="elu"), (2, 3), keras.layers.Dense),
    "dense, sine": (lambda: layers.SpectralDense(4, activation="sine"), (3,), keras.Sequential),
    "dense, condition": (lambda: layers.SpectralDense(4, condition_size=2), (3,), keras.Model),
    "no bias": (lambda: layers.SpectralDense(4, use_bias=False), (3,), keras.layers.Dense),
    "no bound": (lambda: layers.SpectralDense(4, None), (3,), keras.layers.Dense),
    "convolution": (
        lambda: layers.SpectralConv2D(4, 3, strides=(2, 1), padding="same", activation="relu"),
        (5, 6, 2), keras.layers.Conv2D,
    ),
    "of any size": (lambda: layers.SpectralConv1D(4, 3), (None, 2), keras.layers.Conv1D),
    "of volumes": (lambda: layers.SpectralConv3D(2, (1, 2, 3)), (3, 3, 3, 2), keras.layers.Conv3D),
    "dilated": (
        lambda: layers.SpectralConv1D(4, 3, dilation_rate=2), (9, 2), keras.layers.Conv1D,
    ),
    "circular": (
        lambda: layers.SpectralConv2D(3, (3, 2), strides=(1, 2), **circular), (4, 5, 2),
        keras.Sequential,
    ),
    "circular, longer than the axis": (
        lambda: layers.SpectralConv1D(3, 6, dilation_rate=2, **circular), (3, 2), keras.Sequential,
    ),
    "another axis": (
        lambda: layers.SpectralConv1D(3, 2), (4, 5, 2), keras.layers.TimeDistributed,
    ),
    "branch": (
        lambda: layers.ContractiveSequential(
            [layers.SpectralDense(4, activation="clipswish"), layers.SpectralDense(3)]
        ),
        (3,), keras.Sequential,
    ),
    "concatenation": (
        lambda: layers.LipschitzConcat(layers.SpectralDense(4), learned=False), (3,), keras.Model,
    ),
    "sandwich": (lambda: mlp("elu"), (3,), keras.Sequential),
    "sandwich, lipswish": (lambda: mlp("lipswish"), (3,), keras.Model),
    "activation": (lambda: activations.get("tanh"), (3,), keras.layers.Activation),
    "squeeze": (lambda: layers.Squeeze(), (4, 6, 2), keras.Sequential),
    "padding": (lambda: layers.ChannelPad(2), (4, 3), keras.Model),
    "rescaling of pixels": (lambda: layers.Rescale(np.ones((2, 3)) / 3), (2, 3), keras.Sequential),
}  # fmt: skip


@pytest.mark.parametrize(("make", "event", "kind"), KINDS.values(), ids=KINDS)
def test_it_is_the_layer_of_keras_that_one_would_write(make, event, kind):
    layer, condition = make(), None
    layer.build((None, *event))
    x = points(4, *(size or 7 for size in event), dtype="float32")
    if condition_size := layer.condition_size:
        condition = points(4, condition_size, dtype="float32")
    assert isinstance(layer.folded(), kind)
    arguments = (x,) if condition is None else (x, condition)
    np.testing.assert_allclose(folded(layer, *arguments), layer(*arguments), rtol=1e-5, atol=1e-6)


def test_a_layer_goes_on_following_its_weights_after_it_was_folded():
    layer = layers.ResidualBlock(
        [layers.SpectralDense(4, 0.5, activation="sine"), layers.LipschitzMLP((4,), 2)]
    )
    x = points(4, 2, dtype="float32")
    before, plain = layer(x), layer.folded()
    for weight in layer.trainable_weights:
        weight.assign_add(tf.ones_like(weight))
    assert np.abs(layer(x) - before).max() > 0.01
    np.testing.assert_allclose(plain(x), before, atol=1e-6)


def together(dtype):
    """One plain model of every folded layer and activation: model, data and expected outputs."""
    inputs, data, outputs, expected = {}, {}, [], []

    def add(layer, *values):
        shapes = [tuple(value.shape[1:]) for value in values]
        for shape, value in zip(shapes, values, strict=True):  # one input for each shape
            data.setdefault(shape, value)
            inputs.setdefault(shape, keras.Input(shape, dtype=dtype))
        expected.append(layer(*(data[shape] for shape in shapes)).numpy())
        own = [inputs[shape] for shape in shapes]
        outputs.append(layer.folded()(own[0] if len(own) == 1 else own))

    for name in PLAIN:
        layer, x, condition = build(name, dtype)
        add(layer, x, *([] if condition is None else [condition]))
    x = points(4, 3, dtype=dtype)
    each = (*activations.SLOPES, *activations.LAYERS)
    cases = [("power", name) for name in each] + [("gram", "relu"), ("aol", "relu")]
    for normalization, activation in cases:
        start = keras.initializers.RandomNormal(stddev=1.0, seed=1)
        options = {"normalization": normalization, "kernel_initializer": start}
        dense = layers.SpectralDense(6, activation=activation, dtype=dtype, **options)
        add(layers.ContractiveSequential([dense, layers.SpectralDense(2, dtype=dtype)]), x)
    return keras.Model(list(inputs.values()), outputs), list(data.values()), expected


def test_folded_layers_load_where_the_package_is_not(tmp_path):
    model, data, expected = together("float64")
    model.save(tmp_path / "folded.keras")
    np.savez(tmp_path / "data.npz", *[np.asarray(value) for value in data])
    program = """
        import pathlib, sys
        sys.modules["tf_iresnet"] = None  # importing it raises ImportError
        import keras, numpy as np
        folder = pathlib.Path(sys.argv[1])
        with np.load(folder / "data.npz") as file:
            data = [file[key] for key in file.files]
        model = keras.models.load_model(folder / "folded.keras")
        np.savez(folder / "outputs.npz", *[np.asarray(y) for y in model(data)])
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    subprocess.run(command, check=True, env=os.environ)
    with np.load(tmp_path / "outputs.npz") as file:
        for key, value in zip(file.files, expected, strict=True):
            np.testing.assert_allclose(file[key], value, rtol=1e-12, atol=1e-13)


def test_tflite_computes_the_same():
    """Its converter drops the ReLU behind a kernel that is computed; here it is a constant."""
    model, data, expected = together("float32")
    content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    interpreter = tf.lite.Interpreter(model_content=content)
    (signature,) = interpreter.get_signature_list().values()
    run = interpreter.get_signature_runner()
    named = {own.name: value for own, value in zip(model.inputs, data, strict=True)}
    assert set(signature["inputs"]) == set(named)
    results = run(**named)
    for index, value in enumerate(expected):
        np.testing.assert_allclose(results[f"output_{index}"], value, rtol=1e-5, atol=1e-5)
