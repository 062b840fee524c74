"""What every model promises to those who use it as a Keras model: a row a promise, a column a kind.

Their own numbers are tested elsewhere; here only that no argument, shape or value is ignored.
"""

import functools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi
from tf_iresnet import layers

ROWS, CLASSES, SIZE = 8, 3, 2


def vectors(**kwargs):
    options = {"num_blocks": 1, "hidden_units": (8,), "activation": "sine", "seed": 0}
    return tfi.mlp_flow(2, **{**options, **kwargs})


def hybrid(seed=0):
    keras.utils.set_random_seed(1)
    dense = [layers.SpectralDense(8, activation="elu"), layers.SpectralDense(2)]
    model = tfi.HybridFlow([layers.ActNorm(), layers.ResidualBlock(dense)], CLASSES, seed=seed)
    model.build((None, 2))
    return model


SMALL = {"blocks": (1,), "width": 4, "seed": 0}
KINDS = {
    "unconditional": vectors,
    "conditional": functools.partial(vectors, condition_size=SIZE),
    "image": lambda **kw: tfi.image_flow(
        (4, 4, 1), "resflow-mnist", **{**SMALL, "tail_blocks": 0, **kw}
    ),
    "hybrid": hybrid,
    "classifier": lambda **kw: tfi.image_classifier((4, 4, 1), CLASSES, **{**SMALL, **kw}),
    "monotone": functools.partial(vectors, block="monotone"),
    "implicit": functools.partial(vectors, block="implicit", num_blocks=2),
}
FAST = ("conditional", "hybrid", "classifier")  # for promises that all share one implementation


def kinds(*slow):
    """All kinds, some in the slow suite alone: others state the same of their code."""
    return pytest.mark.parametrize(
        "kind", [pytest.param(k, marks=[pytest.mark.slow] if k in slow else []) for k in KINDS]
    )


every_kind = kinds("implicit")  # takes several times as long to trace as the others
some_kinds = pytest.mark.parametrize("kind", FAST)


@functools.cache
def shared(kind):
    """A model that tests read and don't change."""
    return KINDS[kind]()


def data(kind, rows=ROWS):
    """Inputs, and targets or None."""
    random = np.random.default_rng(7)
    shape = (4, 4, 1) if kind in ("image", "classifier") else (2,)
    x = random.uniform(0.1, 0.9, size=(rows, *shape)).astype("float32")
    if kind in ("hybrid", "classifier"):
        return x, np.arange(rows) % CLASSES
    if kind == "conditional":
        return x, random.normal(size=(rows, SIZE)).astype("float32")
    return x, None


def values(model, kind, x, y):
    """What `model(x)` gives, a row for each example."""
    return np.asarray(model(x, y) if kind == "conditional" else model(x))


def compiled(kind, rate=0.1, **kwargs):
    model = KINDS[kind]()
    model.compile(keras.optimizers.SGD(rate), **kwargs)
    return model


def dataset(*parts):
    """A data set of one batch, whose parts may be None."""
    present = [part for part in parts if part is not None]
    batches = tf.data.Dataset.from_tensor_slices(tuple(present)).batch(ROWS)

    def arranged(*given):
        given = iter(given)
        return tuple(None if part is None else next(given) for part in parts)

    return batches.map(arranged)


def same(weights, others):
    return all(np.array_equal(*pair) for pair in zip(weights, others, strict=True))


# -- weights ---------------------------------------------------------------------------------------


@every_kind
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


@pytest.mark.parametrize("kind", ["unconditional", "conditional", "hybrid"])
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


# -- compile ---------------------------------------------------------------------------------------


@every_kind
def test_a_loss_and_metrics_of_what_it_does_not_give_are_refused(kind):
    with pytest.raises(ValueError, match="Expected no loss"):
        shared(kind).compile("sgd", loss="mse")
    with pytest.raises(ValueError, match="Expected metrics of outputs of the model"):
        shared(kind).compile("sgd", metrics={"nothing": ["mse"]})


def output_mean(targets, outputs):
    return tf.reduce_mean(tf.reshape(outputs, [tf.shape(outputs)[0], -1]), axis=1)


@every_kind
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


@some_kinds
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


# -- values that can't be used ---------------------------------------------------------------------


@every_kind
def test_a_step_that_is_not_finite_is_not_taken_and_is_named(kind):
    x, y = data(kind)
    x[3] = np.nan
    model = compiled(kind)
    before = learned(model)
    with pytest.raises(ValueError, match="in 1 of 8 examples, the first in row 3"):
        model.fit(x, y, verbose=0)
    with pytest.raises(FloatingPointError, match="step 0: 1 examples of x with NaN"):
        model.fit(dataset(x, y), verbose=0)
    assert same(before, learned(model))


def learned(model):
    """All that comes from data; the vectors of power iterations follow kernels alone."""
    names = ("initialized", "moving_mean", "moving_variance")
    return [w.numpy() for w in model.weights if w.trainable or w.name in names]


@pytest.mark.parametrize("kind", ["unconditional", "classifier"])
def test_a_compiled_step_that_is_not_finite_is_not_taken(kind):
    x, y = data(kind)
    x[3] = np.nan
    model = compiled(kind, jit_compile=True)
    before = learned(model)
    with pytest.raises(FloatingPointError, match="batch 0 of epoch 0"):
        model.fit(dataset(x, y), verbose=0)
    assert same(learned(model), before)


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


@every_kind
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
        np.testing.assert_allclose(model.distribution(condition).log_prob(x), expected, atol=1e-5)
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


# -- what is frozen, differentiated, called often --------------------------------------------------


@every_kind
def test_fitting_a_frozen_model_warns_and_changes_nothing(kind):
    x, y = data(kind)
    model = KINDS[kind]()
    model.trainable = False
    model.compile("sgd")
    before = [weight.numpy() for weight in model.layer.weights if "log_scale" not in weight.path]
    with pytest.warns(UserWarning, match="any trainable weights"):
        model.fit(x, y, verbose=0)
    assert model.trainable_weights == []
    assert len(before) > 0


@kinds("unconditional", "monotone", "implicit")
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


@every_kind
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


@every_kind
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


@pytest.mark.parametrize("kind", ["unconditional", "monotone"])
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


@pytest.mark.parametrize("option", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_what_keras_applies_to_each_replica_alone_is_refused(option):
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = vectors()
        model.compile(keras.optimizers.SGD(0.1, **{option: 1.0}))
    with pytest.raises(ValueError, match=f"Expected no {option} on several replicas"):
        model.fit(data("unconditional")[0], verbose=0)
