"""The pictures of a run, as matplotlib figures made from arrays; nothing here knows a model."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.cm
import matplotlib.patches
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DATA, MODEL = "#1f5a99", "#d1603d"  # told apart without colour vision, too
COLOURS = (DATA, MODEL)
HEAT = "magma"
SCATTERED = 1000  # points of a scatter plot: more would hide one another


def png(figure: Figure, dots_per_inch: int = 110) -> bytes:
    """Returns a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    # No version in the metadata: the same run gives the same file.
    figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()


def window(points: np.ndarray, margin: float = 0.15) -> np.ndarray:
    """Returns a square `(left, right, bottom, top)` around points [n, 2], a few outliers aside."""
    low, high = np.quantile(points, [0.001, 0.999], axis=0)
    centre, half = (low + high) / 2, (high - low).max() * (0.5 + margin)
    return np.ravel([[c - half, c + half] for c in centre])


def grid(extent: np.ndarray, size: int) -> np.ndarray:
    """Returns the centres [size², 2] of a square grid of cells, rows from the bottom up."""
    left, right, bottom, top = extent
    cells = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(left + (right - left) * cells, bottom + (top - bottom) * cells)
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def histogram(points: np.ndarray, extent: np.ndarray, size: int) -> np.ndarray:
    """Returns the density [size, size] of points [n, 2] as a histogram over the window."""
    left, right, bottom, top = extent
    counts, _, _ = np.histogram2d(
        points[:, 1], points[:, 0], bins=size, range=[[bottom, top], [left, right]]
    )
    return counts / (len(points) * (right - left) * (top - bottom) / size**2)


def densities(panels: Mapping[str, np.ndarray], extent: np.ndarray, axes: Sequence[str]) -> Figure:
    """Draws square density maps beside one another, in one window and one colour scale.

    Args:
        panels: title → density [size, size] per unit of area, rows from the bottom up.
        extent: `(left, right, bottom, top)` of every map.
        axes: names of the two coordinates.
    """
    figure = Figure(figsize=(3.4 * len(panels) + 0.9, 3.7), layout="constrained")
    plots = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    # A histogram's noise and a sharp mode's peak would leave the rest in the dark.
    top = max(float(np.quantile(panel[panel > 0], 0.995)) for panel in panels.values())
    for plot, (title, panel) in zip(plots, panels.items(), strict=True):
        image = plot.imshow(
            panel, origin="lower", extent=tuple(extent), cmap=HEAT, vmin=0, vmax=top
        )
        plot.set(title=title, xlabel=axes[0])
    plots[0].set_ylabel(axes[1])
    figure.colorbar(image, ax=list(plots), label="density per unit of area", extend="max")
    return figure


def image_grids(
    panels: Mapping[str, np.ndarray],
    shape: Sequence[int],
    limits: tuple[float, float],
    unit: str,
    columns: int | None = None,
) -> Figure:
    """Draws grids of small images beside one another, each pixel a plain square.

    Args:
        panels: title → images [n, *shape] or [n, prod(shape)], the same n for all.
        shape: `(height, width)`, `(height, width, 1)` or, in colour, `(height, width, 3)`.
        limits: values of black and white, or of none and all of a colour; what is beyond is cut
            off.
        unit: what a pixel's value counts, for the scale that grey images get.
        columns: images in a row; as many as there are rows if None.
    """
    count = len(next(iter(panels.values())))
    columns = columns or int(np.ceil(np.sqrt(count)))
    shape = shape[:2] if tuple(shape[2:]) == (1,) else shape
    figure = Figure(figsize=(4.6 * len(panels) + 0.8, 5.0), layout="constrained")
    plots = figure.subplots(1, len(panels), squeeze=False)[0]
    for plot, (title, images) in zip(plots, panels.items(), strict=True):
        canvas = tile(images.reshape(-1, *shape), columns)
        if canvas.ndim == 3:
            canvas = _red_green_blue_alpha((canvas - limits[0]) / (limits[1] - limits[0]))
        image = plot.imshow(
            canvas, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest"
        )
        plot.set_title(title)
        plot.axis("off")
    if len(shape) == 2:  # a scale of greys would say nothing of colours
        figure.colorbar(image, ax=list(plots), label=unit, shrink=0.8)
    return figure


def _red_green_blue_alpha(canvas: np.ndarray) -> np.ndarray:
    """Colours [height, width, 3], full at 1, as matplotlib takes them: NaN is transparent."""
    there = np.isfinite(canvas).all(axis=-1, keepdims=True)
    colours = np.clip(np.where(there, canvas, 0), 0, 1)
    return np.concatenate([colours, there], axis=-1)


def tile(images: np.ndarray, columns: int) -> np.ndarray:
    """Returns images [n, height, width, …] in rows of `columns`, a pixel of NaN between them."""
    count, height, width, *rest = images.shape
    rows = -(-count // columns)
    canvas = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, *rest), np.nan)
    for i, picture in enumerate(images):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        canvas[top : top + height, left : left + width] = picture
    return canvas


def learning_curve(rows: Sequence[Mapping[str, Any]], best_epoch: int, metric: str) -> Figure:
    """Draws training and validation loss over the epochs, the best epoch marked.

    Args:
        rows: of metrics.csv.
        best_epoch: the epoch whose weights were kept.
        metric: "bits_per_dim" or "loss"; drawn beside its "val_" twin.
    """
    unit = "bits per dimension" if metric == "bits_per_dim" else "nats per example"
    figure = Figure(figsize=(7.0, 3.8), layout="constrained")
    plot = figure.subplots()
    epochs = [row["epoch"] for row in rows]
    train = np.array([row[metric] for row in rows])
    validation = np.array([row[f"val_{metric}"] for row in rows])
    dot = "." if len(rows) < 3 else ""  # a line needs two points to be seen
    plot.plot(epochs, train, color=DATA, marker=dot, label="training (mean over the epoch)")
    plot.plot(epochs, validation, color=MODEL, marker=dot, label="validation")
    best = [row[f"val_{metric}"] for row in rows if row["epoch"] == best_epoch]
    if best:
        label = f"kept: epoch {best_epoch}, {best[0]:.3f}"
        plot.plot([best_epoch], best, "o", color=MODEL, markeredgecolor="black", label=label)
    plot.set(title="Learning curve (lower is better)", xlabel="epoch", ylabel=unit)
    _focus(plot, np.concatenate([train, validation]))
    plot.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    plot.grid(alpha=0.3)
    plot.legend()
    return figure


def _focus(plot: Axes, values: np.ndarray) -> None:
    """Cuts off the steep start, which would flatten all that follows into a line."""
    values = values[np.isfinite(values)]
    if len(values) < 10:
        return
    low, high = float(values.min()), float(np.quantile(values, 0.9))
    if high > low:
        plot.set_ylim(low - 0.1 * (high - low), high + 0.5 * (high - low))


def curves(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Draws lines over a linear axis against a logarithmic one, panels beside one another.

    Args:
        panels: title → label of a line → its x and its y > 0.
        xlabel: of every panel.
        ylabel: of all of them.
    """
    figure = Figure(figsize=(3.9 * len(panels) + 0.6, 3.9), layout="constrained")
    plots = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for plot, (title, lines) in zip(plots, panels.items(), strict=True):
        for marker, (label, (x, y)) in zip("os^vD*", lines.items(), strict=False):
            plot.plot(x, y, marker=marker, markersize=4, label=label)
        plot.set(title=title, xlabel=xlabel, yscale="log")
        plot.grid(alpha=0.3)
    plots[0].set_ylabel(ylabel)
    plots[0].legend()
    return figure


def lipschitz_bounds(blocks: Mapping[str, tuple[float, Sequence[float]]]) -> Figure:
    """Draws the certified Lipschitz bound of each residual block and of each layer in it.

    Args:
        blocks: name → upper bound on the Lipschitz constant of its branch, and on the spectral
            norm of each of the branch's layers, from the first.
    """
    figure = Figure(figsize=(7.0, 1.9 + 0.26 * len(blocks)), layout="constrained")
    plot = figure.subplots()
    bounds = np.array([bound for bound, _ in blocks.values()])
    bars = plot.barh(list(blocks), bounds, color=[DATA if b < 1 else MODEL for b in bounds])
    plot.bar_label(bars, [f"{b:.3f}" for b in bounds], label_type="center", color="white")
    depth = max(len(layers) for _, layers in blocks.values())
    shades = matplotlib.colormaps["YlOrBr"](np.linspace(0.25, 0.85, depth))
    handles: list[Any] = [plot.axvline(1.0, color="black", linestyle="--")]
    for index, shade in enumerate(shades):
        norms = [layers[index] if index < len(layers) else np.nan for _, layers in blocks.values()]
        offset = 0.7 * ((index + 1) / (depth + 1) - 0.5)  # equal norms side by side, not hidden
        places = np.arange(len(blocks)) + offset
        style: dict[str, Any] = {"color": shade, "markeredgecolor": "black", "linestyle": ""}
        handles += plot.plot(norms, places, "o", markersize=4, clip_on=False, **style)
    top = max(1.0, bounds.max(), max(max(layers) for _, layers in blocks.values()))
    plot.set(
        title="Certified Lipschitz bound of each block and norm of each layer",
        xlabel="upper bound on Lip(g), x ↦ x + g(x), and on the norm of its layers",
        xlim=(0, 1.15 * top),
    )
    plot.invert_yaxis()
    names = ["below 1 the block is invertible", *(f"layer {index}" for index in range(depth))]
    figure.legend(handles, names, loc="outside lower center", ncols=min(6, depth + 1))
    return figure


def spectra(panels: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """Draws the singular values of layers, from the largest, a line a layer.

    Args:
        panels: title → the singular values [n] of each layer, from the first; beside one another.
    """
    figure = Figure(figsize=(4.2 * len(panels) + 0.6, 3.9), layout="constrained")
    plots = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for plot, (title, layers) in zip(plots, panels.items(), strict=True):
        shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(layers)))
        for values, shade in zip(layers, shades, strict=True):
            places = np.linspace(0, 1, len(values))
            plot.plot(places, values, color=shade, linewidth=1, marker="." * (len(values) == 1))
        plot.axhline(1.0, color="black", linestyle="--", linewidth=1)
        plot.set(title=title, xlabel="rank of the singular value, as a fraction")
        plot.grid(alpha=0.3)
    plots[0].set(ylabel="singular value", ylim=(0, None))
    scale = matplotlib.cm.ScalarMappable(cmap=matplotlib.colormaps["viridis"])
    bar = figure.colorbar(scale, ax=list(plots), ticks=[0, 1])
    bar.ax.set_yticklabels(["first layer", "last layer"])
    return figure


def marginals(groups: Mapping[str, np.ndarray], columns: Sequence[str], most: int = 6) -> Figure:
    """Draws each column's histogram and each pair's scatter, the groups on top of one another.

    Args:
        groups: title → rows [n, d]; one or two of them.
        columns: names of the d columns.
        most: columns drawn, from the first.
    """
    count = min(most, len(columns))
    side = 1.75 * count + 0.8
    figure = Figure(figsize=(side, side + 0.4), layout="constrained")
    plots = figure.subplots(count, count, squeeze=False, sharex="col")
    limits = np.quantile(np.concatenate(list(groups.values())), [0.002, 0.998], axis=0)
    for row in range(count):
        for column in range(count):
            plot = plots[row, column]
            plot.tick_params(labelsize=7)
            plot.set(xlim=limits[:, column])
            if row == column:
                _histograms(plot, [rows[:, row] for rows in groups.values()], limits[:, row])
            elif column > row:
                plot.axis("off")
            else:
                plot.set(ylim=limits[:, row])
                for rows, colour in zip(groups.values(), COLOURS, strict=False):
                    x, y = rows[:SCATTERED, column], rows[:SCATTERED, row]
                    plot.plot(x, y, ".", color=colour, markersize=2, alpha=0.35)
        plots[row, 0].set_ylabel(columns[row], fontsize=9)
        plots[-1, row].set_xlabel(columns[row], fontsize=9)
    some = f" (first {count} of {len(columns)} columns)" if count < len(columns) else ""
    figure.suptitle(f"Pairwise marginals{some}")
    handles = [matplotlib.patches.Patch(color=c) for c in COLOURS[: len(groups)]]
    figure.legend(handles, list(groups), loc="outside lower right", ncols=2)
    return figure


def _histograms(plot: Axes, groups: Sequence[np.ndarray], limits: np.ndarray) -> None:
    edges = np.linspace(limits[0], limits[1], 41)
    for values, colour in zip(groups, COLOURS, strict=False):
        plot.hist(values, edges.tolist(), density=True, histtype="step", color=colour)
    plot.set_yticks([])
