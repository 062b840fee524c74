"""Images of any shape get their pictures, and in them what belongs there."""

import io

import matplotlib.image
import numpy as np
import pytest

from tf_iresnet import data
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.training import build, pictures, plots
from tf_iresnet.training.attempts import Attempts


@pytest.fixture(params=["digits", "digits_image", "patches"])
def dataset(request):
    return data.load(request.param)


@pytest.fixture
def flow(dataset):
    flow = ResidualFlow(build.make_preprocessing("standardize", dataset))
    flow.build((None, *dataset.event_shape))
    return flow


@pytest.fixture
def drawn(monkeypatch):
    """The panels of every grid of images that is drawn, beside the options it is drawn with."""
    calls = []
    draw = plots.image_grids

    def spy(panels, *args, **kwargs):
        calls.append((panels, kwargs))
        return draw(panels, *args, **kwargs)

    monkeypatch.setattr(plots, "image_grids", spy)
    return calls


def test_data_samples_reconstructions_and_interpolations_are_shown(flow, dataset, drawn):
    attempts = Attempts()
    made = pictures.data_pictures(flow, dataset, 100, attempts)
    assert attempts.warnings == []
    assert [p.name for p in made] == ["samples", "reconstructions", "interpolations"]
    for picture in made:
        pixels = matplotlib.image.imread(io.BytesIO(picture.png), format="png")
        assert np.std(pixels[..., :3]) > 0.01 and picture.caption.endswith(".")
    originals = np.floor(dataset.test)
    for panels, _ in drawn:
        for images in panels.values():
            assert np.all(images == np.floor(images)) and images.min() >= 0
            assert images.max() <= dataset.levels - 1
    for panels, _ in drawn[:2]:
        np.testing.assert_array_equal(panels["held-out"], originals[:64])


def test_each_row_of_the_interpolations_leads_from_one_image_to_another(flow, dataset, drawn):
    pictures.data_pictures(flow, dataset, 100, Attempts())
    panels, options = drawn[-1]
    (images,) = panels.values()
    rows = images.reshape(9, options["columns"], *dataset.event_shape)
    assert rows.shape[:2] == (9, 9)
    originals = np.floor(dataset.test)
    # Floats that come back a last bit below a whole number land on the level below.
    assert np.mean(rows[:, 0] == originals[:9]) > 0.999
    assert np.mean(rows[:, -1] == originals[9:18]) > 0.999
    assert not np.any((rows[:, 4] == originals[:9]).all(axis=tuple(range(1, rows.ndim - 1))))


def test_a_picture_that_cannot_be_drawn_is_named_and_the_others_are(flow, dataset, monkeypatch):
    def broken(*_):
        raise IndexError("no arc")

    monkeypatch.setattr(pictures.sampling, "between", broken)
    attempts = Attempts()
    made = pictures.data_pictures(flow, dataset, 100, attempts)
    assert [p.name for p in made] == ["samples", "reconstructions"]
    assert attempts.warnings == [
        "Without the picture interpolations, which could not be made: IndexError: no arc."
    ]


def test_samples_alone_are_a_picture(dataset):
    meta = {"image_shape": list(dataset.image_shape), "levels": dataset.levels, "columns": []}
    figure = pictures.samples_figure(np.floor(dataset.test[:9]), meta)
    canvas = figure.axes[0].images[0].get_array()
    height, width, *rest = dataset.image_shape
    assert canvas.shape[:2] == (3 * (height + 1) + 1, 3 * (width + 1) + 1)
    assert canvas.ndim == (3 if rest == [3] else 2)
