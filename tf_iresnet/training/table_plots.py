"""Pictures of a table's columns beside samples, from arrays; each panel has a scale of its own."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import patches, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import ndimage

from tf_iresnet.training.plots import DATA, MODEL

COLOURS = (DATA, MODEL)

FEW = 500  # points up to which they are drawn one by one
FEW_VALUES = 25  # of a column, up to which each has a bar of its own
BINS = (8, 60)  # of a histogram, at least and at most; and half the root of the number of values
_CELLS = 48  # per side of the map whose contours are drawn
_MASSES = (0.9, 0.5)  # of the regions that contours enclose
_MARGIN = 0.05  # of an axis beyond its quantiles
_LONGEST = 14  # letters of a category at an axis


def pairs(
    groups: Mapping[str, np.ndarray],
    columns: Sequence[str],
    texts: Mapping[int, Sequence[str]] | None = None,
) -> Figure:
    """Draws each column and each pair of columns of one or two groups, over each other.

    Args:
        groups: rows [n, d] by what they are called; of the first come the bins of histograms.
        columns: their d names.
        texts: of the columns, by index, that hold the codes 0, 1, … of categories.
    """
    count = len(columns)
    side = 2.1 if count > 2 else 3.2
    figure = Figure(figsize=(side * count + 0.7, side * count + 0.9), layout="constrained")
    axes = figure.subplots(count, count, squeeze=False)
    parts = list(groups.values())
    whole = [
        index
        for index, x in enumerate(parts[0].T)
        if len(np.unique(x)) <= FEW_VALUES and np.all(x % 1 == 0)
    ]
    ends = [limits(x) for x in np.concatenate(parts).T]
    for row, column in np.ndindex(count, count):
        plot: Any = axes[row, column]
        if column > row:
            plot.axis("off")
            continue
        if row == column:
            _column(plot, [part[:, row] for part in parts], ends[row])
        else:
            _pair(plot, [part[:, [column, row]] for part in parts])
            plot.set_ylim(ends[row])
        plot.set_xlim(ends[column])
        _label(plot, columns, row, column, texts or {}, whole)
    figure.suptitle("Columns and pairs of columns" if count > 1 else "Distribution")
    handles = [patches.Patch(color=colour) for colour in COLOURS[: len(groups)]]
    figure.legend(handles, list(groups), loc="outside lower right", ncols=2, fontsize=8)
    return figure


def curve(
    rows: np.ndarray, name: str, places: np.ndarray, density: np.ndarray, what: str = "data"
) -> Figure:
    """Draws a histogram of the one column of rows [n], and the density at places [m]."""
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    plot = figure.subplots()
    low, high = limits(rows)
    weights = np.full(len(rows), 1 / len(rows))  # rows beyond the axis count, too
    edges = _edges(rows, (low, high))
    heights, _ = np.histogram(rows, edges, weights=weights)
    plot.stairs(heights / np.diff(edges), edges, fill=True, color=DATA, alpha=0.35, label=what)
    plot.plot(places, density, color=MODEL, label="density of the model")
    plot.set(xlabel=name, ylabel="density", xlim=(low, high), ylim=(0, None))
    if len(rows) <= FEW:
        plot.plot(rows, np.zeros(len(rows)), "|", color=DATA, markersize=12, clip_on=False)
    plot.legend()
    figure.suptitle("Distribution")
    return figure


def limits(values: np.ndarray) -> tuple[float, float]:
    """Ends of an axis that shows all but 1 % of the values, and all of few."""
    low, high = np.quantile(values, [0.005, 0.995])
    if len(np.unique(values)) <= FEW_VALUES:
        low, high = values.min() - 0.5, values.max() + 0.5
    margin = _MARGIN * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _edges(values: np.ndarray, ends: tuple[float, float]) -> list[float]:
    """Edges of bins: as wide as Freedman and Diaconis (1981) have them, and `BINS` in number.

    Where values recur the bins are whole numbers of their steps, so that all hold as many of them.
    """
    low, high = ends
    quarter, three = np.quantile(values, [0.25, 0.75])
    width = 2 * (three - quarter) / len(values) ** (1 / 3)
    least = np.clip(0.5 * len(values) ** 0.5, *BINS)  # separate groups have wide quartiles
    count = np.clip((high - low) / width if width > 0 else BINS[1], least, BINS[1])
    width = (high - low) / count
    places = np.unique(values)
    if 1 < len(places) < len(values) / 5:
        step = np.diff(places).min()
        if width < 20 * step:
            width = step * max(1, round(width / step))
            low = places[0] - step / 2 + width * np.floor((low - places[0]) / width)
    return (low + width * np.arange(np.ceil((high - low) / width) + 1)).tolist()


def _column(plot: Axes, parts: Sequence[np.ndarray], ends: tuple[float, float]) -> None:
    rows, values = parts[0], np.unique(np.concatenate(parts))
    plot.set_yticks([])
    if len(values) <= FEW_VALUES and len(values) < len(rows):
        bar = 0.4 * (np.diff(values).min() if len(values) > 1 else 1.0)
        for part, colour, side in zip(parts, COLOURS, (-0.5, 0.5), strict=False):
            heights = [np.mean(part == value) for value in values]
            plot.bar(values + side * bar, heights, width=bar, color=colour, alpha=0.8)
        return
    edges = _edges(rows, ends)
    for part, colour, fill in zip(parts, COLOURS, (True, False), strict=False):
        shares, _ = np.histogram(part, edges, weights=np.full(len(part), 1 / len(part)))
        style = {"alpha": 0.35} if fill else {"linewidth": 1.4}
        plot.stairs(shares, edges, fill=fill, color=colour, **style)  # type: ignore[arg-type]
    plot.set_ylim(bottom=0)


def _pair(plot: Axes, parts: Sequence[np.ndarray]) -> None:
    rows = parts[0]
    if len(rows) <= FEW:
        for part, colour in reversed(list(zip(parts, COLOURS, strict=False))):  # as many of both
            x, y = _spread(part[: len(rows)]).T
            size = 4 if len(rows) <= 100 else 2.5
            plot.plot(x, y, ".", color=colour, markersize=size, alpha=0.55)
        return
    ends = np.quantile(np.concatenate(parts), [0.0025, 0.9975], axis=0)
    reach = np.maximum(ends[1] - ends[0], 1e-12)
    extent = np.stack([ends[0] - 0.25 * reach, ends[1] + 0.25 * reach], axis=1)
    for part, colour, fill in zip(parts, COLOURS, (True, False), strict=False):
        first, second = _spread(part).T
        span: Any = extent.tolist()
        counts, x, y = np.histogram2d(first, second, bins=_CELLS, range=span)
        density = ndimage.gaussian_filter(counts, 1.2)
        levels = _levels(density)
        centres = [(edges[1:] + edges[:-1]) / 2 for edges in (x, y)]
        if fill:
            for level in levels:
                plot.contourf(*centres, density.T, [level, np.inf], colors=[colour], alpha=0.25)
        else:
            plot.contour(*centres, density.T, levels, colors=[colour], linewidths=1.1)


def _spread(points: np.ndarray) -> np.ndarray:
    """Points [n, 2], those of few values moved at random, or they would hide one another."""
    moved, noise = points.copy(), np.random.RandomState(0)
    for index, x in enumerate(points.T):
        values = np.unique(x)
        if 1 < len(values) <= FEW_VALUES:
            moved[:, index] += np.diff(values).min() * noise.uniform(-0.25, 0.25, len(x))
    return moved


def _levels(density: np.ndarray) -> list[float]:
    """Values of a density that enclose `_MASSES` of it, increasing."""
    ordered = np.sort(density.ravel())[::-1]
    mass = np.cumsum(ordered) / ordered.sum()
    found = [float(ordered[np.searchsorted(mass, share)]) for share in _MASSES]
    return found if found[0] < found[1] else found[:1]


def _label(
    plot: Any,
    columns: Sequence[str],
    row: int,
    column: int,
    texts: Mapping[int, Sequence[str]],
    whole: Container[int],
) -> None:
    """Ticks and names; `whole` are the columns of a few whole numbers, by index."""
    last = len(columns) - 1
    plot.tick_params(labelsize=7)
    sides = [(plot.xaxis, column, row == last)]
    if row != column:
        sides.append((plot.yaxis, row, column == 0))
    for axis, index, named in sides:
        if index in texts and len(texts[index]) <= FEW_VALUES:
            names = [text[:_LONGEST] for text in texts[index]]
            axis.set_major_locator(ticker.FixedLocator(range(len(names))))
            axis.set_major_formatter(ticker.FixedFormatter(names))
            if axis is plot.xaxis:
                plot.tick_params(axis="x", rotation=90)
        else:
            axis.set_major_locator(ticker.MaxNLocator(4, integer=index in whole))
        if not named:
            axis.set_tick_params(labelleft=False, labelbottom=False)
    if row == last:
        plot.set_xlabel(columns[column], fontsize=9)
    if column == 0:
        plot.set_ylabel(columns[row] if row else "share", fontsize=9)
