"""Image flows: small ones by exact Jacobians, the published ones by their numbers of parameters."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi
from tf_iresnet.models.images import ARCHITECTURES

SMALL = {
    "resflow-mnist": {"blocks": (2, 2), "width": 6, "tail_blocks": 1, "tail_width": 5},
    "idensenet-cifar10": {
        "blocks": (1, 1),
        "growth": 4,
        "depth": 1,
        "tail_blocks": 1,
        "tail_growth": 4,
    },
    "resflow-imagenet64": {"blocks": (1, 1), "width": 6, "tail_blocks": 1, "tail_width": 5},
}


SLOW = {"resflow-mnist"}  # which a config's test trains too


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in SMALL]
)
def test_a_small_flow_of_each_kind(name, tmp_path):
    flow = tfi.image_flow((4, 4, 2), name, log_det="exact", seed=1, **SMALL[name])
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 4, 4, 2)), tf.float32)
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    flow.fit(x, epochs=2, verbose=0)
    z = flow.encode(x)
    assert z.shape == (3, 32)
    np.testing.assert_allclose(flow.decode(z), x, atol=1e-4)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = flow.layer(x)
    jacobian = np.asarray(tape.jacobian(y, x), np.float64)
    exact = [np.linalg.slogdet(jacobian[i, :, i].reshape(32, 32))[1] for i in range(3)]
    normal = -0.5 * (np.sum(np.square(z, dtype="float64"), 1) + 32 * np.log(2 * np.pi))
    np.testing.assert_allclose(flow.log_prob(x), normal + exact, rtol=1e-5, atol=1e-4)
    assert tfi.certify(flow).invertible
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))


# Millions of parameters: Residual Flows, arXiv 1906.02735, table 4's models as published in their
# code; i-DenseNets, arXiv 2102.02694, section 5.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "millions"), [("resflow-cifar10", 25.2), ("idensenet-cifar10", 24.9)]
)
def test_published_architectures_have_their_number_of_parameters(name, millions):
    flow = tfi.image_flow((32, 32, 3), name, seed=0)
    count = sum(int(np.prod(w.shape)) for w in flow.trainable_weights)
    assert count == pytest.approx(1e6 * millions, rel=0.01)


def test_errors():
    with pytest.raises(ValueError, match=r"Expected the name of an architecture: .*'resnet'"):
        tfi.image_flow((8, 8, 1), "resnet")
    with pytest.raises(ValueError, match=r"Expected fields of an architecture: .*widht"):
        tfi.image_flow((8, 8, 1), widht=3)
    assert {"iresnet-cifar10", "resflow-imagenet32", "idensenet-imagenet32"} <= set(ARCHITECTURES)
