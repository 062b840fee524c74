"""Pictures show what they are given: right way up, on one scale, none of them blank."""

import io

import matplotlib.image
import numpy as np
import pytest

from tf_iresnet.training import plots

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(4000, 2)) @ np.array([[1.0, 0.5], [0.0, 0.3]])
EXTENT = plots.window(POINTS)
IMAGES = RNG.uniform(0, 16, (10, 64))
COLOUR = RNG.uniform(0, 255, (10, 5, 6, 3))
ROWS = [
    {"epoch": e, "loss": 3 / e, "val_loss": 3 / e + 0.1, "bits_per_dim": 4 / e}
    | {"val_bits_per_dim": 4 / e + 0.1}
    for e in range(1, 15)
]
FIGURES = {
    "densities": lambda: plots.densities(
        {t: plots.histogram(POINTS, EXTENT, 20) for t in ("data", "model")}, EXTENT, ("a", "b")
    ),
    "image_grids": lambda: plots.image_grids(
        {"data": IMAGES, "samples": IMAGES[::-1]}, (8, 8), (0, 16), "grey"
    ),
    "image_grids_of_one_channel": lambda: plots.image_grids(
        {"data": IMAGES.reshape(-1, 8, 8, 1)}, (8, 8, 1), (0, 16), "grey"
    ),
    "image_grids_in_colour": lambda: plots.image_grids(
        {"data": COLOUR, "samples": COLOUR[::-1]}, (5, 6, 3), (0, 255), "level"
    ),
    "learning_curve": lambda: plots.learning_curve(ROWS, best_epoch=9, metric="bits_per_dim"),
    "learning_curve_of_one_epoch": lambda: plots.learning_curve(ROWS[:1], 1, "loss"),
    "lipschitz_bounds": lambda: plots.lipschitz_bounds(
        {"block 1": (0.9, [0.95, 0.94]), "block 2": (1.2, [1.2, 1.0, 1.0])}
    ),
    "spectra": lambda: plots.spectra({"used": [POINTS[:, 0], POINTS[:5, 1]], "stored": [[2.0]]}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_picture_has_ink_a_title_and_the_same_bytes_twice(name):
    figure = FIGURES[name]()
    pixels = matplotlib.image.imread(io.BytesIO(plots.png(figure, 50)), format="png")
    assert pixels.shape[0] > 50 and pixels.shape[1] > 50
    assert np.std(pixels[..., :3]) > 0.01
    assert figure.get_suptitle() or figure.axes[0].get_title()
    assert plots.png(FIGURES[name](), 50) == plots.png(FIGURES[name](), 50)


def test_data_and_model_share_window_and_colour_scale():
    one, two = (axes.images[0] for axes in FIGURES["densities"]().axes[:2])
    assert one.get_clim() == two.get_clim()
    assert one.get_extent() == two.get_extent()


@pytest.mark.parametrize("panel", [np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_a_density_of_nothing_is_drawn_beside_others(panel):
    """Of a model whose samples are NaN, say."""
    for panels in ({"a": panel}, {"a": panel, "b": np.ones((4, 4))}):
        assert plots.png(plots.densities(panels, np.array([0, 1, 0, 1]), ("x", "y")))


def test_histogram_is_a_density_on_the_cells_of_the_grid():
    cells = plots.grid(EXTENT, 50)
    density = plots.histogram(POINTS, EXTENT, 50).ravel()
    area = (EXTENT[1] - EXTENT[0]) * (EXTENT[3] - EXTENT[2]) / 2500
    assert density.sum() * area == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(density @ cells * area, POINTS.mean(axis=0), atol=0.02)


def test_window_holds_the_points_and_is_square():
    left, right, bottom, top = EXTENT
    assert right - left == pytest.approx(top - bottom)
    x, y = POINTS.T
    assert np.mean((x > left) & (x < right) & (y > bottom) & (y < top)) > 0.995


def test_tiles_are_read_in_rows():
    images = np.arange(3 * 4).reshape(3, 2, 2)
    canvas = plots.tile(images, columns=2)
    assert canvas.shape == (7, 7)
    np.testing.assert_array_equal(canvas[1:3, 4:6], images[1])
    np.testing.assert_array_equal(canvas[4:6, 1:3], images[2])
    assert np.isnan(canvas[0]).all()


@pytest.mark.parametrize("flat", [False, True])
def test_colours_fill_their_range_and_gaps_are_transparent(flat):
    images = COLOUR.reshape(10, -1) if flat else COLOUR
    figure = plots.image_grids({"data": images}, [5, 6, 3], (0, 255), "level", columns=3)
    canvas = figure.axes[0].images[0].get_array()
    assert canvas.shape == (4 * 6 + 1, 3 * 7 + 1, 4)
    np.testing.assert_allclose(canvas[1:6, 8:14, :3], COLOUR[1] / 255)
    np.testing.assert_allclose(canvas[7:12, 1:7, :3], COLOUR[3] / 255)
    assert np.all(canvas[1:6, 8:14, 3] == 1) and np.all(canvas[0, :, 3] == 0)
    assert np.all(canvas[-6:-1, 8:, 3] == 0), "no eleventh image"
    assert len(figure.axes) == 1, "no scale of greys"


def test_one_channel_is_drawn_as_two_dimensions_are():
    flat, image = (FIGURES[name]() for name in ("image_grids", "image_grids_of_one_channel"))
    np.testing.assert_array_equal(
        flat.axes[0].images[0].get_array(), image.axes[0].images[0].get_array()
    )


def test_values_beyond_the_range_are_cut_off():
    figure = plots.image_grids({"data": 3 * COLOUR - 200}, (5, 6, 3), (0, 255), "level")
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    assert canvas.min() == 0 and canvas.max() == 1


def test_learning_curve_marks_the_epoch_that_was_kept():
    plot = plots.learning_curve(ROWS, best_epoch=9, metric="bits_per_dim").axes[0]
    marked = plot.lines[2]
    assert marked.get_xdata()[0] == 9
    assert marked.get_ydata()[0] == pytest.approx(4 / 9 + 0.1)
