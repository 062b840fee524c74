"""A batch that is evaluated in parts makes the step of the whole batch, in the memory of a part."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi
from tf_iresnet import layers

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(24, 2))
CONDITION = RANDOM.normal(size=(24, 1))
WEIGHT = RANDOM.uniform(0.5, 2.0, 24)


def flow():
    """One without noise and without what data initialise or estimates keep from part to part."""
    dense = layers.SpectralDense(
        2, 0.7, "sine", normalization="gram", condition_size=1,
        kernel_initializer=keras.initializers.RandomNormal(seed=1),
        kernel_regularizer=keras.regularizers.L2(0.1), dtype="float64",
    )  # fmt: skip
    return tfi.ResidualFlow([layers.ResidualBlock(dense, "exact")], seed=0)


def absolute_error(x, latents):
    return tf.reduce_mean(tf.abs(tf.cast(x, latents.dtype) - latents), axis=-1)


def trained(parts, **options):
    """A flow after steps that are clipped, averaged and decayed, and what `fit` said of them."""
    model = flow()
    model.build((None, 2))
    model.accumulate_steps = parts
    optimizer = keras.optimizers.AdamW(0.02, global_clipnorm=0.1, use_ema=True)
    model.compile(optimizer, metrics={"latents": [absolute_error]}, **options)
    fit = {"batch_size": 12, "shuffle": False, "epochs": 1, "verbose": 0}
    return model, model.fit(X, CONDITION, sample_weight=WEIGHT, **fit).history


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
     pytest.param({"run_eagerly": True}, marks=pytest.mark.slow)],
    ids=str,
)  # fmt: skip
def test_the_steps_of_parts_are_those_of_the_whole_batch(options):
    (whole, expected), (parts, found) = trained(1), trained(4, **options)
    assert found.keys() == expected.keys() and "absolute_error" in str(found.keys())
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, err_msg=name)
    pairs = zip(whole.optimizer.variables, parts.optimizer.variables, strict=True)
    for ours, theirs in [*zip(whole.weights, parts.weights, strict=True), *pairs]:
        np.testing.assert_allclose(theirs, ours, rtol=1e-6, atol=1e-9, err_msg=ours.path)
    assert int(parts.optimizer.iterations) == 2


@pytest.mark.slow
def test_parts_have_noise_of_their_own_and_a_step_is_traced_once(monkeypatch):
    traces, values = [], tfi.ResidualFlow._values
    monkeypatch.setattr(
        tfi.ResidualFlow, "_values", lambda *given: traces.append(given) or values(*given)
    )

    def difference(x, log_prob):
        return tf.abs(log_prob - tf.roll(log_prob, 6, axis=0))

    block = layers.ResidualBlock(layers.SpectralDense(2, 0.7, "sine"), "power_series")
    model = tfi.ResidualFlow([block], seed=0)
    model.build((None, 2))
    model.accumulate_steps = 2
    model.compile(keras.optimizers.SGD(0.0), metrics=[difference])
    model._compile_metrics.build(X[:, 0], X[:, 0])
    found = model.train_on_batch(np.tile(X[:6], [2, 1]), return_dict=True)
    assert len(traces) == 1
    assert found["difference"] > 1e-3


@pytest.mark.slow
def test_a_part_that_is_not_finite_leaves_the_whole_step_out(capfd):
    model = flow()
    model.accumulate_steps, model.skip_not_finite = 3, True
    model.build((None, 2))
    model.compile(keras.optimizers.SGD(0.1))
    step = tf.function(model.train_step)
    step((X, CONDITION, None))
    before = [weight.numpy() for weight in model.weights]
    means = step((np.where(np.arange(24)[:, None] == 20, np.nan, X), CONDITION, None))
    assert "1 examples of x with NaN" in capfd.readouterr().out
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert np.isfinite(means["loss"])


@pytest.mark.filterwarnings("ignore:.*shuffle:UserWarning")
@pytest.mark.parametrize("rows", [10, pytest.param(None, marks=pytest.mark.slow)])
def test_a_batch_that_parts_do_not_make_up_is_refused(rows):
    model = flow()
    model.accumulate_steps = 4
    model.compile(keras.optimizers.SGD(0.1))
    data = tf.data.Dataset.from_tensors((X[:10], CONDITION[:10]))
    if rows is None:  # known in the step only
        data = data.unbatch().batch(10)
    with pytest.raises(ValueError, match="examples accumulate_steps=4 divides"):
        model.fit(data, verbose=0)
