"""The pictures of a run, as matplotlib figures made from arrays; nothing here knows a model.

In all of them `panels` maps a title to what is drawn below it, one panel beside another. An
`extent` is `(left, right, bottom, top)`; square maps [size, size] on it have rows from the bottom.
"""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import cm, colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DATA, MODEL = ("#1f5a99", "#d1603d")  # distinct without colour vision, too


def png(figure: Figure, dots_per_inch: int = 110) -> bytes:
    """Returns a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    # No version in the metadata: the same run gives the same file.
    figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()


def window(points: np.ndarray, margin: float = 0.15) -> np.ndarray:
    """Returns the square extent around points [n, 2], except 0.2 % outliers."""
    low, high = np.quantile(points, [0.001, 0.999], axis=0)
    centre, half = (low + high) / 2, (high - low).max() * (0.5 + margin)
    return np.ravel([[c - half, c + half] for c in centre])


def grid(extent: np.ndarray, size: int) -> np.ndarray:
    """Returns the centres [size², 2] of the cells of a square map."""
    left, right, bottom, top = extent
    cells = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(left + (right - left) * cells, bottom + (top - bottom) * cells)
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def histogram(points: np.ndarray, extent: np.ndarray, size: int) -> np.ndarray:
    """Returns the density of points [n, 2] as a square map, a histogram."""
    left, right, bottom, top = extent
    limits = [[bottom, top], [left, right]]
    counts, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=size, range=limits)
    return counts / (len(points) * (right - left) * (top - bottom) / size**2)


def densities(panels: Mapping[str, np.ndarray], extent: np.ndarray, axes: Sequence[str]) -> Figure:
    """Draws square maps of densities, per unit of area, on one scale; `axes` are two names."""
    figure, plots = _panels(panels, 3.4, 3.7, extra=0.9, sharex=True, sharey=True)
    # A histogram's noise and a sharp mode's peak would leave the rest in the dark.
    shown = [panel[np.isfinite(panel) & (panel > 0)] for panel in panels.values()]
    top = max((float(np.quantile(values, 0.995)) for values in shown if values.size), default=1.0)
    scale: dict[str, Any] = {"cmap": "magma", "vmin": 0, "vmax": top}
    for plot, panel in zip(plots, panels.values(), strict=True):
        image = plot.imshow(panel, origin="lower", extent=tuple(extent), **scale)
        plot.set_xlabel(axes[0])
    plots[0].set_ylabel(axes[1])
    figure.colorbar(image, ax=plots, label="density per unit of area", extend="max")
    return figure


def _panels(
    panels: Mapping[str, Any], width: float, height: float, extra: float = 0.6, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with titled axes beside one another; sizes in inches, `width` that of one."""
    figure = Figure(figsize=(width * len(panels) + extra, height), layout="constrained")
    plots = list(figure.subplots(1, len(panels), squeeze=False, **options)[0])
    for plot, title in zip(plots, panels, strict=True):
        plot.set_title(title)
    return figure, plots


def image_grids(
    panels: Mapping[str, np.ndarray],
    shape: Sequence[int],
    limits: tuple[float, float],
    unit: str,
    columns: int | None = None,
) -> Figure:
    """Draws grids of small images, each pixel a plain square.

    Args:
        panels: images [n, *shape] or [n, prod(shape)], the same n for all.
        shape: `(height, width)`, `(height, width, 1)` or, in colour, `(height, width, 3)`.
        limits: values of black and white, or of none and all of a colour; beyond is clipped.
        unit: of a pixel's value, for the scale that grey images get.
        columns: images per row; as many as there are rows if None.
    """
    count = len(next(iter(panels.values())))
    columns = columns or int(np.ceil(np.sqrt(count)))
    shape = shape[:2] if tuple(shape[2:]) == (1,) else shape
    low, high = limits
    figure, plots = _panels(panels, 4.6, 5.0, extra=0.8)
    for plot, images in zip(plots, panels.values(), strict=True):
        canvas = tile(images.reshape(-1, *shape), columns)
        if canvas.ndim == 3:
            # Colours full at 1 and transparent where a pixel is NaN.
            known = np.isfinite(canvas).all(axis=-1, keepdims=True)
            colours = np.clip(np.where(known, (canvas - low) / (high - low), 0), 0, 1)
            canvas = np.concatenate([colours, known], axis=-1)
        image = plot.imshow(canvas, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        plot.axis("off")
    if len(shape) == 2:  # a scale of greys would say nothing of colours
        figure.colorbar(image, ax=plots, label=unit, shrink=0.8)
    return figure


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
    """Draws "loss" or "bits_per_dim" of training and validation, from rows of metrics.csv."""
    figure, (plot,) = _panels({"Learning curve (lower is better)": rows}, 7.0, 3.8, extra=0)
    epochs = [row["epoch"] for row in rows]
    train, validation = (np.array([row[k] for row in rows]) for k in (metric, f"val_{metric}"))
    dot = "." if len(rows) < 3 else ""  # a line needs two points to be seen
    plot.plot(epochs, train, color=DATA, marker=dot, label="training (mean over the epoch)")
    plot.plot(epochs, validation, color=MODEL, marker=dot, label="validation")
    if best_epoch in epochs:
        best = validation[epochs.index(best_epoch)]
        label = f"kept: epoch {best_epoch}, {best:.3f}"
        plot.plot([best_epoch], [best], "o", color=MODEL, markeredgecolor="black", label=label)
    unit = "bits per dimension" if metric == "bits_per_dim" else "nats per example"
    plot.set(xlabel="epoch", ylabel=unit)
    values = np.concatenate([train, validation])
    values = values[np.isfinite(values)]
    if len(values) >= 10:  # the steep start is cut off: it would flatten all that follows
        low, high = float(values.min()), float(np.quantile(values, 0.9))
        if high > low:
            plot.set_ylim(low - 0.1 * (high - low), high + 0.5 * (high - low))
    plot.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    if len(epochs) < 3:
        plot.set_xticks(epochs)
    plot.grid(alpha=0.3)
    plot.legend()
    return figure


Line = tuple[Sequence[float], Sequence[float]]  # x, and y > 0


def curves(
    panels: Mapping[str, Mapping[str, Line]], xlabel: str, ylabel: str, log_x: bool = False
) -> Figure:
    """Draws lines, by their labels, over an axis, linear or not, against a logarithmic one."""
    figure, plots = _panels(panels, 3.9, 3.9, sharey=True)
    for plot, lines in zip(plots, panels.values(), strict=True):
        for marker, (label, (x, y)) in zip("os^vD*", lines.items(), strict=False):
            plot.plot(x, y, marker=marker, markersize=4, label=label)
        plot.set(xlabel=xlabel, xscale="log" if log_x else "linear", yscale="log")
        plot.grid(alpha=0.3)
    plots[0].set_ylabel(ylabel)
    plots[0].legend()
    return figure


def lipschitz_bounds(blocks: Mapping[str, tuple[float, Sequence[float]]]) -> Figure:
    """Draws the certified Lipschitz bound of each block and of each layer in it.

    `blocks` maps a name to upper bounds on the Lipschitz constant of its branch, and on the
    spectral norm of each of the branch's layers, from the first.
    """
    title = "Certified Lipschitz bound of each block and norm of each layer"
    figure, (plot,) = _panels({title: blocks}, 7.0, 1.9 + 0.26 * len(blocks), extra=0)
    bounds, norms = zip(*blocks.values(), strict=True)
    bars = plot.barh(list(blocks), bounds, color=[DATA if b < 1 else MODEL for b in bounds])
    plot.bar_label(bars, [f"{b:.3f}" for b in bounds], label_type="center", color="white")
    layers = list(itertools.zip_longest(*norms, fillvalue=np.nan))  # of all blocks the first, …
    depth = len(layers)
    shades = colormaps["YlOrBr"](np.linspace(0.25, 0.85, depth))
    handles: list[Any] = [plot.axvline(1.0, color="black", linestyle="--")]
    for index, (shade, layer) in enumerate(zip(shades, layers, strict=True)):
        # Equal norms side by side, not hidden.
        places = np.arange(len(blocks)) + 0.7 * ((index + 1) / (depth + 1) - 0.5)
        style: dict[str, Any] = {"color": shade, "markeredgecolor": "black", "linestyle": ""}
        handles += plot.plot(layer, places, "o", markersize=4, clip_on=False, **style)
    plot.set_xlabel("upper bound on Lip(g), g the branch of a block, and on the norm of its layers")
    plot.set_xlim(0, 1.15 * max(1.0, *bounds, *itertools.chain(*norms)))
    plot.invert_yaxis()
    names = ["below 1 the block is invertible", *(f"layer {index}" for index in range(depth))]
    figure.legend(handles, names, loc="outside lower center", ncols=min(6, depth + 1))
    return figure


def spectra(panels: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """Draws the singular values [n] of layers, from the largest; one line per layer."""
    figure, plots = _panels(panels, 4.2, 3.9, sharey=True)
    colours = colormaps["viridis"]
    for plot, layers in zip(plots, panels.values(), strict=True):
        for values, shade in zip(layers, colours(np.linspace(0, 0.9, len(layers))), strict=True):
            places = np.linspace(0, 1, len(values))
            plot.plot(places, values, color=shade, linewidth=1, marker="." * (len(values) == 1))
        plot.axhline(1.0, color="black", linestyle="--", linewidth=1)
        plot.set_xlabel("rank of the singular value, as a fraction")
        plot.grid(alpha=0.3)
    plots[0].set(ylabel="singular value", ylim=(0, None))
    bar = figure.colorbar(cm.ScalarMappable(cmap=colours), ax=plots, ticks=[0, 1])
    bar.ax.set_yticklabels(["first layer", "last layer"])
    return figure
