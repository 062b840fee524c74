"""Certificates against singular values, and that they catch what a norm estimate hides."""

import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.references import jacobian

import tf_iresnet as tfi
from tf_iresnet import layers
from tf_iresnet.certify import measured_lipschitz

SLOPE = 1.0999 / 1.1  # the largest of LipSwish


def flow(num_blocks=3, **kwargs):
    return tfi.mlp_flow(3, num_blocks, hidden_units=(16, 16), seed=1, **kwargs)


def spoil(model):
    """One copy's kernel large, its vector at the smallest singular value, and one pass a call."""
    dense = model.layer.layers[-1].layer.layers[1].branch.layers[1]
    dense.rule.iterations = 1  # as in the papers
    left, _, right = np.linalg.svd(np.random.default_rng(0).normal(size=(16, 16)))
    set_copy(dense.kernel, 1, (left * np.linspace(5, 1, 16)) @ right)
    set_copy(dense.rule.leading_vector, 1, right[-1])


def set_copy(variable, index, value):
    values = variable.numpy()
    values[index] = value
    variable.assign(values)


def test_bounds_enclose_the_singular_values():
    model = flow()
    certificate = tfi.certify(model)
    assert certificate.invertible and len(certificate.blocks) == 3 and len(certificate.layers) == 9
    branch = model.layer.layers[-1].layer.layers[1].branch
    kernels = [np.asarray(dense.normalized_kernel(), np.float64) for dense in branch.layers]
    for index, block in enumerate(certificate.blocks):
        product = SLOPE**2
        for kernel, row in zip(kernels, certificate.layers_of(block), strict=True):
            norm = np.linalg.norm(kernel[index], 2)
            assert row.estimate <= norm * (1 + 1e-6) and norm <= row.upper_bound
            assert row.upper_bound <= norm * 1.001
            product *= row.upper_bound
        assert block.lipschitz == pytest.approx(product)


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


def test_of_copies_of_copies_only_the_one_that_needs_it_is_enforced():
    block = layers.ResidualBlock([layers.SpectralDense(4, normalization="power")])
    model = layers.Repeated(layers.Repeated(block, 2), 3)
    model.build((None, 4))
    (dense,) = block.branch.layers
    dense.rule.iterations = 0
    set_copy(dense.kernel, (1, 0), np.diag([5.0, 1.0, 1.0, 1.0]))
    set_copy(dense.rule.leading_vector, (1, 0), [0.0, 0.0, 0.0, 1.0])
    before = tfi.certify(model)
    assert [block.certified for block in before.blocks] == [True, True, False, True, True, True]
    kernels = dense.kernel.numpy()
    after = tfi.enforce(model)
    assert after.invertible and after.layers[2].upper_bound <= 0.97
    changed = np.any(dense.kernel.numpy() != kernels, axis=(2, 3))
    np.testing.assert_array_equal(changed, [[False, False], [True, False], [False, False]])


def test_conditional_blocks_are_enforced_for_every_condition():
    model = flow(condition_size=2)
    spoil(model)
    assert not tfi.certify(model).invertible
    certificate = tfi.enforce(model)
    assert certificate.invertible
    random = np.random.default_rng(0)
    measured = measured_lipschitz(
        model, random.normal(size=(40, 3)), 9 * random.normal(size=(40, 2))
    )
    bounds = [block.lipschitz for block in certificate.blocks]
    assert np.all(measured.max(axis=1) <= bounds)


def test_a_lipschitz_mlp_is_certified_whatever_its_weights_are_and_left_alone():
    model = flow(branch="lipschitz_mlp", condition_size=2)
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(3 * random.normal(size=weight.shape))
    certificate = tfi.certify(model)
    assert certificate.invertible and len(certificate.blocks) == 3
    for block in certificate.blocks:
        (row,) = certificate.layers_of(block)
        assert row.name == block.name and row.estimate is None
        assert row.upper_bound == block.lipschitz <= row.coefficient == 0.97
    weights = model.get_weights()
    assert tfi.enforce(model) == certificate
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_columns_of_the_tables_stand_below_one_another():
    """Numbers end where the titles of their columns do; what isn't known is left empty."""
    mixed = layers.InvertibleSequential(
        [
            layers.ResidualBlock(
                [layers.SpectralDense(6, activation="elu"), layers.SpectralDense(3)]
            ),
            layers.ResidualBlock(layers.LipschitzMLP((6,), 3)),
        ]
    )
    mixed.build((None, 3))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    lines = str(tfi.certify(mixed, x)).splitlines()
    of_layers, of_blocks = lines[:4], lines[5:8]
    for title in ("estimate", "bound", "coefficient"):
        end = of_layers[0].index(title) + len(title)
        numbers = [line[:end].split("  ")[-1] for line in of_layers[1:]]
        unknown = title == "estimate"
        assert all(re.fullmatch(r" ?\d\.\d{5}", number) for number in numbers[: 3 - unknown])
        assert not unknown or numbers[2].strip() == ""
    for title in ("Lip(g) ≤", "on data", "iterations", "tolerance"):
        end = of_blocks[0].index(title) + len(title)
        assert all(line[end - 1].isdigit() and line[end : end + 1] == " " for line in of_blocks[1:])
    assert all(line.endswith("  yes") for line in of_blocks[1:])


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
    outputs = layer.linear_map(layer.normalized_kernel()).apply(images)
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
    of_input, of_inner = concat.eta().numpy()
    of_concat = np.hypot(of_input, of_inner * rows[0].upper_bound)
    product = of_concat * rows[1].upper_bound * SLOPE * rows[2].upper_bound
    assert certificate.blocks[0].lipschitz == pytest.approx(product)


def test_convolutions_are_enforced():
    model, blocks = image_flow()
    layer = blocks.layers[1].branch.layers[0]
    layer.rule.iterations = 0
    vector = layer.rule.leading_vector
    vector.assign(np.random.default_rng(0).normal(size=vector.shape))
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


def double(units, activation=None, **kwargs):
    initializer = keras.initializers.RandomNormal(stddev=1.0, seed=units)
    kwargs = {"kernel_initializer": initializer, "dtype": "float64", **kwargs}
    return layers.SpectralDense(units, 0.9, activation=activation, **kwargs)


def test_adjacent_linear_maps_are_bounded_together():
    """By the norm of their product, exactly; an activation's largest slope counts too."""
    branch = [double(8), double(6), double(7, "sigmoid"), double(5), double(4)]
    block = layers.ResidualBlock(branch)
    block.build((None, 4))
    kernels = [layer.normalized_kernel().numpy() for layer in block.branch.layers]
    before, after = np.linalg.multi_dot(kernels[:3]), kernels[3] @ kernels[4]
    expected = 0.25 * np.linalg.norm(before, 2) * np.linalg.norm(after, 2)
    (row,) = tfi.certify(block).blocks
    assert row.lipschitz == pytest.approx(expected, rel=1e-9)
    assert expected < 0.8 * 0.25 * 0.9**5


def test_adjacent_convolutions_are_bounded_together_where_they_are_one():
    common = {"kernel_initializer": keras.initializers.RandomNormal(stddev=1.0, seed=1)}
    branch = [
        layers.SpectralConv2D(3, 3, padding="circular", **common),
        layers.SpectralConv2D(3, 1, **common),
        layers.SpectralConv2D(2, 3, padding="circular", **common),
        layers.SpectralConv2D(2, 3, padding="same", **common),
    ]
    block = layers.ResidualBlock(branch)
    block.build((None, 5, 4, 2))
    circular = block.branch.layers[:3]
    operator = tf.reshape(tf.eye(40), [40, 5, 4, 2])
    for layer in circular:
        operator = layer.linear_map(layer.normalized_kernel()).apply(operator)
    certificate = tfi.certify(block)
    joint = np.linalg.norm(np.reshape(operator, [40, -1]), 2)
    found = certificate.blocks[0].lipschitz / certificate.layers[3].upper_bound
    assert found == pytest.approx(joint, rel=1e-5)
    assert found < 0.95 * np.prod([row.upper_bound for row in certificate.layers[:3]])


BLOCKS = {
    "residual": lambda: layers.ResidualBlock([double(9, "lipswish"), double(4)]),
    "monotone": lambda: layers.MonotoneBlock([double(9, "cpila"), double(4)]),
    "inverse": lambda: layers.Inverse(layers.ResidualBlock([double(9, "sine"), double(4)])),
    "triangular": lambda: layers.TriangularBlock((3, 3), seed=1, dtype="float64"),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_what_is_measured_on_data_is_the_norm_of_the_branches_jacobian(name):
    """Where the branch is evaluated: at x, the solution or (x + y)/√2; never above Lip(g)."""
    layer = BLOCKS[name]()
    layer.build((None, 4))
    x = tf.constant(np.random.default_rng(0).normal(size=(230, 4)))
    (measured,) = measured_lipschitz(layer, x)
    block = layer.layer if name == "inverse" else layer
    y = layer(x)
    points = {"monotone": (x + y) / np.sqrt(2), "inverse": y}.get(name, x)
    expected = np.linalg.norm(jacobian(block.branch.bind(), points), 2, axis=(1, 2))
    np.testing.assert_allclose(measured, expected, rtol=1e-12)
    row = tfi.certify(layer, x).blocks[0]
    assert row.measured == measured.max() <= row.lipschitz


def test_data_are_followed_through_every_kind_of_composition():
    """Scales and copies; the blocks in the order of the certificate."""
    stage = layers.Repeated(layers.ResidualBlock([double(6, "elu"), double(4)]), 2)
    last = layers.ResidualBlock([double(6, "sine"), double(2)])
    squeeze = layers.Squeeze(dtype="float64")
    flow = tfi.ResidualFlow(layers.MultiScale([[squeeze, stage], last]))
    flow.build((None, 4, 2, 1))
    x = np.random.default_rng(0).normal(size=(30, 4, 2, 1))
    blocks = tfi.certify(flow, x).blocks
    assert len(blocks) == 3 and all(0 < block.measured <= block.lipschitz for block in blocks)
    expected, x = [], squeeze(x)
    for copy in stage.blocks():
        expected.append(np.linalg.norm(jacobian(copy.bound, x), 2, axis=(1, 2)))
        x += copy.bound(x)
    expected.append(np.linalg.norm(jacobian(last.branch.bind(), x[..., :2]), 2, axis=(1, 2)))
    measured = [block.measured for block in blocks]
    np.testing.assert_allclose(measured, np.max(expected, 1), rtol=1e-9)


def test_conditions_are_those_of_the_examples():
    block = layers.ResidualBlock([double(6, "elu", condition_size=2), double(4)])
    block.build((None, 4))
    random = np.random.default_rng(0)
    x, condition = tf.constant(random.normal(size=(150, 4))), random.normal(size=(150, 2))
    norms = np.linalg.norm(jacobian(block.branch.bind(tf.constant(condition)), x), 2, axis=(1, 2))
    np.testing.assert_allclose(measured_lipschitz(block, x, condition)[0], norms, rtol=1e-12)


def test_a_certificate_on_data_has_a_column_more():
    model = flow()
    x = np.random.default_rng(0).normal(size=(20, 3))
    certificate = tfi.certify(model, x)
    assert "on data" in str(certificate) and "on data" not in str(tfi.certify(model))
    data = certificate.to_dict()
    assert all(0 < row["measured"] <= row["lipschitz"] for row in data["blocks"])
    assert tfi.certify(model).blocks[0].measured is None


def test_blocks_of_every_kind_are_certified():
    for block in ("residual", "monotone", "implicit", "triangular"):
        certificate = tfi.certify(tfi.mlp_flow(3, 2, (6,), seed=0, block=block))
        assert certificate.invertible and len(certificate.blocks) == 2


def test_plain_keras_models_are_certified_too():
    model = keras.Sequential([keras.Input([4]), layers.SpectralDense(8), layers.SpectralDense(2)])
    assert [row.coefficient for row in tfi.certify(model).layers] == [0.97, 0.97]


# A weight that is spoilt, by the model that has it.
SPOILT = {
    "bias": lambda: flow(num_blocks=2),
    "kernel": lambda: flow(num_blocks=2),
    "leading_vector": lambda: flow(num_blocks=2),
    "kernel_sketch": lambda: flow(num_blocks=2),
    "beta": lambda: flow(num_blocks=2),
    "log_scale": lambda: flow(num_blocks=2),
    "condition_kernel": lambda: flow(num_blocks=2, condition_size=2),
    "log_multiplier_0": lambda: flow(num_blocks=2, branch="lipschitz_mlp"),
    "last_scale": lambda: flow(num_blocks=2, branch="lipschitz_mlp"),
    "loc": lambda: flow(num_blocks=2, base="learned_normal"),
}


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("name", SPOILT)
def test_a_weight_that_is_not_finite_is_named_and_nothing_is_certified(name, value):
    model = SPOILT[name]()
    weight = next(weight for weight in model.weights if weight.name == name)
    values = np.array(weight.numpy())
    last = tuple(size - 1 for size in values.shape)
    values[last] = value
    weight.assign(values)
    certificate = tfi.certify(model)
    assert not certificate.invertible
    entry = ", ".join(map(str, last))
    assert certificate.not_finite == (f"{weight.path}[{entry}] = {value}",)
    assert certificate.not_finite[0] in str(certificate) and "NOT certified" in str(certificate)
    assert certificate.blocks[0].certified  # the copy of the weight that is as it was
    outside = name in ("log_scale", "loc")  # of ActNorm and of the base
    assert certificate.blocks[1].certified == outside
    assert not tfi.enforce(model).invertible
    np.testing.assert_array_equal(weight.numpy(), values)  # nothing is covered up


def test_errors():
    with pytest.raises(ValueError, match=r"blocks or spectral layers.*Sequential.*without any"):
        tfi.certify(keras.Sequential([keras.Input([2]), keras.layers.Dense(1)]))
    with pytest.raises(ValueError, match="built model"):
        tfi.certify(layers.SpectralDense(2))
    with pytest.raises(ValueError, match=r"examples.*shape=\(0, 3\)"):
        tfi.certify(flow(), np.zeros([0, 3]))
    inputs = keras.Input([2])
    functional = keras.Model(inputs, layers.ResidualBlock([layers.SpectralDense(2)])(inputs))
    with pytest.raises(ValueError, match=r"InvertibleLayer.*Functional.*one by one"):
        tfi.certify(functional, np.zeros([5, 2]))
