"""The multi-scale composition: where its latents lie, and as the layer of an image flow."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.references import jacobian_log_det, points, seeded_block

import tf_iresnet as tfi
from tf_iresnet import layers, log_det
from tf_iresnet.numerics.probes import as_seed, fold_in

EVENT = (4, 4, 1)


def block(channels, estimator="exact", **kwargs):
    settings = {"hidden": 6, "tolerance": 1e-5, "dtype": "float32", **kwargs}
    return seeded_block(channels, estimator=estimator, **settings)


def multi_scale(factor_out=True, estimator="exact", **kwargs):
    """Of images `EVENT`: [2, 2, 4] after the first stage, [1, 1, 8 or 16] after the second."""
    channels = 8 if factor_out else 16
    stages = [
        [layers.Squeeze(), layers.ActNorm(), block(4, estimator, **kwargs)],
        [layers.Squeeze(), block(channels, estimator, **kwargs), layers.ActNorm()],
    ]
    return layers.MultiScale(stages, factor_out)


def images(batch=5):
    return points(batch, *EVENT, dtype="float32")


def built(layer, *event):
    """With weights that aren't at their defaults."""
    layer.build((None, *(event or EVENT)))
    random = np.random.default_rng(3)
    for weight in layer.weights:
        if weight.name.endswith(("log_scale", "shift", "condition_kernel")):
            weight.assign(random.normal(size=weight.shape) / 2)
    return layer


def test_latents_lie_as_documented():
    """What leaves first comes first, in row-major order: TensorFlow's squeeze and NumPy's split."""
    layer = layers.MultiScale([layers.Squeeze(), layers.Squeeze(), layers.Rescale(2.0)])
    x = images()
    z = layer(x).numpy()
    first = tf.nn.space_to_depth(x, 2).numpy()
    second = tf.nn.space_to_depth(first[..., :2], 2).numpy()
    expected = [first[..., 2:], second[..., 4:], 2 * second[..., :4]]
    np.testing.assert_array_equal(z, np.concatenate([e.reshape(5, -1) for e in expected], 1))
    assert layer.latent_shapes == ((2, 2, 2), (1, 1, 4), (1, 1, 4))
    assert z.shape == layer.compute_output_shape(x.shape) == (5, 16)
    for part, value in zip(layer.split(z), expected, strict=True):
        np.testing.assert_array_equal(part, value)
    np.testing.assert_array_equal(layer.inverse(z), x)


def test_of_an_odd_number_of_channels_the_smaller_half_leaves():
    layer = layers.MultiScale([layers.Rescale(1.0), layers.Rescale(1.0)])
    x = tf.constant([[1.0, 2.0, 3.0, 4.0, 5.0]])
    np.testing.assert_array_equal(layer(x), [[4, 5, 1, 2, 3]])
    np.testing.assert_array_equal(layer.inverse(layer(x)), x)


def test_without_factoring_out_it_is_plain_composition():
    layer = built(multi_scale(factor_out=False))
    x = images()
    plain = layers.InvertibleSequential(layer.stages)
    for ours, theirs in zip(
        layer.forward_with_log_det(x), plain.forward_with_log_det(x), strict=True
    ):
        np.testing.assert_allclose(ours, np.reshape(theirs, ours.shape), rtol=1e-6)
    assert layer.latent_shapes == ((1, 1, 16),)


def test_every_stage_draws_its_own_noise():
    """With a one-probe estimate: the second stage's value is another than with the first's seed."""
    estimator = log_det.PowerSeries(3)
    stages = [block(4, estimator=estimator) for _ in range(2)]
    layer = layers.MultiScale(stages, factor_out=False)
    layer.build((None, 4))
    x = points(5, 4, dtype="float32")
    seed = as_seed(7)
    middle, first = layer.stages[0].forward_with_log_det(x, seed=fold_in(seed, 0))
    _, second = layer.stages[1].forward_with_log_det(middle, seed=fold_in(seed, 1))
    value = layer.forward_with_log_det(x, seed=7)[1]
    np.testing.assert_allclose(value, first + second, rtol=1e-5, atol=1e-6)
    same_seed = layer.stages[1].forward_with_log_det(middle, seed=fold_in(seed, 0))[1]
    assert np.all(np.abs(second - same_seed) > 1e-4)


def test_conditions_reach_every_stage():
    layer = built(multi_scale(condition_size=2))
    assert layer.condition_size == 2
    x = images()
    condition = points(5, 2, dtype="float32", seed=1)
    z, value = layer.forward_with_log_det(x, condition)
    np.testing.assert_allclose(layer.inverse(z, condition), x, atol=1e-4)
    np.testing.assert_allclose(layer.inverse_with_log_det(z, condition)[1], -value, atol=1e-4)
    np.testing.assert_allclose(layer(x, condition), z, atol=1e-6)
    other = layer(x, condition + 1.0)
    changed = [np.abs(a - b).max() for a, b in zip(layer.split(z), layer.split(other), strict=True)]
    assert min(changed) > 1e-2
    # Of the second stage alone: the first sees the old condition.
    hidden = layer.stages[0](x, condition)[..., :2]
    second = layer.stages[1](hidden, condition + 1.0)
    assert np.abs(layer.split(z)[1] - second).max() > 1e-2


def test_training_initialises_the_state_of_every_stage():
    layer = multi_scale()
    layer.build((None, *EVENT))
    x = 5 * images(200) + 3
    tf.function(lambda: layer(x, training=True))()
    norms = [layer.stages[0].layers[1], layer.stages[1].layers[2]]
    for norm in norms:
        assert norm.initialized.value == 1
    # The latents of the last stage come from an ActNorm.
    last = layer.split(layer(x))[1].numpy()
    np.testing.assert_allclose(last.mean((0, 1, 2)), 0, atol=2e-2)
    np.testing.assert_allclose(last.std((0, 1, 2)), 1, atol=2e-2)
    before = [w.numpy() for w in layer.weights]
    layer.forward_with_log_det(x)
    layer.inverse(layer(x))
    for weight, value in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_shapes_are_static_for_batches_of_unknown_size():
    layer = built(multi_scale())

    @tf.function(input_signature=[tf.TensorSpec([None, *EVENT]), tf.TensorSpec([None, 16])])
    def shapes(x, z):
        latents, inputs = layer(x), layer.inverse(z)
        assert latents.shape.as_list() == [None, 16]
        assert inputs.shape.as_list() == [None, *EVENT]
        return latents, inputs

    for batch in (1, 3):
        x = images(batch)
        latents, inputs = shapes(x, layer(x))
        np.testing.assert_allclose(latents, layer(x), atol=1e-6)
        np.testing.assert_allclose(inputs, x, atol=1e-4)


# -- as the layer of a flow ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flow():
    flow = tfi.ResidualFlow(built(multi_scale()), seed=1)
    flow.build((None, *EVENT))
    return flow


def test_a_flow_of_images_has_flat_latents(flow):
    assert flow.event_shape == EVENT and flow.event_size == 16
    assert flow.base.loc.shape == (16,)
    x = images()
    z = flow.encode(x)
    assert z.shape == (5, 16)
    np.testing.assert_allclose(flow.decode(z), x, atol=1e-4)
    samples = flow.sample(5, seed=1)  # as many as above: compiled once
    assert samples.shape == (5, *EVENT)
    np.testing.assert_allclose(flow.encode(samples), flow.base.sample(5, as_seed(1)), atol=1e-4)


def test_the_density_is_that_of_the_change_of_variables(flow):
    x = images()
    normal = -0.5 * np.sum(np.square(flow.layer(x)), 1) - 8 * math.log(2 * math.pi)
    exact = normal + jacobian_log_det(flow.layer, x)
    np.testing.assert_allclose(flow.log_prob(x), exact, rtol=1e-4)
    flow.compile()
    nats, bits = flow.evaluate(x, verbose=0)
    assert bits == pytest.approx(nats / 16 / math.log(2), rel=1e-5)


def test_the_tfp_distribution_is_of_images(flow):
    distribution = flow.distribution()
    assert distribution.event_shape == EVENT and distribution.batch_shape == ()
    x = images()
    np.testing.assert_allclose(distribution.log_prob(x), flow.log_prob(x), rtol=1e-5)
    samples = distribution.sample((2, 3), seed=1)
    assert samples.shape == (2, 3, *EVENT)
    assert distribution.log_prob(samples).shape == (2, 3)


@pytest.mark.slow
def test_a_flow_of_images_trains_and_loads(tmp_path):
    flow = tfi.ResidualFlow(multi_scale(estimator="auto"), base="learned_normal", seed=1)
    flow.build((None, *EVENT))
    x = 0.1 * images(64).numpy() * np.linspace(0.5, 2.0, 16).reshape(EVENT)
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    losses = flow.fit(x, batch_size=32, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))
    np.testing.assert_array_equal(loaded.sample(3, seed=2), flow.sample(3, seed=2))
    assert tfi.certify(loaded).invertible and len(tfi.certify(loaded).blocks) == 2


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: layers.MultiScale([]), "at least one layer"),
        (lambda: layers.MultiScale([[]]), "at least one layer"),
        (lambda: layers.MultiScale([keras.layers.Dense(2)]), "InvertibleLayer.*ResidualBlock"),
        (
            lambda: built(layers.MultiScale([layers.ActNorm(), layers.ActNorm()]), 4, 4, 1),
            r"2 channels after stage 0.*\(4, 4, 1\).*Squeeze.*factor_out=False",
        ),
        (
            lambda: built(layers.MultiScale([layers.Squeeze()]), 3, 4, 1),
            r"factor=2 divides.*\(3, 4, 1\)",
        ),
        (lambda: multi_scale().split(tf.zeros((2, 16))), "no shape yet"),
        (lambda: built(multi_scale()).inverse(tf.zeros((2, 15))), r"\[batch, 16\].*\(2, 15\)"),
        (
            lambda: built(multi_scale())(tf.zeros((2, 4, 4, 2))),
            r"\[batch, 4, 4, 1\].*\(2, 4, 4, 2\)",
        ),
        (
            lambda: (
                layers.MultiScale(
                    [block(4, condition_size=1), block(4, condition_size=2)]
                ).condition_size
            ),
            r"one condition_size.*\[1, 2\]",
        ),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()
