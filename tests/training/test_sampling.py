"""Files of samples read back as the samples, in the units and columns of the data."""

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from tf_iresnet import ResidualFlow
from tf_iresnet.layers import Rescale
from tf_iresnet.training import sampling
from tf_iresnet.training.workdir import RunError

RNG = np.random.default_rng(0)
META = {**sampling.describe_nothing((3,)), "columns": ["age", "weight, kg", "dose"]}
SAMPLES = RNG.normal([40, 70, 0.1], [10, 9, 0.02], size=(200, 3)).astype("float32")


@pytest.fixture(scope="module")
def flow():
    flow = ResidualFlow([Rescale.standardize([40.0, 70.0], [10.0, 9.0])])
    flow.build((None, 2))
    return flow


def test_the_seed_alone_decides_and_fewer_samples_are_the_first_of_more(flow):
    many = sampling.draw(flow, 25, seed=3, batch_size=10)
    assert many.shape == (25, 2)
    np.testing.assert_array_equal(many[:12], sampling.draw(flow, 12, seed=3, batch_size=10))
    assert np.all(many != sampling.draw(flow, 25, seed=4, batch_size=10))
    assert len(np.unique(many, axis=0)) == 25, "batches differ"


def test_samples_come_in_the_units_of_the_data(flow):
    samples = sampling.draw(flow, 4000, seed=0)
    error = np.array([10.0, 9.0]) / np.sqrt(4000)
    assert np.all(np.abs(samples.mean(axis=0) - [40, 70]) < 4 * error)


def test_csv_has_the_columns_of_the_table_and_every_bit(tmp_path):
    path = tmp_path / "samples.csv"
    sampling.write(path, SAMPLES, META)
    table = pd.read_csv(path)
    assert list(table) == ["age", "weight, kg", "dose"]
    np.testing.assert_array_equal(table.to_numpy("float32"), SAMPLES)


def test_npz_needs_no_pickle(tmp_path):
    path = tmp_path / "samples.npz"
    sampling.write(path, SAMPLES, META)
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["samples"], SAMPLES)
        assert archive["columns"].tolist() == META["columns"]


@pytest.mark.parametrize(
    ("samples", "meta"),
    [
        (SAMPLES, META),
        (SAMPLES[:, :2], sampling.describe_nothing((2,))),
        (
            RNG.uniform(0, 17, (5, 64)),
            {**sampling.describe_nothing((64,)), "levels": 17, "image_shape": [8, 8]},
        ),
    ],
    ids=["table", "plane", "images"],
)
def test_png_is_a_picture(samples, meta, tmp_path):
    path = tmp_path / "samples.png"
    sampling.write(path, samples, meta)
    assert np.std(matplotlib.image.imread(path)[..., :3]) > 0.01


def test_noise_that_was_added_is_taken_away_again():
    """x + u with u in [0, 1) goes back to x, and only where noise was added."""
    whole = RNG.integers(0, 17, size=(50, 3)).astype("float32")
    meta = {**META, "bin_width": [1.0, 1.0, 0.0], "levels": None}
    noisy = whole + RNG.uniform(0, 0.999, size=whole.shape).astype("float32")
    found = sampling.quantize(noisy, meta)
    np.testing.assert_array_equal(found[:, :2], whole[:, :2])
    np.testing.assert_array_equal(found[:, 2], noisy[:, 2])
    beyond = sampling.quantize(np.array([[-0.3, 17.2, 5.0]]), {**meta, "levels": 17})
    np.testing.assert_array_equal(beyond, [[0, 16, 5]])


def test_nothing_is_overwritten_unasked(tmp_path):
    path = tmp_path / "samples.csv"
    path.write_text("mine")
    with pytest.raises(RunError, match=r"samples\.csv, which exists; add --overwrite"):
        sampling.check_output(path, overwrite=False)
    sampling.check_output(path, overwrite=True)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["samples.xlsx", "samples", "nowhere/samples.csv"])
def test_what_cannot_be_written_is_said_before_anything_is_drawn(name, tmp_path):
    with pytest.raises(RunError, match="Expected --output"):
        sampling.check_output(tmp_path / name, overwrite=False)
