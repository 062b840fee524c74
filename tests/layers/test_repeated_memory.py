"""What `Repeated` keeps for the backward pass: less of it changes neither values nor gradients."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.references import points, seeded_branch

import tf_iresnet as tfi
from tf_iresnet import layers, log_det
from tf_iresnet.layers.invertible import InvertibleLayer, Mapped

SPARING = ("recompute", "invert")
BATCH, TIMES, HIDDEN = 11, 7, 5  # primes: a shape says what it is of


def block(kind=layers.ResidualBlock, estimator=None, **kwargs):
    estimator = estimator or log_det.PowerSeries(4)
    branch = seeded_branch(3, HIDDEN, normalization="aol", **kwargs)
    parts = [layers.ActNorm(dtype="float64"), kind(branch, estimator, tolerance=1e-13)]
    return layers.InvertibleSequential(parts)


def triangular():
    rule = {"normalization": "aol"}
    return layers.TriangularBlock(
        (2, 2), 0.8, "sine", dense=rule, seed=1, tolerance=1e-13, dtype="float64"
    )


def images():
    common = {"coefficient": 0.8, "normalization": "aol", "padding": "same", "dtype": "float64"}
    common["kernel_initializer"] = keras.initializers.RandomNormal(stddev=1.0, seed=1)
    branch = [layers.SpectralConv2D(HIDDEN, 3, activation="sine", **common)]
    branch.append(layers.SpectralConv2D(3, 1, **common))
    return layers.ResidualBlock(branch, log_det.RussianRoulette(), tolerance=1e-13)


CASES = {
    "series": block,
    "monotone": lambda: block(layers.MonotoneBlock, log_det.Krylov(3), activation="cpila"),
    "inverse": lambda: layers.Inverse(block()),
    "conditional": lambda: block(condition_size=2),
    "triangular": triangular,
    "images": images,
    "nested": lambda: layers.Repeated(block(), 2),
}


def repeated(make, memory, times=TIMES, event=(3,)):
    """The same weights whatever the memory."""
    layer = layers.Repeated(make(), times, memory)
    layer.build((None, *event))
    random = np.random.default_rng(0)
    for weight in layer.trainable_weights:
        weight.assign(random.normal(size=weight.shape) / 2)
    return layer


def training_gradients(layer, rows=BATCH, jit_compile=None):
    """The traced function `x ↦` value, log-det, and the gradients in `x` and all weights."""

    @tf.function(autograph=False, jit_compile=jit_compile)
    def function(x, *condition):
        cotangent = tf.constant(np.random.default_rng(1).normal(size=rows))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, log_det = layer.forward_with_log_det(x, *condition, training=True, seed=3)
            loss = tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(cotangent * log_det)
        sources = [x, *(weight._value for weight in layer.trainable_weights)]
        return y, log_det, *tape.gradient(loss, sources)

    return function


# The others are compositions, or solved for in both directions.
FAST = ("series", "images")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in CASES]
)
def test_values_and_gradients_are_those_of_a_step_that_stores_all(name):
    event = (2, 2, 3) if name == "images" else (3,)
    times = 2 if name == "nested" else 3
    found = {}
    for memory in ("store", *SPARING):
        layer = repeated(CASES[name], memory, times, event)
        condition = points(4, 2) if layer.condition_size else None
        arguments = [points(4, *event), *([] if condition is None else [condition])]
        found[memory] = training_gradients(layer, 4)(*arguments)
    assert all(np.any(gradient != 0) for gradient in found["store"])
    for memory in SPARING:
        for ours, stored in zip(found[memory], found["store"], strict=True):
            np.testing.assert_allclose(ours, stored, rtol=1e-9, atol=1e-9)


def slice_shapes(program):
    """Shapes in an XLA program of what there is of every copy and example."""
    found = re.findall(rf"f64\[{TIMES},{BATCH}((?:,\d+)*)\]", program)
    return {tuple(map(int, shape.split(",")[1:])) for shape in found}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [layers.ResidualBlock, layers.MonotoneBlock])
def test_compiled_gradients_are_the_same_and_keep_what_they_say(kind):
    """Of each copy and example: hidden units too, the input alone, or nothing but a report."""
    x, found, kept = points(BATCH, 3), {}, {}
    for memory in ("store", *SPARING):
        layer = repeated(lambda: block(kind), memory)
        function = training_gradients(layer, jit_compile=True)
        kept[memory] = slice_shapes(function.experimental_get_compiler_ir(x)(stage="hlo")) - {()}
        found[memory] = function(x)
    for memory in SPARING:
        for ours, stored in zip(found[memory], found["store"], strict=True):
            np.testing.assert_allclose(ours, stored, rtol=1e-9, atol=1e-8)
    assert kept == {"store": {(3,), (HIDDEN,)}, "recompute": {(3,)}, "invert": set()}


def second_derivatives(layer, x):
    """Of a loss, along a direction in `x`: in `x` and all weights."""
    sources = [x, *(weight._value for weight in layer.trainable_weights)]
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, log_det = layer.forward_with_log_det(x)
            loss = tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(log_det * [1.0, -2.0])
        along = tf.reduce_sum(tape.gradient(loss, x) * points(2, 3, seed=4))
    return outer.gradient(along, sources)


def through_the_inverse(layer, y):
    sources = [y, *(weight._value for weight in layer.trainable_weights)]
    with tf.GradientTape() as tape:
        tape.watch(y)
        x, log_det = layer.inverse_with_log_det(y)
        loss = tf.reduce_sum(tf.sin(x)) - tf.reduce_sum(log_det * [1.0, -2.0])
    return tape.gradient(loss, sources)


@pytest.mark.parametrize("derivatives", [second_derivatives, through_the_inverse])
def test_second_derivatives_and_those_of_inverses_are_the_same(derivatives):
    found = {}
    for memory in ("store", *SPARING):
        layer = repeated(lambda: block(estimator="exact"), memory, times=2)
        found[memory] = derivatives(layer, points(2, 3))
    for memory in SPARING:
        for ours, stored in zip(found[memory], found["store"], strict=True):
            np.testing.assert_allclose(ours, stored, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("memory", SPARING)
def test_the_hessian_of_a_flow_is_the_same(memory):
    found = []
    for choice in ("store", memory):
        flow = tfi.ResidualFlow(repeated(lambda: block(estimator="exact"), choice, times=2))
        flow.build((None, 3))
        found.append(flow.hessian(points(2, 3)))
    np.testing.assert_allclose(*found, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("failure", ["nan", "keep"])
def test_an_input_that_a_solver_could_not_rebuild_gives_no_gradient(failure):
    layer = repeated(block, "invert", times=2)
    layer.layer.layers[1].max_iterations = 1
    layer.layer.layers[1].on_failure = failure
    y, log_det, *gradients = training_gradients(layer)(points(BATCH, 3))
    assert np.all(np.isfinite(y)) and np.all(np.isfinite(log_det))
    assert all(np.any(np.isnan(gradient)) for gradient in gradients)


class OneWay(InvertibleLayer):
    def push(self, bound, x, how=None):
        return Mapped.exact(x, None)


class ReadsOutside(InvertibleLayer):
    """A weight that all copies share, and that `bind` doesn't know."""

    shared = tf.Variable([1.0], name="shared")

    def push(self, bound, x, how=None):
        return Mapped.exact(x + self.shared, None if how is None else tf.zeros(tf.shape(x)[:1]))


def half(**kwargs):
    branch = [layers.SpectralDense(3, dtype="mixed_bfloat16", **kwargs)]
    return layers.ResidualBlock(branch, dtype="mixed_bfloat16")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Repeated(layers.ActNorm(), 2, "forget"), "'store', 'recompute'.*'forget'"),
        (lambda: layers.Repeated(OneWay(name="one_way"), 2, "invert"), "'one_way'.*no pull"),
        (
            lambda: layers.Repeated(
                layers.ResidualBlock([layers.SpectralDense(3, None)], constrained=False),
                2,
                "invert",
            ),
            "no bound below 1.*memory='recompute'",
        ),
        (lambda: layers.Repeated(half(), 2, "invert"), "trained in bfloat16"),
        (lambda: tfi.mlp_flow(2, memory="invert", dtype="mixed_float16"), "trained in float16"),
        (
            lambda: layers.Repeated(ReadsOutside(name="reader"), 2, "recompute")(tf.zeros([1, 3])),
            "bind.*'reader', which reads 'shared",
        ),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_recipes_pass_the_choice_on_and_files_keep_it(tmp_path):
    flow = tfi.image_flow((4, 4, 1), blocks=(2, 2), width=4, tail_blocks=1, memory="recompute")
    path = tmp_path / "flow.keras"
    flow.save(path)
    for model in (flow, keras.models.load_model(path), tfi.mlp_flow(2, 2, memory="recompute")):
        inside = [layer for layer in model._flatten_layers() if isinstance(layer, layers.Repeated)]
        assert {layer.memory for layer in inside} == {"recompute"}
