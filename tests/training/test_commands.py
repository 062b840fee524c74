"""Files of samples read back as the samples; nothing is overwritten or half done."""

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from tf_iresnet.layers import Rescale
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.training import commands, sampling
from tf_iresnet.training.workdir import RunError

RNG = np.random.default_rng(0)
META = {**sampling.describe_unknown_data((3,)), "columns": ["age", "weight, kg", "dose"]}
SAMPLES = RNG.normal([40, 70, 0.1], [10, 9, 0.02], size=(200, 3)).astype("float32")


def saved(path, *event_shape):
    flow = ResidualFlow([Rescale(2.0)])
    flow.build((None, *event_shape))
    flow.save(path)
    return str(path)


def test_samples_are_drawn_at_a_temperature(tmp_path):
    model, output = saved(tmp_path / "flow.keras", 2), tmp_path / "s.npz"
    spread = []
    for temperature in (0.0, 0.5, 1.0):
        commands.sample(str(output), model=model, num=50, overwrite=True, temperature=temperature)
        with np.load(output) as archive:
            spread.append(archive["samples"].std())
    assert spread[0] == 0 and spread[1] == pytest.approx(spread[2] / 2)


def test_samples_of_images_keep_their_shape(tmp_path):
    output = tmp_path / "s.npz"
    commands.sample(str(output), model=saved(tmp_path / "flow.keras", 4, 5, 3), num=7)
    with np.load(output) as archive:
        assert archive["samples"].shape == (7, 4, 5, 3)
        assert len(archive["columns"]) == 60


def test_a_model_of_images_is_not_measured_on_a_table(tmp_path):
    model = saved(tmp_path / "flow.keras", 4, 5, 3)
    (tmp_path / "my.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(RunError, match=r"a model of vectors.*of shape \(4, 5, 3\)"):
        commands.evaluate(
            model=model, table=str(tmp_path / "my.csv"), output=str(tmp_path / "e.json")
        )


def test_csv_has_the_columns_of_the_table_and_every_bit(tmp_path):
    path = tmp_path / "samples.csv"
    commands.write_samples(path, SAMPLES, META)
    table = pd.read_csv(path)
    assert list(table) == ["age", "weight, kg", "dose"]
    np.testing.assert_array_equal(table.to_numpy("float32"), SAMPLES)


def test_npz_needs_no_pickle(tmp_path):
    path = tmp_path / "samples.npz"
    commands.write_samples(path, SAMPLES, META)
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["samples"], SAMPLES)
        assert archive["columns"].tolist() == META["columns"]


@pytest.mark.parametrize(
    ("samples", "meta"),
    [
        (SAMPLES, META),
        (SAMPLES[:, :2], sampling.describe_unknown_data((2,))),
        (
            RNG.uniform(0, 17, (5, 64)),
            {**sampling.describe_unknown_data((64,)), "levels": 17, "image_shape": [8, 8]},
        ),
        (
            RNG.uniform(0, 256, (5, 6, 5, 3)),
            {**sampling.describe_unknown_data((90,)), "levels": 256, "image_shape": [6, 5, 3]},
        ),
        (
            RNG.uniform(0, 17, (5, 8, 8, 1)),
            {**sampling.describe_unknown_data((64,)), "levels": 17, "image_shape": [8, 8, 1]},
        ),
    ],
    ids=["table", "plane", "images", "colour", "one channel"],
)
def test_png_is_a_picture(samples, meta, tmp_path):
    path = tmp_path / "samples.png"
    commands.write_samples(path, samples, meta)
    assert np.std(matplotlib.image.imread(path)[..., :3]) > 0.01


def test_nothing_is_overwritten_unasked(tmp_path):
    path = tmp_path / "samples.csv"
    path.write_text("mine")
    with pytest.raises(RunError, match=r"samples\.csv, which exists; add --overwrite"):
        commands.check_output(path, overwrite=False)
    commands.check_output(path, overwrite=True)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["samples.xlsx", "samples", "nowhere/samples.csv"])
def test_what_cannot_be_written_is_said_before_anything_is_drawn(name, tmp_path):
    with pytest.raises(RunError, match="Expected --output"):
        commands.check_output(tmp_path / name, overwrite=False)
