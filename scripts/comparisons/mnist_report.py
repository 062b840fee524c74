"""What a trained density of images knows: samples, their nearest images, and other pictures.

Of a finished run on grey square images such as MNIST's; the run's own report has reconstructions,
interpolations and the learning curve.
"""

import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from comparisons import table
from comparisons.hybrid import area
from tf_iresnet.data.dequantization import dequantize_rows
from tf_iresnet.data.digits import LEVELS
from tf_iresnet.data.randomness import TEST
from tf_iresnet.training import evaluation, pictures, plots, sampling
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.workdir import RunError, write_atomically

IMAGES = 1000  # held-out ones, and of each other kind
SAMPLES = 64
TEMPERATURES = (1.0, 0.7)
ROW = 16  # samples in a row, above their nearest images
BATCH = 200
KNOWN = "held out"
COLUMNS = (
    table.Column("images", "{images}", ("images",)),
    table.Column(
        "bits/dim",
        "{bits_per_dim:.3f} ± {bits_per_dim_standard_error:.3f}",
        ("bits_per_dim", "bits_per_dim_standard_error"),
    ),
    table.Column("AUROC", "{auroc:.4f}", ("auroc",)),
)


def compare(workdir: str | os.PathLike[str], images: int = IMAGES) -> list[dict[str, Any]]:
    """Prints the table and writes it, with the pictures, to the folder `report` of the workdir.

    temperatures.png has samples at each of `TEMPERATURES`, neighbours.png rows of samples above the
    training images that are nearest to them.

    Args:
        workdir: of a finished run, of a density of grey square images.
        images: how many held-out images are judged, and how many of each other kind.

    Returns:
        A row per kind of images: `bits_per_dim` with its standard error and, of others than the
        held-out ones, `auroc`: how well ln p(x) separates these from them (1: always; ½: by
        chance).

    Raises:
        RunError: for another kind of run.
    """
    saved = SavedRun(str(workdir))
    flow, dataset, meta = saved.flow, saved.dataset(), saved.meta()
    shape, levels = dataset.event_shape, dataset.levels
    if levels is None or len(shape) != 3 or shape[0] != shape[1] or shape[2] != 1:
        expected = "Expected a density of grey square images, [size, size, 1]."
        raise RunError(f"{expected} Received: {dataset.name} of shape {shape}, in {workdir}.")
    folder = pathlib.Path(workdir) / "report"
    folder.mkdir(exist_ok=True)

    grids = {}
    for temperature in TEMPERATURES:
        drawn = sampling.draw(flow, SAMPLES, 0, SAMPLES, temperature)
        grids[f"temperature {temperature:g}"] = sampling.quantize(drawn, meta)
    write_atomically(folder / "temperatures.png", plots.png(pictures.image_grids(grids, meta)))

    test = np.floor(dataset.test[_evenly(len(dataset.test), images)])
    assert dataset.training_rows is not None
    train = np.floor(dataset.training_rows())
    samples = next(iter(grids.values()))
    distances = {}
    for name, found in (("samples", samples), (KNOWN, test[:SAMPLES])):
        nearest, distances[name] = nearest_images(found, train)
        if name == "samples":
            pairs = above_one_another(samples, train[nearest])
            panels = {"samples, each above the nearest training image": pairs}
            figure = pictures.image_grids(panels, meta, ROW)
            write_atomically(folder / "neighbours.png", plots.png(figure))
    for name, found in distances.items():
        median = np.nanmedian(found) / np.sqrt(dataset.event_size)
        print(f"From {name} to the nearest training image: {median:.2f} levels per pixel (median).")

    width, log_probs = np.ones(shape, np.float32), {}
    for name, whole in {KNOWN: test, **other_images(test, levels)}.items():
        points = dequantize_rows(whole, width, TEST)
        log_probs[name] = evaluation.log_prob(flow, points, BATCH)
    rows: list[dict[str, Any]] = []
    for name, found in log_probs.items():
        rows.append({"images": name, **evaluation.likelihood(found, dataset.event_size)})
        if name != KNOWN:
            rows[-1]["auroc"] = area(log_probs[KNOWN], found)
    print(f"\n{dataset.name}, {len(test):,} held-out images and as many others\n")
    print(table.text(COLUMNS, rows))
    print(f"\nTable: {table.write_csv(folder / 'table.csv', COLUMNS, rows)}; pictures beside it.")
    return rows


def _evenly(count: int, number: int) -> np.ndarray:
    """So many row numbers out of `count`, evenly: neighbours in a file may be alike."""
    return np.linspace(0, count - 1, min(number, count)).astype(int)


def nearest_images(images: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns which of `among` [m, *shape] is nearest to each image [n, *shape], and how far it is.

    By the Euclidean distance of the levels.
    """
    x, y = (part.reshape(len(part), -1).astype(np.float32) for part in (images, among))
    squares = np.sum(y**2, axis=1) - 2 * x @ y.T  # but for the images' own
    nearest = np.argmin(squares, axis=1)
    return nearest, np.linalg.norm(x - y[nearest], axis=1)


def above_one_another(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns images [2n, …] as rows of `ROW` of the first [n, …] and the second by turns."""
    blocks = [
        part[start : start + ROW]
        for start in range(0, len(first) // ROW * ROW, ROW)
        for part in (first, second)
    ]
    return np.concatenate(blocks)


def other_images(images: np.ndarray, levels: int) -> dict[str, np.ndarray]:
    """Returns images of whole levels that aren't of the kind of `images` [n, size, size, 1].

    The same ones mirrored, turned and inverted; as many of scikit-learn's digits, scaled up; and
    noise, in which a pixel has each level with the same probability.
    """
    random = np.random.default_rng(0)
    return {
        "left to right": images[:, :, ::-1],
        "upside down": images[:, ::-1],
        "turned by 90°": np.rot90(images, axes=(1, 2)),
        "inverted": levels - 1 - images,
        "other digits": scaled_digits(len(images), images.shape[1], levels),
        "noise": random.integers(levels, size=images.shape),
    }


def scaled_digits(num: int, size: int, levels: int) -> np.ndarray:
    """Returns scikit-learn's 8×8 digits at another size and of other levels, [num, size, size, 1].

    Bilinearly; all of them, if there are fewer than `num`.
    """
    from sklearn.datasets import load_digits

    images = load_digits().images[..., None]
    scaled = tf.image.resize(images[_evenly(len(images), num)], (size, size))
    return np.round(scaled.numpy() * ((levels - 1) / (LEVELS - 1)))
