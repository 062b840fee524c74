"""Every kind of block that `mlp_flow` knows, as a user trains and keeps it."""

import keras
import numpy as np
import pytest

import tf_iresnet as tfi
from tf_iresnet import layers

KINDS = {
    "residual": (layers.ResidualBlock,) * 2,
    "monotone": (layers.MonotoneBlock,) * 2,
    "implicit": (layers.ResidualBlock,) * 2,
    "triangular": (layers.TriangularBlock,) * 2,
}
kinds = pytest.mark.parametrize("block", KINDS)


def small_flow(block, **kwargs):
    arguments = {"num_blocks": 2, "hidden_units": (16, 16), "activation": "sine", "seed": 1}
    return tfi.mlp_flow(2, block=block, **{**arguments, **kwargs})


def data(size):
    """Points around a parabola."""
    random = np.random.default_rng(0)
    x = random.normal(size=(size, 2)) * [1.0, 0.3]
    x[:, 1] += x[:, 0] ** 2
    return x.astype("float32")


@pytest.mark.parametrize(
    "block",
    [pytest.param(b, marks=[pytest.mark.slow] * (b != "residual")) for b in KINDS],
)
def test_a_trained_flow_is_a_density_with_an_inverse_and_a_file(block, tmp_path):
    flow, x = small_flow(block), data(256)
    assert tuple(type(copy.block) for copy in flow.layer.blocks()) == KINDS[block]
    flow.compile(keras.optimizers.Adam(1e-2))
    losses = flow.fit(x, batch_size=64, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 0.2
    np.testing.assert_allclose(flow.decode(flow.encode(x)), x, atol=2e-4)
    axis = np.linspace(-12, 12, 301)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2).astype("float32")
    density = np.exp(flow.log_prob(grid).numpy().astype("float64"))
    assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=5e-3)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_allclose(loaded.log_prob(x), flow.log_prob(x), rtol=1e-5, atol=1e-5)
    certificate = tfi.certify(flow)
    assert len(certificate.blocks) == 2 and certificate.invertible


def test_an_implicit_flow_turns_every_other_block_around():
    flow = small_flow("implicit", num_blocks=4)
    kinds = [type(layer) for layer in flow.layer.layers[-1].layer.layers]
    assert kinds == [layers.ActNorm, layers.ResidualBlock, layers.Inverse]
    assert flow.layer.num_solvers == (2, 2)


@pytest.mark.parametrize("block", ["residual", "monotone"])
def test_a_small_gain_begins_near_the_identity(block):
    """In nats of a standard normal density, which the identity would leave as it is."""
    x = np.random.default_rng(0).normal(size=(500, 2)).astype("float32")
    losses = []
    for gain in (1.0, 0.05):
        flow = small_flow(block, act_norm=False, initial_gain=gain)
        expected = -np.sum(x**2, axis=1) / 2 - np.log(2 * np.pi)
        losses.append(np.mean(np.abs(expected - flow.log_prob(x))))
    assert losses[1] < 0.1 < losses[0]


def test_triangular_widths_are_those_asked_for_a_variable():
    flow = small_flow("triangular", hidden_units=(17, 1))
    assert next(flow.layer.blocks()).block.units_per_dim == (8, 1)


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"block": "coupling"}, "'residual', 'monotone', 'implicit', 'triangular'.*'coupling'"),
        ({"block": "implicit", "num_blocks": 3}, "even num_blocks.*num_blocks=3"),
        ({"block": "triangular", "num_blocks": 1}, "even num_blocks"),
        ({"block": "triangular", "activation": "cpila"}, "each entry by itself.*cpila"),
        ({"block": "monotone", "initial_gain": 0.0}, "0 < initial_gain.*initial_gain=0.0"),
        ({"block": "residual", "initial_gain": 0.1, "branch": "lipschitz_mlp"}, "spectral ones"),
        ({"initial_gain": 0.1, "block": "triangular"}, "spectral ones.*block='triangular'"),
    ],
)
def test_errors_say_what_was_expected(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_flow(**arguments)
