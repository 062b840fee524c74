"""Certificates against singular values, and that they catch what a norm estimate hides."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi
from tf_iresnet import layers


def flow(**kwargs):
    return tfi.mlp_flow(3, num_blocks=3, hidden_units=(16, 16), seed=1, **kwargs)


def spoil(model):
    """One kernel large, its vector at the smallest singular value, and one pass a call."""
    repeated = model.layer.layers[-1]
    with repeated.copy(1) as copy:
        dense = copy.layers[1].branch.layers[1]
        dense.power_iterations = 1  # as in the papers
        left, _, right = np.linalg.svd(np.random.default_rng(0).normal(size=(16, 16)))
        dense.kernel.assign((left * np.linspace(5, 1, 16)) @ right)
        dense.vector.assign(right[-1])


def test_bounds_enclose_the_singular_values():
    model = flow()
    certificate = tfi.certify(model)
    assert certificate.invertible and len(certificate.blocks) == 3 and len(certificate.layers) == 9
    repeated = model.layer.layers[-1]
    rows = iter(certificate.layers)
    for index in range(3):
        product = 1.0
        with repeated.copy(index) as copy:
            for dense in copy.layers[1].branch.layers:
                row = next(rows)
                norm = np.linalg.norm(np.asarray(dense.normalized_kernel(), np.float64), 2)
                assert row.estimate <= norm * (1 + 1e-6) and norm <= row.upper_bound
                assert row.upper_bound <= norm * 1.001
                product *= row.upper_bound
        assert certificate.blocks[index].lipschitz == pytest.approx(product)


def test_a_block_that_is_not_invertible_is_caught_and_enforced():
    model = flow()
    spoil(model)
    before = tfi.certify(model)
    assert [block.certified for block in before.blocks] == [True, False, True]
    assert not before.invertible and "NOT certified" in str(before)
    after = tfi.enforce(model)
    assert after.invertible and tfi.certify(model) == after
    assert after.blocks[0] == before.blocks[0] and after.blocks[2] == before.blocks[2]
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    np.testing.assert_allclose(model.decode(model.encode(x)), x, atol=1e-4)


def image_flow(coefficient=0.97):
    """Two blocks of convolutions and of a dense block; unlike a kernel, their operators are big."""
    initializer = keras.initializers.RandomNormal(stddev=1.0, seed=1)
    common = {"kernel_initializer": initializer, "coefficient": coefficient}
    grow = layers.SpectralConv2D(2, 3, padding="circular", activation="clipswish", **common)
    blocks = layers.InvertibleSequential(
        [
            layers.ResidualBlock(
                [
                    layers.LipschitzConcat(grow),
                    layers.SpectralConv2D(4, 1, activation="lipswish", **common),
                    layers.SpectralConv2D(2, 3, padding="same", **common),
                ]
            ),
            layers.ResidualBlock([layers.SpectralConv2D(2, 3, padding="same", **common)]),
        ]
    )
    model = tfi.ResidualFlow(blocks)
    model.build((None, 4, 4, 2))
    return model, blocks


def operator_norm(layer, size=(4, 4)):
    """Of the normalised kernel's operator, by what it does to every unit image."""
    channels = layer.kernel.shape[-2]
    images = tf.reshape(tf.eye(size[0] * size[1] * channels), [-1, *size, channels])
    g = layer.bind()
    outputs = layer.linear(images, g.parameters[0])
    return np.linalg.norm(tf.reshape(outputs, [len(images), -1]), 2)


def test_anchor_16_bounds_of_convolutions_are_those_of_their_operators():
    model, blocks = image_flow()
    certificate = tfi.certify(model)
    assert certificate.invertible and len(certificate.layers) == 4
    concat, *others = blocks.layers[0].branch.layers
    rows = certificate.layers_of(certificate.blocks[0])
    for layer, row in zip([concat.layer, *others], rows, strict=True):
        norm = operator_norm(layer)
        assert row.estimate <= norm * (1 + 1e-5) and norm <= row.upper_bound * (1 + 1e-6)
        assert row.upper_bound <= 1.01 * row.coefficient
        reshaped = np.reshape(layer.normalized_kernel(), [-1, layer.kernel.shape[-1]])
        assert row.upper_bound > 1.05 * np.linalg.norm(reshaped, 2) or max(layer.kernel_size) == 1
    product = concat.bound_given(rows[0].upper_bound) * rows[1].upper_bound * rows[2].upper_bound
    assert certificate.blocks[0].lipschitz == pytest.approx(product)


def test_convolutions_are_enforced():
    model, blocks = image_flow()
    layer = blocks.layers[1].branch.layers[0]
    layer.power_iterations = 0
    layer.vector.assign(np.random.default_rng(0).normal(size=layer.vector.shape))
    before = tfi.certify(model)
    assert [block.certified for block in before.blocks] == [True, False]
    after = tfi.enforce(model)
    assert after.invertible and after.layers[3].upper_bound <= 0.97
    assert after.layers[:3] == before.layers[:3]
    assert operator_norm(layer) <= 0.97 * (1 + 1e-6)


def test_guaranteed_iterations_hold():
    """A branch at its bound, `g(x) = L x`: that many Picard steps certify the tolerance."""
    block = layers.ResidualBlock([layers.SpectralDense(2, 0.9, use_bias=False)], solver="picard")
    block.build((None, 2))
    block.branch.layers[0].kernel.assign(np.eye(2) * 0.9)
    row = tfi.certify(block).blocks[0]
    steps = int(row.iterations)
    assert 0.9**steps / (1 - row.lipschitz) <= row.tolerance < 0.9 ** (steps - 2) / (1 - 0.9)


def test_certificates_are_json_and_tables():
    certificate = tfi.certify(flow())
    data = json.loads(json.dumps(certificate.to_dict()))
    assert data["invertible"] is True and len(data["blocks"]) == 3
    assert "3 blocks: every block is invertible." in str(certificate)


def test_plain_keras_models_are_certified_too():
    model = keras.Sequential([keras.Input([4]), layers.SpectralDense(8), layers.SpectralDense(2)])
    assert [row.coefficient for row in tfi.certify(model).layers] == [0.97, 0.97]


def test_errors():
    with pytest.raises(ValueError, match=r"ResidualBlock or Spectral.*Sequential.*without any"):
        tfi.certify(keras.Sequential([keras.Input([2]), keras.layers.Dense(1)]))
    with pytest.raises(ValueError, match="built model"):
        tfi.certify(layers.SpectralDense(2))
