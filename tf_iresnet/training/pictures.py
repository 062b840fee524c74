"""The pictures of a trained model, chosen by what it and its data are."""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tf_iresnet import data
from tf_iresnet.certify import Certificate
from tf_iresnet.layers.spectral import SpectralLayer
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.hybrid import HybridFlow
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.numerics import norms
from tf_iresnet.training import evaluation, plots, sampling
from tf_iresnet.training.checkpoints import RunState

CELLS = 160  # per side of a density map: fine enough for the narrowest toy
IMAGES = 64
PAIRS, STEPS = 9, 9  # rows and columns of the interpolations
POINTS = 2000
SAMPLES_PER_CLASS = 10
CLASSES = 20  # shown, at most
ENTRIES = 2**22  # of an operator's dense matrix, at most, for its singular values


class Picture(NamedTuple):
    """A PNG file's bytes and what is seen in it."""

    name: str
    caption: str
    png: bytes


def _picture(name: str, caption: str, figure: Figure) -> Picture:
    return Picture(name, caption, plots.png(figure))


def run_pictures(
    model: InvertibleModel,
    dataset: data.Dataset,
    certificate: Certificate,
    state: RunState,
    batch_size: int = 500,
) -> list[Picture]:
    """Returns the pictures of a finished run: of the data, of the training and of the blocks."""
    metric = "bits_per_dim" if dataset.bits_per_dim and isinstance(model, ResidualFlow) else "loss"
    bounds = {
        block.name: (block.lipschitz, [layer.upper_bound for layer in certificate.layers_of(block)])
        for block in certificate.blocks
    }
    return [
        *data_pictures(model, dataset, batch_size),
        _picture(
            "learning_curve",
            "Training and validation loss; the marked epoch's weights were kept.",
            plots.learning_curve(state.rows, state.best_epoch, metric),
        ),
        _picture(
            "lipschitz",
            "Upper bounds: on the Lipschitz constant of each residual block (bars) and on the "
            "spectral norm of each of its layers (dots).",
            plots.lipschitz_bounds(bounds),
        ),
        *_spectra(model),
    ]


def data_pictures(model: InvertibleModel, dataset: data.Dataset, batch_size: int) -> list[Picture]:
    """Returns the pictures that compare a model with held-out data."""
    if not isinstance(model, ResidualFlow):
        return [_reconstructions(model, dataset, batch_size)]
    if dataset.image_shape is not None:
        return [
            _images(model, dataset),
            *([_class_samples(model, dataset)] if isinstance(model, HybridFlow) else []),
            _reconstructions(model, dataset, batch_size),
            _interpolations(model, dataset, batch_size),
        ]
    if dataset.event_shape == (2,):
        return [_density(model, dataset, batch_size)]
    return [_marginals(model, dataset)]


def samples_figure(samples: np.ndarray, meta: Mapping[str, Any]) -> Figure:
    """Returns a figure of samples [n, *event], quantised as their data of `describe_data` was."""
    if meta["image_shape"] is not None:
        shown = {"samples": samples[:IMAGES]}
        return plots.image_grids(shown, meta["image_shape"], **_scale(meta))
    columns = meta["columns"]
    if samples.shape[1:] == (2,):
        extent = np.ravel(meta["ranges"]) if meta["ranges"] else plots.window(samples)
        cells = max(10, min(CELLS, int(np.sqrt(len(samples)) / 2)))  # few points, coarse cells
        panel = plots.histogram(samples, extent, cells)
        return plots.densities({f"{len(samples)} samples": panel}, extent, columns)
    return plots.marginals({"samples": samples}, columns)


def singular_values(model: InvertibleModel, stored: bool = False) -> list[np.ndarray]:
    """Returns the singular values of layers, normalised or as `stored`, if a dense SVD is cheap."""
    found: list[np.ndarray] = []
    for layer in model._flatten_layers():
        if isinstance(layer, SpectralLayer):
            kernel = layer.kernel.value if stored else layer.normalized_kernel()
            linear_map, _ = layer.norm_map(kernel)
            shape = (*linear_map.input_shape, *linear_map.output_shape)
            if np.prod(shape) <= ENTRIES:
                values = norms.singular_values(linear_map)
                found += list(values.reshape(-1, values.shape[-1]))
    return found


def _density(flow: ResidualFlow, dataset: data.Dataset, batch_size: int) -> Picture:
    extent = dataset.ranges.ravel()
    cells = plots.grid(extent, CELLS).astype(np.float32)
    density = np.exp(evaluation.log_prob(flow, cells, batch_size))
    samples = sampling.draw(flow, len(dataset.test), seed=0)
    panels = {
        "held-out data (histogram)": plots.histogram(dataset.test, extent, CELLS // 2),
        "model density": density.reshape(CELLS, CELLS),
        "samples (histogram)": plots.histogram(samples, extent, CELLS // 2),
    }
    caption = f"{len(dataset.test)} held-out points, the density of the model, and as many samples."
    return _picture("density", caption, plots.densities(panels, extent, dataset.columns))


def _marginals(flow: ResidualFlow, dataset: data.Dataset) -> Picture:
    rows = dataset.test[:POINTS]
    panels = {"held-out data": rows, "samples": sampling.draw(flow, len(rows), seed=0)}
    caption = f"Each column and each pair of columns of {len(rows)} held-out rows and samples."
    return _picture("marginals", caption, plots.marginals(panels, dataset.columns))


def _images(flow: ResidualFlow, dataset: data.Dataset) -> Picture:
    panels = {"held-out": dataset.test[:IMAGES], "samples": sampling.draw(flow, IMAGES, seed=0)}
    caption = f"{IMAGES} held-out images and as many samples."
    return _picture("samples", caption, _image_grids(panels, dataset))


def _class_samples(flow: HybridFlow, dataset: data.Dataset) -> Picture:
    shown, count = dataset.classes[:CLASSES], SAMPLES_PER_CLASS
    drawn = [
        sampling.draw(flow, count, seed=0, batch_size=count, label=label)
        for label in range(len(shown))
    ]
    panels = {"samples given the class, one per row": np.concatenate(drawn)}
    caption = f"Samples of each class, one per row, from the top: {', '.join(shown)}."
    return _picture("class_samples", caption, _image_grids(panels, dataset, count))


def _reconstructions(model: InvertibleModel, dataset: data.Dataset, batch_size: int) -> Picture:
    originals = dataset.test[:IMAGES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # failures are seen, as NaN
        z = evaluation.map_batches(model.encode, originals, batch_size)
        back = evaluation.map_batches(model.decode, z, batch_size)
    panels = {"held-out": originals, "decode(encode(held-out))": back}
    what = "latents" if isinstance(model, ResidualFlow) else "features"
    caption = f"Held-out images and their reconstructions from the {what}; blank where that fails."
    return _picture("reconstructions", caption, _image_grids(panels, dataset))


def _interpolations(flow: ResidualFlow, dataset: data.Dataset, batch_size: int) -> Picture:
    count = min(PAIRS, len(dataset.test) // 2)
    ends = evaluation.map_batches(flow.encode, dataset.test[: 2 * count], batch_size)
    latents = np.concatenate(sampling.between(flow, ends[:count], ends[count:], STEPS))
    decoded = evaluation.map_batches(flow.decode, latents, batch_size)
    panels = {"decode(from encode(left) to encode(right))": decoded}
    caption = "Each row: an arc in equal steps between the latents of two held-out images."
    return _picture("interpolations", caption, _image_grids(panels, dataset, STEPS))


def _image_grids(
    panels: dict[str, np.ndarray], dataset: data.Dataset, columns: int | None = None
) -> Figure:
    meta = sampling.describe_data(dataset)
    whole = {title: sampling.quantize(images, meta) for title, images in panels.items()}
    return plots.image_grids(whole, meta["image_shape"], **_scale(meta), columns=columns)


def _scale(meta: Mapping[str, Any]) -> dict[str, Any]:
    top = (meta["levels"] or 2) - 1  # without levels, an intensity in [0, 1]
    unit = f"grey level, 0 to {top}" if meta["levels"] else "intensity"
    return {"limits": (0, top), "unit": unit}


def _spectra(model: InvertibleModel) -> list[Picture]:
    panels = {
        "as used": singular_values(model),
        "kernels as they are stored": singular_values(model, stored=True),
    }
    if not panels["as used"]:
        return []
    caption = (
        "All singular values of each layer's linear operator, by a dense SVD: as the model uses it "
        "and of its kernel before it is normalised."
    )
    return [_picture("spectra", caption, plots.spectra(panels))]
