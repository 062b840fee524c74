"""The pictures of a trained model, chosen by what it and its data are."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tf_iresnet import data
from tf_iresnet.certify import Certificate
from tf_iresnet.data.columns import ColumnForm
from tf_iresnet.layers.spectral import SpectralLayer
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.hybrid import HybridFlow
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.numerics import norms
from tf_iresnet.training import calibration, evaluation, plots, sampling, table_plots
from tf_iresnet.training.attempts import Attempts
from tf_iresnet.training.checkpoints import RunState
from tf_iresnet.training.sampling import table_forms
from tf_iresnet.training.table_fit import Beside

CELLS = 160  # per side of a density map: fine enough for the narrowest toy
IMAGES = 64
PAIRS, STEPS = 9, 9  # rows and columns of the interpolations
COLUMNS = 6  # of a table that are shown, at most
PLACES = 400  # at which the density of one column is drawn
SAMPLES_PER_CLASS = 10
CLASSES = 20  # shown, at most
ENTRIES = 2**22  # of an operator's dense matrix, at most, for its singular values
Panels = Mapping[str, np.ndarray]


class Picture(NamedTuple):
    """A PNG file's bytes and what is seen in it."""

    name: str
    caption: str
    png: bytes


def run_pictures(
    model: InvertibleModel,
    dataset: data.Dataset,
    certificate: Certificate,
    state: RunState,
    batch_size: int,
    attempts: Attempts,
) -> list[Picture]:
    """Returns the pictures of a finished run: of the data, of the training and of the blocks.

    Those that can't be drawn are left out, and named by `attempts`.
    """
    made = data_pictures(model, dataset, batch_size, attempts)
    metric = "bits_per_dim" if dataset.bits_per_dim and isinstance(model, ResidualFlow) else "loss"
    with attempts("the picture learning_curve"):
        curve = plots.learning_curve(state.rows, state.best_epoch, metric)
        kept = (
            "the marked epoch's weights" if state.best_epoch else "the weights that it began with"
        )
        caption = f"Training and validation loss; {kept} were kept."
        made.append(_picture("learning_curve", caption, curve))
    with attempts("the picture lipschitz"):
        bounds = {
            block.name: (
                block.lipschitz, [layer.upper_bound for layer in certificate.layers_of(block)]
            )
            for block in certificate.blocks
        }  # fmt: skip
        caption = (
            "Upper bounds: on the Lipschitz constant of the branch of each block (bars) and on the "
            "norm of each of its layers (dots)."
        )
        made.append(_picture("lipschitz", caption, plots.lipschitz_bounds(bounds)))
    with attempts("the picture spectra"):
        if spectra := singular_values(model):
            stored = singular_values(model, stored=True)
            panels = {"as used": spectra, "kernels as they are stored": stored}
            caption = (
                "All singular values of each layer's linear operator, by a dense SVD: as the model "
                "uses it and of its kernel before it is normalised."
            )
            made.append(_picture("spectra", caption, plots.spectra(panels)))
    return made


def data_pictures(
    model: InvertibleModel, dataset: data.Dataset, batch_size: int, attempts: Attempts
) -> list[Picture]:
    """Returns the pictures that compare a model with held-out data; a table has its own."""
    made: list[Picture] = []
    if dataset.conditions is not None:
        with attempts("the picture calibration"):
            made.append(_predictions(model, dataset))
    elif isinstance(model, ResidualFlow) and dataset.image_shape is None:
        if dataset.log_prob is not None:
            with attempts("the picture density"):
                made.append(_density(model, dataset, batch_size))
    else:
        meta = sampling.describe_data(dataset)
        for name, draw in _IMAGE_PANELS.items():
            with attempts(f"the picture {name}"):
                if (drawn := draw(model, dataset, batch_size)) is not None:
                    caption, panels, columns = drawn
                    whole = {t: sampling.quantize(images, meta) for t, images in panels.items()}
                    made.append(_picture(name, caption, image_grids(whole, meta, columns)))
    return made


def samples_figure(samples: np.ndarray, meta: Mapping[str, Any]) -> Figure:
    """Returns a figure of samples [n, *event], quantised as their data of `describe_data` was."""
    if meta["image_shape"] is not None:
        return image_grids({"samples": samples[:IMAGES]}, meta)
    columns = meta["columns"]
    if samples.shape[1:] == (2,):
        extent = np.ravel(meta["ranges"]) if meta["ranges"] else plots.window(samples)
        cells = max(10, min(CELLS, int(np.sqrt(len(samples)) / 2)))  # few points, coarse cells
        panel = plots.histogram(samples, extent, cells)
        return plots.densities({f"{len(samples)} samples": panel}, extent, columns)
    shown, texts = columns[:COLUMNS], _texts(table_forms(meta))
    return table_plots.pairs({"samples": samples[:, :COLUMNS]}, shown, texts)


def image_grids(panels: Panels, meta: Mapping[str, Any], columns: int | None = None) -> Figure:
    """Returns a figure of images, of values that their data of `describe_data` can have.

    For `panels` and `columns` see `plots.image_grids`.
    """
    top = (meta["levels"] or 2) - 1  # without levels, an intensity in [0, 1]
    unit = f"grey level, 0 to {top}" if meta["levels"] else "intensity"
    return plots.image_grids(panels, meta["image_shape"], (0, top), unit, columns=columns)


def singular_values(
    model: InvertibleModel, stored: bool = False, entries: int = ENTRIES
) -> list[np.ndarray]:
    """Returns the singular values of layers, normalised or as `stored`, by dense SVDs.

    Those of layers whose matrix has at most so many `entries`.
    """
    found: list[np.ndarray] = []
    for layer in model._flatten_layers():
        if isinstance(layer, SpectralLayer):
            kernel = layer.kernel.value if stored else layer.normalized_kernel()
            linear_map, _ = layer.norm_map(kernel)
            if np.prod((*linear_map.input_shape, *linear_map.output_shape)) <= entries:
                values = norms.singular_values(linear_map)
                found += list(values.reshape(-1, values.shape[-1]))
    return found


def _picture(name: str, caption: str, figure: Figure) -> Picture:
    return Picture(name, caption, plots.png(figure))


def _density(flow: ResidualFlow, dataset: data.Dataset, batch_size: int) -> Picture:
    extent, test = dataset.ranges.ravel(), dataset.test
    cells = plots.grid(extent, CELLS).astype(np.float32)
    density = np.exp(evaluation.log_prob(flow, cells, batch_size))
    samples = sampling.draw(flow, len(test), seed=0)
    panels = {
        "held-out data (histogram)": plots.histogram(test, extent, CELLS // 2),
        "model density": density.reshape(CELLS, CELLS),
        "samples (histogram)": plots.histogram(samples, extent, CELLS // 2),
    }
    caption = f"{len(test)} held-out points, the density of the model, and as many samples."
    return _picture("density", caption, plots.densities(panels, extent, dataset.columns))


def table_pictures(
    flow: ResidualFlow, dataset: data.Dataset, beside: Beside, worst: Sequence[int], batch_size: int
) -> list[Picture]:
    """Returns the pictures that compare a flow with a table, `beside` its samples.

    `worst` are its columns, those that are fitted worst first: the first few are shown.
    """
    shown = sorted(worst[:COLUMNS])
    groups = {beside.what: beside.rows[:, shown], "samples": beside.samples[:, shown]}
    names = [dataset.columns[index] for index in shown]
    some = f"The {COLUMNS} columns that are fitted worst, of {len(worst)}. "
    caption = (
        f"{some if len(worst) > COLUMNS else ''}Each column and each pair of columns of "
        f"{len(beside.rows)} {beside.what}, and of {len(beside.samples)} samples; where rows are "
        "many, regions that hold 50 % and 90 % of them, and lines that hold as much of the samples."
    )
    alone = dataset.event_size == 1 and dataset.conditions is None
    if alone and _has_curve(dataset.forms, beside.rows[:, 0]):
        low, high = table_plots.limits(beside.rows[:, 0])
        places = np.linspace(low, high, PLACES, dtype=np.float32)
        density = np.exp(evaluation.log_prob(flow, places[:, None], batch_size))
        caption = f"{len(beside.rows)} {beside.what}, and the density of the model."
        curve = table_plots.curve(beside.rows[:, 0], names[0], places, density, beside.what)
        return [_picture("density", caption, curve)]
    texts = _texts([dataset.forms[index] for index in shown] if dataset.forms else [])
    return [_picture("marginals", caption, table_plots.pairs(groups, names, texts))]


def _has_curve(forms: Sequence[ColumnForm], rows: np.ndarray) -> bool:
    """Whether one column has a density over the axis of its values, and more than a few of them."""
    cells = any(form.atoms or form.levels or form.texts for form in forms)
    return not cells and len(np.unique(rows)) > table_plots.FEW_VALUES


def _texts(forms: Sequence[ColumnForm]) -> dict[int, Sequence[str]]:
    """The texts of the columns, by index, that are categories."""
    return {index: form.texts for index, form in enumerate(forms) if form.texts}


def _predictions(flow: ResidualFlow, dataset: data.Dataset) -> Picture:
    meta, given = sampling.describe_data(dataset), dataset.conditions
    assert given is not None
    predictions = calibration.predict(flow, dataset.test, given.test, meta)
    figure = calibration.figure(predictions, dataset.columns)
    return _picture("calibration", calibration.CAPTION, figure)


# Caption, panels and number of columns of a picture of images; None of a model without it.
_Drawn = tuple[str, Panels, int | None] | None


def _samples(model: InvertibleModel, dataset: data.Dataset, batch_size: int) -> _Drawn:
    if not isinstance(model, ResidualFlow):
        return None
    panels = {
        "held-out": dataset.test[:IMAGES], "samples": sampling.draw(model, IMAGES, seed=0)
    }  # fmt: skip
    return f"{IMAGES} held-out images and as many samples.", panels, None


def _class_samples(model: InvertibleModel, dataset: data.Dataset, batch_size: int) -> _Drawn:
    if not isinstance(model, HybridFlow):
        return None
    shown, num = dataset.classes[:CLASSES], SAMPLES_PER_CLASS
    drawn = [sampling.draw(model, num, 0, batch_size=num, label=i) for i in range(len(shown))]
    panels = {"samples given the class, one per row": np.concatenate(drawn)}
    return f"Samples of each class, one per row, from the top: {', '.join(shown)}.", panels, num


def _reconstructions(model: InvertibleModel, dataset: data.Dataset, batch_size: int) -> _Drawn:
    originals = dataset.test[:IMAGES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # failures are seen, as NaN
        z = evaluation.map_batches(model.encode, originals, batch_size)
        back = evaluation.map_batches(model.decode, z, batch_size)
    panels = {"held-out": originals, "decode(encode(held-out))": back}
    what = "latents" if isinstance(model, ResidualFlow) else "features"
    caption = f"Held-out images and their reconstructions from the {what}; blank where that fails."
    return caption, panels, None


def _interpolations(model: InvertibleModel, dataset: data.Dataset, batch_size: int) -> _Drawn:
    if not isinstance(model, ResidualFlow):
        return None
    pairs = min(PAIRS, len(dataset.test) // 2)
    ends = evaluation.map_batches(model.encode, dataset.test[: 2 * pairs], batch_size)
    latents = np.concatenate(sampling.between(model, ends[:pairs], ends[pairs:], STEPS))
    decoded = evaluation.map_batches(model.decode, latents, batch_size)
    panels = {"decode(from encode(left) to encode(right))": decoded}
    caption = "Each row: an arc in equal steps between the latents of two held-out images."
    return caption, panels, STEPS


_IMAGE_PANELS = {
    "samples": _samples,
    "class_samples": _class_samples,
    "reconstructions": _reconstructions,
    "interpolations": _interpolations,
}
