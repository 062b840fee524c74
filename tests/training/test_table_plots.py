"""Each panel has its own scale, columns of few values have bars, many points have contours."""

import io

import matplotlib.image
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.contour import ContourSet

from tf_iresnet.training import plots, table_plots

RNG = np.random.default_rng(0)


def table(rows, columns=6):
    """A bounded, a large, a whole, a heavy-tailed, a mostly zero and a stepped column."""
    x = np.stack(
        [
            RNG.uniform(size=rows),
            1e6 + 1e3 * RNG.normal(size=rows),
            RNG.integers(0, 3, rows),
            RNG.standard_t(1.0, size=rows),
            np.where(RNG.random(rows) < 0.5, 0, RNG.exponential(size=rows)),
            np.round(20 * RNG.normal(size=rows)) / 2,
        ],
        axis=1,
    )
    return x[:, :columns]


def pairs(rows, columns=6):
    names = list("abcdef")[:columns]
    groups = {"held-out rows": table(rows, columns), "samples": table(4000, columns)}
    return table_plots.pairs(groups, names, {2: ["low", "middle", "high"]}), groups


@pytest.mark.parametrize("rows", [30, 300, 3000])
@pytest.mark.parametrize("columns", [1, 2, 6])
def test_tables_of_every_size_have_a_picture_with_ink_and_the_same_bytes_twice(rows, columns):
    figure, groups = pairs(rows, columns)
    pixels = matplotlib.image.imread(io.BytesIO(plots.png(figure, 40)), format="png")
    assert np.std(pixels[..., :3]) > 0.01 and figure.get_suptitle()
    twice = [plots.png(table_plots.pairs(groups, list("abcdef")[:columns]), 40) for _ in "ab"]
    assert twice[0] == twice[1]


@pytest.mark.parametrize(("rows", "contours"), [(300, False), (3000, True)])
def test_few_points_are_drawn_one_by_one_and_many_as_contours(rows, contours):
    figure, _ = pairs(rows)
    plot = figure.axes[6]  # of the second row the first
    drawn = [part for part in plot.collections if isinstance(part, ContourSet)]
    assert bool(drawn) == contours
    if not contours:
        assert [len(line.get_xdata()) for line in plot.lines] == [rows, rows], "as many of both"
    assert not any(isinstance(part, PathCollection) for part in plot.collections)


def test_every_panel_has_a_scale_of_its_own_that_shows_almost_all():
    figure, groups = pairs(3000)
    for index in range(6):
        low, high = figure.axes[7 * index].get_xlim()
        values = groups["held-out rows"][:, index]
        assert np.mean((values >= low) & (values <= high)) > 0.98
        if index != 3:  # the heavy tail
            assert high - low < 1.6 * np.ptp(values) + 2


def test_columns_of_few_values_have_a_bar_each_and_their_names():
    figure, groups = pairs(300)
    plot = figure.axes[7 * 2]
    heights = [bar.get_height() for bar in plot.patches[:3]]
    shares = np.bincount(groups["held-out rows"][:, 2].astype(int)) / 300
    np.testing.assert_allclose(heights, shares)
    figure.draw_without_rendering()
    assert [tick.get_text() for tick in figure.axes[-4].get_xticklabels()] == [
        "low", "middle", "high"
    ]  # fmt: skip


def test_contours_enclose_half_and_nine_tenths_of_a_density():
    points = RNG.normal(size=(200_000, 2))
    counts, _, _ = np.histogram2d(*points.T, bins=60, range=[[-4, 4], [-4, 4]])
    for share, level in zip((0.9, 0.5), table_plots._levels(counts), strict=True):
        assert counts[counts >= level].sum() / counts.sum() == pytest.approx(share, abs=0.01)
        # Of a normal distribution: exp(−r²/2) = 1 − share.
        assert level / counts.max() == pytest.approx(1 - share, abs=0.06)


@pytest.mark.parametrize("rows", [30, 300, 30_000])
def test_bins_grow_with_the_rows_and_hold_whole_steps(rows):
    for x in (RNG.normal(size=rows), np.round(RNG.normal(size=rows) * 20) / 2):
        edges = np.array(table_plots._edges(x, (x.min(), x.max())))
        assert 4 <= len(edges) <= 80 and edges[0] <= x.min() and edges[-1] >= x.max() - 1e-9
        assert len(edges) > 0.4 * rows**0.5 or len(edges) > 40
    if rows == 30_000:
        steps = (edges - edges[0]) / 0.5
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
        np.testing.assert_allclose(edges % 0.5, 0.25, atol=1e-9)


def test_one_column_is_a_histogram_of_area_one_below_its_density():
    x, places = RNG.normal(size=5000), np.linspace(-5, 5, 400)
    density = np.exp(-(places**2) / 2) / np.sqrt(2 * np.pi)
    plot = table_plots.curve(x, "length", places, density).axes[0]
    heights, edges, _ = plot.patches[0].get_data()
    assert np.sum(heights * np.diff(edges)) == pytest.approx(1.0, abs=0.02)
    centres = (edges[1:] + edges[:-1]) / 2
    exact = np.exp(-(centres**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(heights, exact, atol=0.06)
    assert plot.get_xlabel() == "length"
