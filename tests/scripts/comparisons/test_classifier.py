"""The plain network beside our classifier: the same function of the same weights."""

import csv

import numpy as np
import pytest

from comparisons import classifier
from comparisons.configs import load_config
from tf_iresnet.training import build
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.train import resolve

SMALL = {"model": {"blocks": (1, 1), "width": (3, 5), "pad_channels": 2}}


def test_both_networks_compute_the_same():
    changes = {"model": {**SMALL["model"], "coefficient": None}}
    config = resolve(load_config("iresnet_classifier", arguments=("mnist",), changes=changes))
    data = classifier.random_images(4)
    ours = build.make_model(config, data)
    plain = classifier.plain_network(config, TrainingOptions(**config["training"]))
    kernels = [w for w in ours.layer.weights if w.name in ("kernel", "bias")]
    theirs = [w for layer in plain.layers if "conv" in layer.name for w in layer.weights]
    assert len(kernels) == len(theirs) == 12
    random = np.random.default_rng(0)
    for weight, other in zip(kernels, theirs, strict=True):
        value = random.normal(size=weight.shape, scale=0.1)
        weight.assign(value)
        other.assign(np.squeeze(value, 0) if value.ndim > len(other.shape) else value)
    plain.layers[-1].set_weights(ours.head.get_weights())
    logits = ours.predict(data.test, verbose=0)
    np.testing.assert_allclose(plain.predict(data.test, verbose=0), logits, rtol=1e-4, atol=1e-5)
    assert np.ptp(logits) > 1e-3


@pytest.mark.slow
def test_the_suite_leaves_a_row_per_network(tmp_path, capsys):
    changes = {**SMALL, "training": {"batch_size": 8}}
    rows = classifier.compare(tmp_path, rounds=2, changes=changes)
    assert [row["network"] for row in rows] == [
        "plain Keras", "ours, unconstrained", "ours, c = 0.9",
    ]  # fmt: skip
    assert rows[0]["ratio"] == 1 and all(row["milliseconds"] > 0 for row in rows)
    assert rows[1]["parameters"] == rows[2]["parameters"] > rows[0]["parameters"]
    with open(tmp_path / "classifier.csv") as file:
        assert len(list(csv.DictReader(file))) == 3
    assert "training step, ms" in capsys.readouterr().out
