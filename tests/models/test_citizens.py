"""What every model promises to those who use it as a Keras model: a row a promise, a column a kind.

In this file: weights of examples, and the arguments of `compile`.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.citizens import (
    FAST,
    KINDS,
    ROWS,
    compiled,
    data,
    dataset,
    every_kind,
    kinds,
    same,
    shared,
    two_kinds,
    values,
)

import tf_iresnet as tfi
from tf_iresnet import layers


@two_kinds
def test_metrics_are_means_weighted_by_sample_weight(kind):
    x, y = data(kind)
    weight = np.linspace(0, 2, ROWS)
    model = compiled(kind)
    if kind == "classifier":  # its normalisation in training looks at all examples
        each = [model.evaluate(x[i : i + 1], y[i : i + 1], verbose=0)[0] for i in range(ROWS)]
    else:
        part = [None if y is None else y[i : i + 1] for i in range(ROWS)]
        each = [model.test_on_batch(x[i : i + 1], part[i])[0] for i in range(ROWS)]
    expected = np.average(each, weights=weight)
    assert model.evaluate(x, y, sample_weight=weight, verbose=0)[0] == pytest.approx(expected, 1e-4)
    assert model.evaluate(dataset(x, y, weight), verbose=0)[0] == pytest.approx(expected, 1e-4)


@kinds("unconditional", "conditional", among=("unconditional", "conditional", "hybrid"))
def test_a_step_descends_the_weighted_sum_by_every_route(kind):
    x, y = data(kind)
    weight = np.where(np.arange(ROWS) < ROWS // 2, 2.0, 0.0).astype("float32")
    half = ROWS // 2

    def after(step):
        model = compiled(kind)
        # Data initialise layers whatever their weight is: that is done before.
        model.layer.forward(x, None if kind == "hybrid" else y, training=True)
        step(model)
        return [weight.numpy() for weight in model.trainable_weights]  # `fit` stores norms as well

    fitted = {"batch_size": ROWS, "shuffle": False, "verbose": 0}
    expected = after(lambda model: model.train_on_batch(x[:half], None if y is None else y[:half]))
    routes = {
        "fit": lambda model: model.fit(x, y, sample_weight=weight, **fitted),
        "train_on_batch": lambda model: model.train_on_batch(x, y, sample_weight=weight),
        "data set": lambda model: model.fit(dataset(x, y, weight), verbose=0),
    }
    if kind == "hybrid":
        by_class = {0: 2.0, 1: 0.0, 2: 1.0}
        routes["class_weight"] = lambda model: model.fit(x, y, class_weight=by_class, **fitted)
        by_label = np.array([by_class[label] for label in y])
        routes["the same by sample_weight"] = lambda model: model.fit(
            x, y, sample_weight=by_label, **fitted
        )
    found = {name: after(route) for name, route in routes.items()}
    for name in ("fit", "train_on_batch", "data set"):
        for ours, theirs in zip(found[name], expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=name)
    if kind == "hybrid":
        for pair in zip(found["class_weight"], found["the same by sample_weight"], strict=True):
            np.testing.assert_allclose(*pair, rtol=1e-5, atol=1e-6)


def test_class_weights_without_labels_and_weights_that_do_not_fit_are_refused():
    model, (x, _) = compiled("unconditional"), data("unconditional")
    with pytest.raises(ValueError, match="no class_weight"):
        model.fit(x, class_weight={0: 1.0}, verbose=0)
    for weight in (np.ones(ROWS - 1), np.ones((ROWS, 2)), np.full(ROWS, np.nan)):
        with pytest.raises(ValueError, match="Expected sample_weight to be 8 finite numbers"):
            model.evaluate(x, sample_weight=weight, verbose=0)


def test_validation_data_are_weighted_without_targets():
    model, (x, _) = compiled("unconditional", rate=0.0), data("unconditional")
    weight = np.linspace(0, 2, ROWS)
    history = model.fit(x, validation_data=(x, None, weight), verbose=0).history
    expected = np.average(-model.log_prob(x), weights=weight)
    assert history["val_loss"][0] == pytest.approx(expected, 1e-4)


@every_kind
def test_a_loss_and_metrics_of_what_it_does_not_give_are_refused(kind):
    with pytest.raises(ValueError, match="Expected no loss"):
        shared(kind).compile("sgd", loss="mse")
    with pytest.raises(ValueError, match="Expected metrics of outputs of the model"):
        shared(kind).compile("sgd", metrics={"nothing": ["mse"]})


def output_mean(targets, outputs):
    return tf.reduce_mean(tf.reshape(outputs, [tf.shape(outputs)[0], -1]), axis=1)


@two_kinds
def test_metrics_see_the_outputs_of_the_model(kind):
    x, y = data(kind)
    model = compiled(kind, metrics=[output_mean], weighted_metrics=[output_mean])
    weight = np.linspace(0, 2, ROWS)
    found = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    outputs = values(model, kind, x, y)
    if kind == "classifier":
        outputs = model.class_log_prob(x).numpy()
    means = outputs.reshape(ROWS, -1).mean(axis=1)
    assert found["output_mean"] == pytest.approx(means.mean(), rel=1e-4)
    weighted = np.average(means, weights=weight)
    assert found["weighted_output_mean"] == pytest.approx(weighted, rel=1e-4)


def test_metrics_are_of_a_named_output_and_of_labels():
    x, y = data("hybrid")
    model = compiled("hybrid", metrics={"latents": ["mse"], "class_log_prob": ["accuracy"]})
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    assert found["latents_mse"] == pytest.approx(np.mean((model.encode(x) - x) ** 2), rel=1e-4)
    assert found["class_log_prob_accuracy"] == pytest.approx(found["accuracy"])
    with pytest.raises(ValueError, match="a density has none"):
        compiled("unconditional", metrics=["mae"])


@kinds("classifier", "hybrid", among=FAST)
@pytest.mark.parametrize("options", ["gradient_accumulation_steps", "jit_compile", "run_eagerly"])
def test_optimizers_and_modes_of_keras_train(kind, options):
    x, y = data(kind)
    steps = 2 if options == "gradient_accumulation_steps" else None
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps)
    model = KINDS[kind]()
    model.compile(optimizer, **({} if steps else {options: True}))
    before = model.get_weights()
    loss = model.fit(x, y, batch_size=4, verbose=0).history["loss"][0]
    assert np.isfinite(loss) and not same(model.get_weights(), before)


def test_a_model_that_is_not_built_is_built_before_a_compiled_step():
    dense = [layers.SpectralDense(8), layers.SpectralDense(2)]
    model = tfi.ResidualFlow([layers.ActNorm(), layers.ResidualBlock(dense)])
    model.compile("sgd", jit_compile=True)
    assert np.isfinite(model.fit(data("unconditional")[0], verbose=0).history["loss"][0])
