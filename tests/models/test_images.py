"""Image flows and classifiers: small ones, against exact Jacobians and each other."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.references import jacobian_log_det

import tf_iresnet as tfi
from tf_iresnet.layers.actnorm import ActNorm
from tf_iresnet.layers.convolution import SpectralConv2D
from tf_iresnet.layers.residual import ResidualBlock
from tf_iresnet.models.images import image_classifier, image_flow, image_hybrid

TAIL = {"tail_blocks": 1, "tail_width": 5}
SMALL = {
    "resflow-mnist": {"blocks": (2, 2), "width": 6, **TAIL},
    "idensenet-cifar10": {
        "blocks": (1, 1), "growth": 4, "depth": 1, "tail_blocks": 1, "tail_growth": 4,
    },
    "resflow-imagenet64": {"blocks": (1, 1), "width": 6, **TAIL},
    "monotone": {"block": "monotone", "blocks": (2,), "width": 6, **TAIL},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_small_flow_of_each_kind(name, tmp_path):
    architecture = "resflow-mnist" if name == "monotone" else name
    flow = tfi.image_flow((4, 4, 2), architecture, log_det="exact", seed=1, **SMALL[name])
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 4, 4, 2)), tf.float32)
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    flow.fit(x, epochs=2, verbose=0)
    z = flow.encode(x)
    assert z.shape == (3, 32)
    np.testing.assert_allclose(flow.decode(z), x, atol=1e-4)
    exact = jacobian_log_det(flow.layer, x)
    normal = -0.5 * (np.sum(np.square(z, dtype="float64"), 1) + 32 * np.log(2 * np.pi))
    np.testing.assert_allclose(flow.log_prob(x), normal + exact, rtol=1e-5, atol=1e-4)
    assert tfi.certify(flow).invertible
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))


def test_a_classifier_shares_the_blocks_and_keeps_its_features_images():
    small = {"blocks": (2, 1), "width": (3, 5), "pad_channels": 2}
    model = image_classifier((4, 4, 1), 3, seed=1, **small)
    x = tf.constant(np.random.default_rng(0).normal(size=(5, 4, 4, 1)), tf.float32)
    features = model.layer(x)
    assert features.shape == (5, 2, 2, 12)
    np.testing.assert_allclose(model.layer.inverse(features), x, atol=1e-4)
    assert model(x).shape == (5, 3)
    assert convolutions(model) == [(3, 3, 3, 3), (1, 1, 3, 3), (3, 3, 3, 3)] * 2 + [
        (3, 3, 12, 5), (1, 1, 5, 5), (3, 3, 5, 12)
    ]  # fmt: skip


def test_without_act_norm_there_is_the_same_network_else():
    """The same map, since an `ActNorm` that has seen no data is the identity."""
    small = {"blocks": (1,), "width": 2, "kernels": (3, 3), "tail_blocks": 0, "seed": 1}
    flows = [image_flow((4, 4, 1), act_norm=chosen, **small) for chosen in (True, False)]
    found = [sum(isinstance(layer, ActNorm) for layer in f._flatten_layers()) for f in flows]
    assert found == [2, 0]
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 4, 1)), tf.float32)
    np.testing.assert_allclose(*(flow.layer(x) for flow in flows), rtol=1e-6)


def test_without_a_coefficient_every_block_is_an_ordinary_one():
    small = {"blocks": (1, 1), "width": 2, "pad_channels": 0, "coefficient": None}
    model = image_classifier((4, 4, 1), 2, seed=0, **small)
    blocks = [copy.block for copy in model.layer.blocks()]
    assert len(blocks) == 2 and all(type(block) is ResidualBlock for block in blocks)
    assert all(not block.constrained and block.lipschitz == np.inf for block in blocks)
    x = np.ones((1, 4, 4, 1), "float32")
    assert np.all(np.isfinite(model(x)))


def test_a_hybrid_is_the_same_network_as_the_flow():
    small = {"blocks": (1,), "width": 2, "tail_blocks": 0}
    arguments = {"log_det": "exact", "seed": 3, **small}
    flow = tfi.image_flow((2, 2, 2), "resflow-mnist", **arguments)
    hybrid = image_hybrid((2, 2, 2), 3, "resflow-mnist", density_weight=0.5, **arguments)
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 2, 2, 2)), tf.float32)
    np.testing.assert_array_equal(hybrid.encode(x), flow.encode(x))
    assert hybrid(x).shape == (3, 3) and hybrid.density_weight == 0.5


def convolutions(model):
    """Kernels' shapes in order, as often as there are copies."""
    return [
        tuple(layer.kernel.shape[len(copy.index) :])
        for copy in model.layer.blocks()
        for layer in copy.block.branch.layers
        if isinstance(layer, SpectralConv2D)
    ]


def test_the_base_is_the_architectures_unless_another_is_asked_for():
    small = {"blocks": (1,), "width": 2, "squeeze_first": False, "seed": 0}
    assert tfi.image_flow((2, 2, 2), "iresnet-cifar10", **small).base.learned
    assert not tfi.image_flow((2, 2, 2), "iresnet-cifar10", base="normal", **small).base.learned


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (
            image_flow,
            {"architecture": "resnet"},
            r"Expected the name of an architecture: .*'resnet'",
        ),
        (image_flow, {"widht": 3}, r"Expected fields of an architecture: .*widht"),
        (image_flow, {"block": "triangular"}, r"residual.*monotone.*'triangular'"),
        (image_flow, {"blocks": (2, 0)}, r"at least 1 .*\(2, 0\)"),
        (image_flow, {"width": [4, 4]}, r"each of the 3 scales.*\(4, 4\)"),
        (image_flow, {"pad_channels": 2}, r"no log-determinant.*pad_channels=2.*image_classifier"),
        (image_flow, {"coefficient": None}, r"Expected a coefficient.*None.*image_classifier"),
        (image_hybrid, {"num_classes": 2, "pad_channels": 2}, "no log-determinant"),
        (image_hybrid, {"num_classes": 2, "base": "normal"}, "no base: HybridFlow.*'normal'"),
        (image_classifier, {"num_classes": 2, "base": "normal"}, "no base: IResNetClassifier"),
        (image_classifier, {"num_classes": 2, "factor_out": True}, "Pass factor_out=False"),
        (
            image_classifier,
            {"num_classes": 2, "architecture": "resflow-mnist"},
            r"tail_blocks=4 \('resflow-mnist'\).*Pass tail_blocks=0",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make((8, 8, 1), **changes)
