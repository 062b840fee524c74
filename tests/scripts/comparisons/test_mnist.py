"""Densities of MNIST's images: fits at equal time, each in its process, and what one knows."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from comparisons import configs, mnist_densities, mnist_report, pinned
from tf_iresnet import log_det
from tf_iresnet.training import build
from tf_iresnet.training.train import train_and_evaluate
from tf_iresnet.training.workdir import RunError

SMALL = {"blocks": (1, 1), "width": (4, 4), "tail_blocks": 1, "tail_width": 4}
TRAINING = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 4, "evaluation_batch_size": 20}
PEERS = {
    "realnvp": {
        "peer": {
            "layer": "real_nvp",
            "arguments": {"num_layers": 2, "hidden_units": [4]},
            "preprocessing": {"name": "logit", "alpha": 1e-6},
        }
    },
    "glow": {"glow": {**mnist_densities.PEERS["glow"]["glow"], "steps": 1, "channels": 4}},
}


@pytest.fixture
def images(tmp_path):
    """Random ones, in the form of MNIST."""
    random = np.random.default_rng(0)
    parts = {}
    for part, count in (("train", 120), ("test", 40)):
        parts[f"x_{part}"] = random.integers(256, size=(count, 28, 28), dtype=np.uint8)
        parts[f"y_{part}"] = random.integers(10, size=count, dtype=np.uint8)
    np.savez(tmp_path / "mnist.npz", **parts)
    return str(tmp_path / "mnist.npz")


def options(images):
    data = {"validation_size": 20}
    changes = {"model": SMALL, "data": data, "training": TRAINING}
    return {"minutes": 0.05, "path": images, "changes": changes, "peers": PEERS}


def test_names_choose_flows_and_unknown_ones_are_refused(tmp_path):
    ours, peers = mnist_densities.OURS, [*mnist_densities.PEERS]
    assert mnist_densities._select([], mnist_densities.PEERS) == [ours, *peers]
    assert mnist_densities._select(["maf"], mnist_densities.PEERS) == [ours, "maf"]
    every = mnist_densities._select(["variants"], mnist_densities.PEERS)
    assert every == [ours, *mnist_densities.VARIANTS]
    with pytest.raises(RunError, match=r"--only to name flows.*glow.*Received: gloe"):
        mnist_densities.compare(tmp_path / "run", only=["gloe"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", mnist_densities.VARIANTS)
def test_variants_change_fields_and_so_have_runs_of_their_own(name, tmp_path):
    ours, variant = (
        mnist_densities._run(tmp_path, which, 1.0, None, None, {})
        for which in (mnist_densities.OURS, name)
    )
    assert ours.path.name.split("_")[1] != variant.path.name.split("_")[1]
    for field, value in mnist_densities.VARIANTS[name].items():
        section, key = field.split(".")
        before = ours.argument["config"][section].get(key)
        assert variant.argument["config"][section][key] == value != before
    model = variant.argument["config"]["model"]
    build.check_model(model)
    log_det.get(model["log_det"])


def test_where_the_images_lie_does_not_make_another_run(tmp_path):
    here, there = (
        mnist_densities._run(tmp_path, "ours", 1.0, path, None, {}) for path in (None, "there.npz")
    )
    assert here.path == there.path
    assert there.argument["config"]["data"]["path"] == "there.npz"


@pytest.mark.slow
def test_flows_are_trained_and_judged_on_the_same_images(images, tmp_path, monkeypatch, capsys):
    """In processes of their own; a second call trains nothing."""
    pytest.importorskip("normflows")
    only = ["ours", "centered", *PEERS]
    rows = mnist_densities.compare(tmp_path / "run", only=only, **options(images))
    assert [row["flow"] for row in rows] == ["ours", "realnvp", "glow", "centered"]
    for row in rows:
        assert 7 < row["bits_per_dim"] < 20 and row["bits_per_dim_standard_error"] > 0
        assert row["parameters"] > 0 and row["steps"] > 0 and row["cpu_seconds"] > 0
        difference = row["bits_per_dim"] - rows[0]["bits_per_dim"]
        assert row is rows[0] or row["above_ours"] == pytest.approx(difference, abs=1e-6)
    assert (tmp_path / "run" / "table.csv").read_text().count("\n") == 5
    assert "20 validation images" in capsys.readouterr().out
    called = []
    monkeypatch.setattr(pinned, "call", lambda calls, jobs: called.append([*calls]))
    assert mnist_densities.compare(tmp_path / "run", only=only, **options(images)) == rows
    assert called == [[]]


GLOW = """
import json, numpy as np, torch
from comparisons import mnist_fit

torch.manual_seed(0)
flow = mnist_fit.glow((1, 4, 4), 2, 2, 5, 0.05).double()
x = torch.rand(20, 1, 4, 4, dtype=torch.double)
flow.log_prob(x, None)  # initialises its normalisations
with torch.no_grad():
    for name, weight in flow.named_parameters():
        if "param_map" in name:  # the couplings, which begin as the identity
            weight += 0.1 * torch.randn_like(weight)

def latents(x):
    return torch.cat([z.flatten() for z in flow.inverse_and_log_det(x[None])[0]])

jacobians = np.stack([torch.autograd.functional.jacobian(latents, image).flatten(1) for image in x])
z = np.stack([latents(image).detach() for image in x])
print(json.dumps([z.tolist(), jacobians.tolist(), flow.log_prob(x, None).tolist()]))
"""


@pytest.mark.slow
def test_glow_is_a_density_of_images_by_its_jacobian():
    """In a process of its own, as some versions of torch and TensorFlow don't bear each other."""
    pytest.importorskip("normflows")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-c", GLOW], env=environment, capture_output=True, text=True, check=True
    )
    z, jacobians, log_prob = map(np.array, json.loads(found.stdout))
    expected = scipy.stats.norm.logpdf(z).sum(axis=1) + np.linalg.slogdet(jacobians)[1]
    np.testing.assert_allclose(log_prob, expected, atol=1e-6)
    assert np.std(log_prob) > 0.1


def test_the_nearest_images_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    images, among = (random.integers(256, size=(n, 5, 5, 1)).astype(float) for n in (7, 50))
    index, distance = mnist_report.nearest_images(images, among)
    flat, others = images.reshape(7, -1), among.reshape(50, -1)
    expected = NearestNeighbors(n_neighbors=1).fit(others).kneighbors(flat)
    np.testing.assert_array_equal(index, expected[1][:, 0])
    np.testing.assert_allclose(distance, expected[0][:, 0], rtol=1e-5)
    again, zero = mnist_report.nearest_images(among[3:5], among)
    assert list(again) == [3, 4] and np.all(zero == 0)


def test_samples_stand_above_their_neighbours_in_rows():
    first, second = np.arange(40), 100 + np.arange(40)
    shown = mnist_report.above_one_another(first, second).reshape(4, mnist_report.ROW)
    np.testing.assert_array_equal(shown[1::2], shown[::2] + 100)
    np.testing.assert_array_equal(shown[::2].ravel(), np.arange(32))


def test_other_images_are_the_same_ones_turned_and_others():
    images = np.random.default_rng(0).integers(256, size=(30, 28, 28, 1)).astype(float)
    others = mnist_report.other_images(images, 256)
    for name, shown in others.items():
        assert shown.shape == images.shape and shown.min() >= 0 and shown.max() <= 255, name
        np.testing.assert_array_equal(shown, np.floor(shown))
    same = {"left to right", "upside down", "turned by 90°", "inverted"}
    assert len({shown.tobytes() for shown in (images, *others.values())}) == 7
    for name in same - {"inverted"}:
        np.testing.assert_array_equal(np.sort(others[name], axis=None), np.sort(images, axis=None))
    np.testing.assert_array_equal(others["inverted"] + images, 255)
    turned = others["turned by 90°"]
    np.testing.assert_array_equal(turned[:, 0, 0], images[:, 0, -1])


def test_scaled_digits_are_bright_where_digits_are():
    digits = load_digits().images
    scaled = mnist_report.scaled_digits(len(digits), 24, 256)[..., 0]
    middles = scaled.reshape(-1, 8, 3, 8, 3)[:, :, 1, :, 1]
    np.testing.assert_allclose(middles, digits * 255 / 16, atol=0.51)
    assert len(mnist_report.scaled_digits(10, 28, 256)) == 10


@pytest.mark.slow
def test_a_report_of_a_run_on_images(images, tmp_path, capsys):
    config = configs.load_config("resflow", arguments=("mnist-small",))
    config.data.update(path=images, validation_size=20)
    config.model.update(SMALL)
    config.training.update(TRAINING, evaluation_examples=4)
    figures = train_and_evaluate(config, tmp_path / "run")
    rows = mnist_report.compare(tmp_path / "run")
    assert rows[0]["images"] == "held out" and len(rows) == 7
    assert rows[0]["bits_per_dim"] == pytest.approx(figures["bits_per_dim"], abs=0.02)
    assert all(0 <= row["auroc"] <= 1 for row in rows[1:]) and "auroc" not in rows[0]
    made = {path.name for path in (tmp_path / "run" / "report").iterdir()}
    assert made == {"temperatures.png", "neighbours.png", "table.csv"}
    assert "levels per pixel" in capsys.readouterr().out
