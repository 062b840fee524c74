"""The comparison on patches: a closed form, the same patches for all, nothing done twice."""

import json

import numpy as np
import pytest
import scipy.stats

from comparisons import configs, patches
from tf_iresnet.layers.composition import InvertibleSequential
from tf_iresnet.layers.preprocessing import Logit, Rescale
from tf_iresnet.layers.reshaping import Reshape
from tf_iresnet.training.workdir import RunError

PEERS = {
    name: {**settings, "arguments": {"num_layers": 2, "hidden_units": [4]}}
    for name, settings in patches.PEERS.items()
}
EXAMPLES = 640  # for the Gaussian: more than the 192 dimensions, so that its covariance has a root


def tiny_config():
    config = configs.load_config("patches")
    config.model.update(blocks=(1,), width=4, tail_blocks=1, tail_width=4)
    config.data.update(stride=32)
    config.training.update(epochs=1, steps_per_epoch=2, batch_size=32, evaluation_examples=4)
    return config


def test_the_gaussian_is_that_of_scipy_in_the_units_of_the_data():
    random = np.random.default_rng(0)
    points = random.uniform(0, 8, size=(500, 2, 2, 1)).astype("float32")
    points[..., 1, :] = 0.5 * points[..., 0, :] + 0.5 * points[..., 1, :]
    space = InvertibleSequential([Rescale(1 / 8), Logit(0.05), Reshape([-1])])
    fitted = patches.FullGaussian(space, points)

    x = points.reshape(500, 4).astype("float64") / 8
    s = 0.05 + 0.9 * x
    z = np.log(s / (1 - s))
    slopes = np.log(0.9 / 8 / (s * (1 - s))).sum(axis=1)
    expected = scipy.stats.multivariate_normal(z.mean(0), np.cov(z.T, bias=True)).logpdf(z) + slopes
    np.testing.assert_allclose(fitted.log_prob(points), expected, atol=1e-4)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("patches") / "run"
    return workdir, patches.compare(workdir, tiny_config(), PEERS, EXAMPLES)


@pytest.mark.slow
def test_a_row_a_model_each_on_the_same_patches(compared):
    _, rows = compared
    assert [row["model"].split()[0] for row in rows] == ["Gaussian,", "TFP", "TFP", "tf_iresnet"]
    for row in rows:
        bits = -np.array(row["log_prob"]) / (192 * np.log(2))
        assert len(bits) == 1696 and row["parameters"] > 0 and row["seconds"] > 0
        assert row["bits_per_dim"] == pytest.approx(bits.mean(), abs=1e-4)
        error = bits.std(ddof=1) / np.sqrt(len(bits))
        assert row["bits_per_dim_standard_error"] == pytest.approx(error, abs=1e-4)
    assert rows[0]["parameters"] == 192 + 192 * 193 // 2
    for row in rows[:-1]:
        expected = row["bits_per_dim"] - rows[-1]["bits_per_dim"]
        assert row["above_ours"] == pytest.approx(expected, abs=1e-4)
        assert row["above_ours_standard_error"] > 0


@pytest.mark.slow
def test_what_is_finished_is_not_run_again(compared, monkeypatch, capsys):
    workdir, rows = compared
    text = (workdir / "table.csv").read_text()
    for name in ("fit", "train_and_evaluate"):
        monkeypatch.setattr(patches, name, _only_finished(getattr(patches, name), name))
    again = patches.compare(workdir, tiny_config(), PEERS, EXAMPLES)
    assert again == rows and (workdir / "table.csv").read_text() == text
    assert "1696 test patches" in capsys.readouterr().out


def _only_finished(function, name):
    def guarded(*arguments):
        assert name == "train_and_evaluate", "a flow of TFP's was trained again"
        figures = function(*arguments)
        assert (arguments[1] / "figures.json").read_text().strip() == json.dumps(figures, indent=2)
        return figures

    return guarded


@pytest.mark.slow
def test_other_settings_in_the_same_workdir_are_refused(compared):
    workdir, _ = compared
    config = tiny_config()
    config.training.batch_size = 16
    with pytest.raises(RunError, match="batch_size: 32 → 16"):
        patches.compare(workdir, config, PEERS, EXAMPLES)


def test_without_a_clone_the_error_says_so(tmp_path):
    with pytest.raises(RunError, match=r"Expected a clone.*nothing\.py"):
        configs.load_config("nothing", tmp_path)
