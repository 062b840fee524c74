"""Which pictures a trained model gets: by what it and its data are, and drawn from both."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tf_iresnet import data
from tf_iresnet.certify import Certificate
from tf_iresnet.layers.normalized import SpectralLayer
from tf_iresnet.layers.walk import walk
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.hybrid import HybridFlow
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.training import evaluation, plots, sampling
from tf_iresnet.training.checkpoints import RunState
from tf_iresnet.training.report import Picture

CELLS = 160  # a side of a density map: fine enough for the narrowest toy
IMAGES = 64
PAIRS, STEPS = 9, 9  # of the interpolations: rows and columns
POINTS = 2000
OF_EACH_CLASS = 10
CLASSES = 20  # shown, at most
ENTRIES = 2**22  # of an operator's dense matrix, up to which its spectrum is taken


def of_run(
    model: InvertibleModel,
    dataset: data.Dataset,
    certificate: Certificate,
    state: RunState,
    batch_size: int = 500,
) -> list[Picture]:
    """Returns the pictures of a finished run: of the data, of the training and of the blocks.

    Args:
        model: with the weights that were kept.
        dataset: whose test split is shown beside the model.
        certificate: of the model.
        state: of the run.
        batch_size: examples a call; the one of the evaluation saves tracing other graphs.
    """
    metric = "bits_per_dim" if dataset.bits_per_dim and isinstance(model, ResidualFlow) else "loss"
    bounds = {
        block.name: (block.lipschitz, [layer.upper_bound for layer in certificate.layers_of(block)])
        for block in certificate.blocks
    }
    return [
        *of_data(model, dataset, batch_size),
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


def of_data(model: InvertibleModel, dataset: data.Dataset, batch_size: int) -> list[Picture]:
    """Returns the pictures in which model and held-out data can be compared."""
    if not isinstance(model, ResidualFlow):
        return [_reconstructions(model, dataset, batch_size)]
    flow = model
    if dataset.image_shape is not None:
        return [
            _images(flow, dataset),
            *([_class_samples(flow, dataset)] if isinstance(flow, HybridFlow) else []),
            _reconstructions(flow, dataset, batch_size),
            _interpolations(flow, dataset, batch_size),
        ]
    if dataset.event_shape == (2,):
        return [_density(flow, dataset, batch_size)]
    return [_marginals(flow, dataset)]


def of_samples(samples: np.ndarray, meta: dict[str, Any]) -> Figure:
    """Returns a picture of samples alone, in the form that suits them.

    Args:
        samples: [n, *event], quantised if their data was.
        meta: of the data, as `sampling.describe` returns it.
    """
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


def _picture(name: str, caption: str, figure: Figure) -> Picture:
    return Picture(name, caption, plots.png(figure))


def _density(flow: ResidualFlow, dataset: data.Dataset, batch_size: int) -> Picture:
    extent = dataset.ranges.ravel()
    cells = plots.grid(extent, CELLS).astype(np.float32)
    model = np.exp(evaluation.log_prob(flow, cells, batch_size))
    samples = sampling.draw(flow, len(dataset.test), seed=0)
    coarse = CELLS // 2
    panels = {
        "held-out data (histogram)": plots.histogram(dataset.test, extent, coarse),
        "model density": model.reshape(CELLS, CELLS),
        "samples (histogram)": plots.histogram(samples, extent, coarse),
    }
    caption = f"{len(dataset.test)} held-out points, the density of the model, and as many samples."
    return _picture("density", caption, plots.densities(panels, extent, dataset.columns))


def _images(flow: ResidualFlow, dataset: data.Dataset) -> Picture:
    panels = {"held-out": dataset.test[:IMAGES], "samples": sampling.draw(flow, IMAGES, seed=0)}
    caption = f"{IMAGES} held-out images and as many samples."
    return _picture("samples", caption, _image_grids(panels, dataset))


def _class_samples(flow: HybridFlow, dataset: data.Dataset) -> Picture:
    shown = dataset.classes[:CLASSES]
    drawn = [
        sampling.draw(flow, OF_EACH_CLASS, seed=0, batch_size=OF_EACH_CLASS, label=label)
        for label in range(len(shown))
    ]
    title = "samples given the class, one a row"
    figure = _image_grids({title: np.concatenate(drawn)}, dataset, columns=OF_EACH_CLASS)
    caption = f"Samples of each class, one a row, from the top: {', '.join(shown)}."
    return _picture("class_samples", caption, figure)


def _reconstructions(model: InvertibleModel, dataset: data.Dataset, batch_size: int) -> Picture:
    originals = dataset.test[:IMAGES]
    batch, count = next(evaluation.in_batches(originals, batch_size))
    back = np.asarray(evaluation.decode(model, model.encode(batch)))[:count]
    panels = {"held-out": originals[:count], "decode(encode(held-out))": back}
    what = "latents" if isinstance(model, ResidualFlow) else "features"
    caption = f"Held-out images and what comes back from their {what}; blank where nothing does."
    return _picture("reconstructions", caption, _image_grids(panels, dataset))


def spectra_of(model: InvertibleModel, stored: bool = False) -> list[np.ndarray]:
    """Returns the singular values of each layer whose operator isn't too large for a dense SVD.

    Args:
        model: built.
        stored: of the kernels as they are stored, instead of as they are used, normalised.
    """
    return [
        layer.singular_values(layer.kernel.value if stored else layer.normalized_kernel())
        for layer in walk(model.layer, SpectralLayer)
        if layer.dense_entries() <= ENTRIES
    ]


def _spectra(model: InvertibleModel) -> list[Picture]:
    used = spectra_of(model)
    if not used:
        return []
    stored = spectra_of(model, stored=True)
    caption = (
        "All singular values of each layer's linear operator, by a dense SVD: as the model uses it "
        "and of its kernel before it is normalised."
    )
    figure = plots.spectra({"as used": used, "kernels as they are stored": stored})
    return [_picture("spectra", caption, figure)]


def _interpolations(flow: ResidualFlow, dataset: data.Dataset, batch_size: int) -> Picture:
    count = min(PAIRS, len(dataset.test) // 2)
    ends = dataset.test[: 2 * count]
    encoded = [flow.encode(x).numpy()[:n] for x, n in evaluation.in_batches(ends, batch_size)]
    first, last = np.split(np.concatenate(encoded), 2)
    way = np.concatenate(sampling.between(flow, first, last, STEPS))
    decoded = [flow.decode(z).numpy()[:n] for z, n in evaluation.in_batches(way, batch_size)]
    title = "decode(from encode(left) to encode(right))"
    figure = _image_grids({title: np.concatenate(decoded)}, dataset, columns=STEPS)
    caption = (
        "Each row leads from one held-out image to another, in equal steps on an arc between their "
        "latents."
    )
    return _picture("interpolations", caption, figure)


def _image_grids(
    panels: dict[str, np.ndarray], dataset: data.Dataset, columns: int | None = None
) -> Figure:
    meta = sampling.describe(dataset)
    whole = {title: sampling.quantize(images, meta) for title, images in panels.items()}
    return plots.image_grids(whole, meta["image_shape"], **_scale(meta), columns=columns)


def _marginals(flow: ResidualFlow, dataset: data.Dataset) -> Picture:
    rows = dataset.test[:POINTS]
    samples = sampling.draw(flow, len(rows), seed=0)
    figure = plots.marginals({"held-out data": rows, "samples": samples}, dataset.columns)
    caption = f"Each column and each pair of columns of {len(rows)} held-out rows and samples."
    return _picture("marginals", caption, figure)


def _scale(meta: dict[str, Any]) -> dict[str, Any]:
    levels = meta["levels"]
    if levels is None:
        return {"limits": (0.0, 1.0), "unit": "intensity"}
    return {"limits": (0, levels - 1), "unit": f"grey level, 0 to {levels - 1}"}
