"""Samples of a trained flow, and files of them that others can read."""

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.training.workdir import RunError, write_atomically

BATCH = 256  # a fixed size, so that one graph does for any number of samples
ENDINGS = (".npz", ".csv", ".png")


def draw(
    flow: ResidualFlow,
    num: int,
    seed: int,
    batch_size: int = BATCH,
    temperature: float = 1.0,
    label: int | None = None,
) -> np.ndarray:
    """Returns samples, float [num, *event], in the units of the data.

    Args:
        flow: to draw from.
        num: how many.
        seed: the same one gives the same samples; fewer of them are the first of more.
        batch_size: samples a call.
        temperature: as of `ResidualFlow.sample`.
        label: the class of the samples, of a `HybridFlow`; None for all.

    Raises:
        ValueError: for a negative temperature, or a label that isn't a class.
    """
    options = {} if label is None else {"label": label}

    def sample(index: int) -> np.ndarray:
        key = tf.constant([seed, index])
        return flow.sample(batch_size, seed=key, temperature=temperature, **options).numpy()

    return np.concatenate([sample(i) for i in range(-(-num // batch_size))])[:num]


def between(flow: ResidualFlow, first: Any, last: Any, steps: int) -> np.ndarray:
    """Returns latents on the way from some to others, [n, steps, *latent], both ends included.

    The way is an arc about the mean of the base, `(sin((1 − t)θ) u₀ + sin(tθ) u₁) / sin θ` of
    standardised latents at an angle θ (Shoemake 1985, "Animating rotation with quaternion curves").
    In d dimensions almost all normal latents are about √d from their mean; the straight way would
    lead through the middle, where there are none.

    Args:
        flow: whose base has moments.
        first: latents [n, *latent].
        last: latents [n, *latent].
        steps: at least 2.
    """
    mean, scale = (np.asarray(moment) for moment in flow.base.moments())
    u, v = (
        ((np.asarray(z, np.float64) - mean) / scale).reshape(len(z), 1, -1) for z in (first, last)
    )
    lengths = np.linalg.norm(u, axis=-1, keepdims=True) * np.linalg.norm(v, axis=-1, keepdims=True)
    cosine = np.sum(u * v, axis=-1, keepdims=True) / np.maximum(lengths, 1e-30)
    angle = np.arccos(np.clip(cosine, -1, 1))
    t = np.linspace(0, 1, steps)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        arc = (np.sin((1 - t) * angle) * u + np.sin(t * angle) * v) / np.sin(angle)
    way = np.where(np.sin(angle) > 1e-4, arc, (1 - t) * u + t * v)  # an arc that is straight
    latents = way.reshape(len(u), steps, *mean.shape) * scale + mean
    return latents.astype(mean.dtype)


def quantize(values: np.ndarray, meta: Mapping[str, Any]) -> np.ndarray:
    """Returns values [n, *event] in the units the data had before noise was added to it.

    Args:
        values: continuous; entries with a `bin_width` are taken down to the value whose cell they
            lie in.
        meta: of `describe`.
    """
    if meta["bin_width"] is not None:
        width = np.asarray(meta["bin_width"], values.dtype)
        whole = np.floor(values / np.where(width > 0, width, 1)) * width
        values = np.where(width > 0, whole, values)
    return values if meta["levels"] is None else np.clip(values, 0, meta["levels"] - 1)


def describe(dataset: data.Dataset) -> dict[str, Any]:
    """Returns what samples need to be written in the form of their data, as JSON takes it."""
    own_units = dataset.levels is None and dataset.log_prob is None  # a table's columns
    return {
        "name": dataset.name,
        "columns": list(dataset.columns),
        "ranges": np.asarray(dataset.ranges, float).tolist(),
        "deviation": dataset.scale.tolist() if own_units else None,
        "levels": dataset.levels,
        "bin_width": None if dataset.bin_width is None else dataset.bin_width.tolist(),
        "image_shape": None if dataset.image_shape is None else list(dataset.image_shape),
    }


def describe_nothing(event_shape: Sequence[int]) -> dict[str, Any]:
    """Returns what `describe` would of data that nothing is known of."""
    columns = [f"x{i}" for i in range(int(np.prod(event_shape)))]
    unknown = dict.fromkeys(("ranges", "deviation", "levels", "bin_width", "image_shape"))
    return {"name": "data", "columns": columns, **unknown}


def check_output(path: pathlib.Path, overwrite: bool, endings: Sequence[str] = ENDINGS) -> None:
    """Raises RunError where no file can be written: wrong ending, no directory, one is there."""
    if path.suffix.lower() not in endings:
        raise RunError(f"Expected --output to end in {' or '.join(endings)}. Received: {path}.")
    if not path.parent.is_dir():
        raise RunError(
            f"Expected --output in a directory that exists. Received: {path}; make {path.parent}."
        )
    if path.exists() and not overwrite:
        raise RunError(f"Expected a new file. Received: {path}, which exists; add --overwrite.")


def write(path: pathlib.Path, samples: np.ndarray, meta: Mapping[str, Any]) -> None:
    """Writes samples [n, *event] as .npz (`samples`, `columns`), .csv with a header, or .png.

    Args:
        path: its ending says which.
        samples: as `draw` returns them.
        meta: of `describe`.
    """
    samples = quantize(samples, meta)
    columns = list(meta["columns"])
    buffer = io.BytesIO()
    if path.suffix.lower() == ".npz":
        np.savez_compressed(buffer, samples=samples, columns=np.array(columns))
    elif path.suffix.lower() == ".csv":
        import pandas as pd

        flat = samples.reshape(len(samples), -1)
        pd.DataFrame(flat, columns=columns).to_csv(buffer, index=False)
    else:
        from tf_iresnet.training import pictures, plots

        buffer.write(plots.png(pictures.of_samples(samples, dict(meta))))
    write_atomically(path, buffer.getvalue())
