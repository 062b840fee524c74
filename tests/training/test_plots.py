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
    "learning_curve": lambda: plots.learning_curve(ROWS, best_epoch=9, metric="bits_per_dim"),
    "learning_curve_of_one_epoch": lambda: plots.learning_curve(ROWS[:1], 1, "loss"),
    "lipschitz_bounds": lambda: plots.lipschitz_bounds({"block 1": 0.9, "block 2": 1.2}),
    "marginals": lambda: plots.marginals(
        {"data": POINTS, "samples": POINTS + 1}, ["height", "weight"]
    ),
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


def test_learning_curve_marks_the_epoch_that_was_kept():
    plot = plots.learning_curve(ROWS, best_epoch=9, metric="bits_per_dim").axes[0]
    marked = plot.lines[2]
    assert marked.get_xdata()[0] == 9
    assert marked.get_ydata()[0] == pytest.approx(4 / 9 + 0.1)
