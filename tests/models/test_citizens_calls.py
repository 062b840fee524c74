"""Promises of every model: freezing, gradients, repeated calls, seeds."""

import functools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.citizens import (
    KINDS,
    SIZE,
    compiled,
    data,
    dataset,
    every_kind,
    kinds,
    learned,
    same,
    shared,
    some_kinds,
    two_kinds,
    values,
    values_of,
    vectors,
)

import tf_iresnet as tfi
from tf_iresnet import layers


@every_kind
def test_fitting_a_frozen_model_warns_and_changes_nothing(kind):
    x, y = data(kind)
    model = KINDS[kind]()
    weights = learned(model)
    before = values_of(weights)
    model.trainable = False
    model.compile("sgd")
    with pytest.warns(UserWarning, match="any trainable weights"):
        model.fit(x, y, verbose=0)
    assert model.trainable_weights == []
    assert same(before, values_of(weights))


@kinds(*(kind for kind in KINDS if kind != "hybrid"))
def test_gradients_go_through_eager_calls(kind):
    model, (x, y) = shared(kind), data(kind)
    conditioned = (y,) if kind == "conditional" else ()
    z = model.encode(x, *conditioned)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        decoded = model.decode(z, *conditioned)
        log_prob = (
            model.class_log_prob(x) if hasattr(model, "head") else model.log_prob(x, *conditioned)
        )
    assert np.isfinite(tape.gradient(decoded, z)).all()
    variables = model.layer.trainable_variables
    for result in (decoded, log_prob):
        assert any(gradient is not None for gradient in tape.gradient(result, variables))


@two_kinds
def test_another_size_of_a_batch_is_not_traced_anew(kind):
    model = KINDS[kind]()

    def everything(rows):
        x, y = data(kind, rows)
        conditioned = (y,) if kind == "conditional" else ()
        model.decode(model.encode(x, *conditioned), *conditioned)
        model(x, *conditioned)
        if kind != "classifier":
            model.sample(rows, *(y[:1] for y in conditioned))

    everything(3)
    count = len(model.traces._functions)
    for rows in (1, 2, 5, 9):
        everything(rows)
    assert len(model.traces._functions) == count


@some_kinds
def test_modules_that_hold_a_compiled_model_find_its_weights(kind):
    parent = tf.Module()
    parent.model = compiled(kind)
    found = {id(variable) for variable in parent.variables}
    assert found >= {id(weight._value) for weight in parent.model.weights}
    names = {id(variable) for variable in parent.trainable_variables}
    assert names == {id(weight._value) for weight in parent.model.trainable_weights}


@two_kinds
def test_predict_gives_what_a_call_gives(kind):
    x, y = data(kind)
    model = shared(kind)
    expected = values(model, kind, x, y)
    given = [x, y] if kind == "conditional" else x
    np.testing.assert_allclose(model.predict(given, verbose=0), expected, atol=1e-5)
    batches = dataset(x, y) if y is not None else dataset(x)
    np.testing.assert_allclose(model.predict(batches, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["unconditional", "image", "classifier"])
def test_keras_random_seed_makes_recipes_repeatable(kind):
    def weights(seed):
        keras.utils.set_random_seed(seed)
        return KINDS[kind](seed=None).get_weights()

    first = weights(42)
    assert same(first, weights(42)) and not same(first, weights(43))


def test_failed_inversions_raise_if_a_block_says_so():
    dense = [layers.SpectralDense(8, 0.9, activation="elu"), layers.SpectralDense(2, 0.9)]
    block = layers.ResidualBlock(dense, max_iterations=1, tolerance=1e-6, on_failure="raise")
    model = tfi.ResidualFlow([block])
    model.build((None, 2))
    for jit_compile in (False, True):
        model.compile("sgd", jit_compile=jit_compile)
        with pytest.raises(tf.errors.InvalidArgumentError, match="could not"):
            model.decode(np.ones((4, 2)))
        with pytest.raises(tf.errors.InvalidArgumentError, match="could not"):
            model.sample(4)


@kinds("monotone", among=("unconditional", "monotone"))
def test_score_and_hessian_are_those_of_finite_differences(kind):
    model = KINDS[kind](dtype="float64", tolerance=1e-12)
    x = np.array([[0.3, -0.2], [1.0, 0.5]])
    step = 1e-5
    for value, derivative in ((model.log_prob, model.score(x)), (model.score, model.hessian(x))):
        for axis in range(2):
            shift = step * np.eye(2)[axis]
            difference = (value(x + shift) - value(x - shift)) / (2 * step)
            np.testing.assert_allclose(derivative[..., axis], difference, rtol=1e-5, atol=1e-7)


def test_inverses_are_compiled_once_that_pays(monkeypatch):
    from tf_iresnet.numerics import tracing

    model, (x, _) = vectors(), data("unconditional")
    z = model.encode(x)
    plain = model.decode(z)

    def compiled_ones():
        return [name for name, _ in model.traces._functions if name.startswith("('inverse'")]

    assert not compiled_ones()
    monkeypatch.setattr(tracing, "COMPILATION_SECONDS", 0.0)
    np.testing.assert_array_equal(model.decode(z), plain)  # the first call was mostly tracing
    np.testing.assert_allclose(model.decode(z), plain, atol=2e-5)
    assert len(compiled_ones()) == 1
    assert model.decode(z[:3]).shape == (3, 2)
    for wanted, count in ((False, 0), (True, 1)):
        model.compile("sgd", jit_compile=wanted)
        model.traces.clear()
        np.testing.assert_allclose(model.decode(z), plain, atol=2e-5)
        assert len(compiled_ones()) == count
    assert tracing.filled(1) == 1 and tracing.filled(1000) == 1024 and tracing.filled(600) == 640
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.decode(z[:0]).shape == (0, 2)


@pytest.mark.parametrize("block", ["residual", "triangular"])
@pytest.mark.parametrize("branch", ["spectral", "lipschitz_mlp"])
def test_a_seed_decides_every_weight_of_a_conditional_recipe(block, branch):
    options = {"block": block, "branch": "spectral" if block == "triangular" else branch}
    make = functools.partial(vectors, num_blocks=2, condition_size=SIZE, **options)
    assert same(make(seed=3).get_weights(), make(seed=3).get_weights())
    assert not same(make(seed=3).get_weights(), make(seed=4).get_weights())


def test_what_keras_can_not_do_on_several_replicas_is_refused():
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = vectors()
        model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    with pytest.raises(ValueError, match="Expected no gradient accumulation on several replicas"):
        model.fit(data("unconditional")[0], verbose=0)
