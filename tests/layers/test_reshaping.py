"""Squeezing, reshaping and padding against TensorFlow's own operations and NumPy."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.references import jacobian, points

from tf_iresnet import layers


def images(shape, dtype="float32", seed=0):
    return points(*shape, dtype=dtype, seed=seed)


@pytest.mark.parametrize("factor", [2, 3])
def test_squeeze_is_space_to_depth_bit_by_bit(factor, dtype, mode, run_in_mode):
    layer = layers.Squeeze(factor, dtype=dtype)
    x = images((5, 2 * factor, 3 * factor, 2), dtype)
    layer.build(x.shape)
    y, log_det = run_in_mode(layer.forward_with_log_det, mode)(x)
    np.testing.assert_array_equal(y, tf.nn.space_to_depth(x, factor))
    np.testing.assert_array_equal(log_det, np.zeros(5))
    assert y.shape == layer.compute_output_shape(x.shape) and log_det.dtype == x.dtype
    # Of latents that no forward pass made.
    z = images(y.shape, dtype, seed=1)
    recovered, log_det = run_in_mode(layer.inverse_with_log_det, mode)(z)
    np.testing.assert_array_equal(recovered, tf.nn.depth_to_space(z, factor))
    np.testing.assert_array_equal(log_det, np.zeros(5))


@pytest.mark.parametrize("sizes", [(6,), (4, 2), (2, 4, 6)])
def test_squeeze_puts_each_block_into_the_channels_of_its_position(sizes):
    """Entry by entry, for any number of spatial axes."""
    layer = layers.Squeeze()
    x = images((2, *sizes, 3)).numpy()
    y = layer(x).numpy()
    for position in itertools.product(*(range(size // 2) for size in sizes)):
        block = tuple(slice(2 * p, 2 * p + 2) for p in position)
        np.testing.assert_array_equal(
            y[(slice(None), *position)], x[(slice(None), *block)].reshape(2, -1)
        )
    np.testing.assert_array_equal(layer.inverse(y), x)


@pytest.mark.parametrize("target", [(-1,), (12,), (3, -1), (2, 2, 3)])
def test_reshape_is_that_of_numpy(target, dtype, mode, run_in_mode):
    layer = layers.Reshape(target, dtype=dtype)
    x = images((5, 4, 3), dtype)
    layer.build(x.shape)
    y, log_det = run_in_mode(layer.forward_with_log_det, mode)(x)
    np.testing.assert_array_equal(y, np.reshape(x, (5, *target)))
    np.testing.assert_array_equal(log_det, np.zeros(5))
    np.testing.assert_array_equal(run_in_mode(layer.inverse, mode)(y), x)
    assert y.shape == layer.compute_output_shape(x.shape)


@pytest.mark.parametrize("layer", [layers.Squeeze(), layers.Reshape((6, 2))])
def test_a_rearrangement_permutes_the_coordinates(layer):
    """Its Jacobian has one 1 in every row and column: |det| = 1, exactly."""
    matrices = jacobian(layer, images((2, 2, 2, 3)))
    assert matrices.shape == (2, 12, 12) and set(np.unique(matrices)) == {0, 1}
    np.testing.assert_array_equal(matrices.sum(1), 1)
    np.testing.assert_array_equal(matrices.sum(2), 1)


def test_channel_padding_appends_zeros_and_its_inverse_drops_them(dtype, mode, run_in_mode):
    layer = layers.ChannelPad(13, dtype=dtype)
    x = images((2, 4, 4, 3), dtype)
    layer.build(x.shape)
    y = run_in_mode(layer.call, mode)(x)
    np.testing.assert_array_equal(y, np.pad(x, [(0, 0)] * 3 + [(0, 13)]))
    assert y.shape == layer.compute_output_shape(x.shape)
    inverse = run_in_mode(layer.inverse, mode)
    np.testing.assert_array_equal(inverse(y), x)
    np.testing.assert_array_equal(inverse(y + 1), x + 1)


def test_channel_padding_composes_where_no_log_det_is_asked_for(tmp_path):
    branch = [layers.SpectralDense(8, 0.7, activation="elu"), layers.SpectralDense(16, 0.7)]
    network = layers.InvertibleSequential(
        [layers.ChannelPad(13), layers.ResidualBlock(branch), layers.Squeeze()]
    )
    inputs = keras.Input((4, 4, 3))
    features = network(inputs)
    assert features.shape == (None, 2, 2, 64)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(features))
    x = images((3, 4, 4, 3))
    np.testing.assert_allclose(network.inverse(network(x)), x, atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize(
    "method", ["forward_with_log_det", "inverse_with_log_det"], ids=["forward", "inverse"]
)
def test_channel_padding_has_no_log_det(method):
    layer = layers.ChannelPad(1)
    layer.build((None, 2))
    x = tf.zeros((1, 2 if method.startswith("forward") else 3))
    with pytest.raises(ValueError, match=r"injective only.*classifiers.*Squeeze"):
        getattr(layer, method)(x)


def built(layer, *event):
    layer.build((None, *event))
    return layer


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: layers.Squeeze(1), "integer ≥ 2.*factor=1"),
        (lambda: layers.Squeeze(0.5), "integer ≥ 2.*factor=0.5"),
        (lambda: built(layers.Squeeze(), 4, 5, 3), r"factor=2 divides.*\(4, 5, 3\).*[Cc]rop"),
        (lambda: built(layers.Squeeze(), 4), "spatial axes.*Reshape"),
        (lambda: built(layers.Squeeze(), None, 4, 3), "known event shape"),
        (
            lambda: built(layers.Squeeze(), 4, 4, 3).inverse(tf.zeros((1, 4, 4, 3))),
            r"outputs of 'squeeze.*\[batch, 2, 2, 12\].*\(1, 4, 4, 3\)",
        ),
        (lambda: layers.Reshape(()), r"positive sizes.*target_shape=\(\)"),
        (lambda: layers.Reshape((-1, -1)), "one may be -1"),
        (lambda: layers.Reshape((0, 2)), "positive sizes"),
        (lambda: built(layers.Reshape((5,)), 2, 3), r"target_shape=\(5,\).*\(2, 3\).*6 entries"),
        (lambda: built(layers.Reshape((-1, 4)), 2, 3), "6 entries"),
        (
            lambda: built(layers.Reshape((6,)), 2, 3).inverse(tf.zeros((2, 3))),
            r"\[batch, 6\].*\(2, 3\)",
        ),
        (lambda: layers.ChannelPad(0), "integer ≥ 1.*channels=0"),
        (lambda: built(layers.ChannelPad(1), 2).inverse(tf.zeros((1, 2))), r"\[batch, 3\]"),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()
