"""Promises of every model: what it can't use is refused by name, and costs nothing."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from support.citizens import (
    CLASSES,
    ROWS,
    SIZE,
    compiled,
    data,
    dataset,
    kinds,
    learned,
    same,
    shared,
    two_kinds,
    values,
    values_of,
    vectors,
)

import tf_iresnet as tfi
from tf_iresnet import layers


@two_kinds
def test_a_step_that_is_not_finite_is_not_taken_and_is_named(kind):
    x, y = data(kind)
    x[3] = np.nan
    model = compiled(kind)
    before = values_of(learned(model))
    with pytest.raises(ValueError, match="in 1 of 8 examples, the first in row 3"):
        model.fit(x, y, verbose=0)
    with pytest.raises(FloatingPointError, match="step 0: 1 examples of x with NaN"):
        model.fit(dataset(x, y), verbose=0)
    assert same(before, values_of(learned(model)))


@kinds("classifier", among=("unconditional", "classifier"))
def test_a_compiled_step_that_is_not_finite_is_not_taken(kind):
    x, y = data(kind)
    x[3] = np.nan
    model = compiled(kind, jit_compile=True)
    before = values_of(learned(model))
    with pytest.raises(FloatingPointError, match="batch 0 of epoch 0"):
        model.fit(dataset(x, y), verbose=0)
    assert same(values_of(learned(model)), before)


@pytest.mark.parametrize("kind", ["hybrid", "classifier"])
def test_labels_that_are_not_classes_are_refused(kind):
    x, y = data(kind)
    model = compiled(kind)
    for wrong, said in (
        (y + 1, "Received: 3 in row 2, one of 2"),
        (y + 0.5, r"Received: 0.5 in row 0, one of 8"),
        (y - 1, "Received: -1 in row 0"),
        (np.eye(CLASSES)[y], "One-hot"),
        (None, "Received: y=None"),
    ):
        with pytest.raises(ValueError, match=said):
            model.fit(x, wrong, verbose=0)
    with pytest.raises(ValueError, match="from 0 to 2"):
        model.fit(dataset(x, y + 1), verbose=0)


@kinds("implicit", "image")
def test_shapes_that_do_not_fit_are_refused_before_any_arithmetic(kind):
    x, y = data(kind)
    model = shared(kind)
    call = functools.partial(values, model, kind)
    for wrong in (x[0], x[:, :1], x[..., None]):
        with pytest.raises(ValueError, match=r"of shape \[batch, "):
            call(wrong, y)
        with pytest.raises(ValueError, match=r"of shape \[batch, "):
            model.encode(wrong, y) if kind == "conditional" else model.encode(wrong)
    z = model.encode(x, y) if kind == "conditional" else model.encode(x)
    with pytest.raises(ValueError, match=r"Expected outputs of .* of shape"):
        model.decode(z[:, :-1])
    if kind not in ("conditional", "hybrid", "classifier"):
        with pytest.raises(ValueError, match=r"condition of .* to be None"):
            model.log_prob(x, np.zeros((ROWS, SIZE)))


def test_conditions_broadcast_alike_on_every_door():
    model, (x, y) = shared("conditional"), data("conditional")
    full = np.repeat(y[:1], ROWS, axis=0)
    z = model.encode(x, full)
    one_row = (y[0], y[:1], full)
    for condition in one_row:
        np.testing.assert_allclose(model.encode(x, condition), z, atol=1e-6)
        np.testing.assert_allclose(model.decode(z, condition), x, atol=1e-4)
        expected = model.log_prob(x, full)
        np.testing.assert_allclose(model.log_prob(x, condition), expected, atol=1e-5)
        np.testing.assert_allclose(model.score(x, condition), model.score(x, full), atol=1e-5)
        viewed = model.distribution(condition).log_prob(x, bijector_kwargs={"seed": None})
        np.testing.assert_allclose(viewed, expected, atol=1e-5)
        samples = model.sample(ROWS, condition, seed=1)
        np.testing.assert_allclose(samples, model.sample(ROWS, full, seed=1), atol=1e-5)
    refused = (None, y[:3], np.zeros(3), np.zeros((ROWS, 3)), 2.0, np.zeros((1, 1, SIZE)))
    doors = (
        lambda condition: model.log_prob(x, condition),
        lambda condition: model.encode(x, condition),
        lambda condition: model.decode(z, condition),
        lambda condition: model.sample(ROWS, condition),
        lambda condition: model.score(x, condition),
    )
    for door in doors:
        for condition in refused:
            with pytest.raises(ValueError, match="Expected the condition of"):
                door(condition)


def test_a_wrong_condition_does_not_spoil_a_model():
    model = vectors(condition_size=1)
    model.compile("sgd")
    x, labels = data("unconditional")[0], np.arange(ROWS)
    with pytest.raises(ValueError, match=r"condition\[:, None\]"):
        model.fit(x, labels, verbose=0)
    with pytest.raises(ValueError, match="Expected the condition"):
        model.fit(dataset(x, labels), verbose=0)
    assert np.isfinite(model.fit(x, labels[:, None], verbose=0).history["loss"][0])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_gradient_that_is_not_finite_is_not_descended_though_the_loss_is(jit_compile):
    def edge(kernel):  # 0, where the square root is infinitely steep
        return tf.sqrt(tf.reduce_sum(0 * kernel))

    dense = [layers.SpectralDense(8), layers.SpectralDense(2, kernel_regularizer=edge)]
    model = tfi.ResidualFlow([layers.ResidualBlock(dense)])
    model.build((None, 2))
    model.compile("sgd", jit_compile=jit_compile)
    before = values_of(learned(model))
    x, _ = data("unconditional")
    said = "in this batch" if jit_compile else r"such gradients of: .*spectral_dense.*kernel\."
    with pytest.raises(FloatingPointError, match=said):
        model.train_on_batch(x)
    assert same(before, values_of(learned(model)))
