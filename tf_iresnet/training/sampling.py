"""Samples of a trained flow, latents between others, and the form that the data had."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.data import columns
from tf_iresnet.data.columns import ColumnForm
from tf_iresnet.data.conditions import ConditionColumn
from tf_iresnet.models.flow import ResidualFlow

_BATCHES = 256, 4096  # samples drawn at once, at least and at most
_ENTRIES = 2**18  # of them


def draw(
    flow: ResidualFlow,
    num: int,
    seed: int,
    batch_size: int | None = None,
    temperature: float = 1.0,
    label: int | None = None,
    condition: np.ndarray | None = None,
) -> np.ndarray:
    """Returns samples, float [num, *event], in the units of the data.

    The same seed gives the same samples; fewer of them are the first of more. `label` is their
    class, of a `HybridFlow`; `condition` [num, size] what each is given, of a conditional flow; see
    `ResidualFlow.sample` for the temperature. Raises ValueError for a negative one, or a label that
    isn't a class.
    """
    options: dict[str, Any] = {"temperature": temperature}
    if label is not None:
        options["label"] = label
    if batch_size is None:  # by the size of an event alone, so that seeds keep their meaning
        low, high = _BATCHES
        batch_size = max(low, min(high, _ENTRIES // flow.event_size))
    batches = []
    for index in range(-(-num // batch_size)):
        if condition is not None:
            rows = np.arange(index * batch_size, (index + 1) * batch_size)
            options["condition"] = condition[np.minimum(rows, num - 1)]
        batches.append(flow.sample(batch_size, seed=tf.constant([seed, index]), **options))
    return np.concatenate(batches)[:num]


def between(flow: ResidualFlow, first: Any, last: Any, steps: int) -> np.ndarray:
    """Returns latents [n, steps ≥ 2, *latent] from `first` to `last` [n, *latent], both included.

    They lie on an arc about the mean of the base, `(sin((1 − t)θ) u + sin(tθ) v) / sin θ` of
    standardised latents at an angle θ (Shoemake 1985, "Animating rotation with quaternion curves").
    In d dimensions almost all normal latents are about √d from their mean; a straight line would
    pass through the middle, where there are none.
    """
    mean, scale = (np.asarray(moment) for moment in flow.base.moments())
    ends = (np.stack([first, last]).astype(np.float64) - mean) / scale
    u, v = ends.reshape(2, len(first), 1, -1)
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
    """Returns values [n, *event] without dequantisation noise; `meta` is their `describe_data`.

    A table's columns become values of their form, see `ColumnForm.decode`. Of other data, entries
    with a bin width become the value whose cell they are in, those beyond the levels the nearest
    level.
    """
    if meta["forms"]:
        return columns.decode(table_forms(meta), values)
    if meta["bin_width"] is not None:
        width = np.asarray(meta["bin_width"], values.dtype)
        whole = np.floor(values / np.where(width > 0, width, 1)) * width
        values = np.where(width > 0, whole, values)
    return values if meta["levels"] is None else np.clip(values, 0, meta["levels"] - 1)


def table_forms(meta: Mapping[str, Any]) -> list[ColumnForm]:
    """Returns the forms of a table's columns that `describe_data` holds; none of other data."""
    return [ColumnForm.from_dict(form) for form in meta["forms"]]


def condition_columns(meta: Mapping[str, Any]) -> list[ConditionColumn]:
    """Returns the columns that a density is given, of its `describe_data`."""
    return [ConditionColumn.from_dict(column) for column in meta["condition"]]


def describe_data(dataset: data.Dataset) -> dict[str, Any]:
    """Returns what is needed to write samples in the form of the data, in JSON's types."""
    own_units = dataset.levels is None and dataset.log_prob is None  # a table's columns
    return {
        "name": dataset.name,
        "columns": list(dataset.columns),
        "ranges": np.asarray(dataset.ranges, float).tolist(),
        "deviation": dataset.scale.tolist() if own_units else None,
        "levels": dataset.levels,
        "bin_width": None if dataset.bin_width is None else dataset.bin_width.tolist(),
        "image_shape": None if dataset.image_shape is None else list(dataset.image_shape),
        "forms": [form.to_dict() for form in dataset.forms],
        "condition": [dataclasses.asdict(column) for column in dataset.condition],
    }


def expect_described(meta: Mapping[str, Any], size: int) -> None:
    """Raises for what isn't a `describe_data` of events of so many entries; of any type."""
    for name in describe_unknown_data([size]):
        if name not in meta:
            raise KeyError(name)
    if [type(name) for name in meta["columns"]] != [str] * size:
        raise ValueError(f"columns={meta['columns']!r}")
    condition_columns(meta)
    if len(table_forms(meta)) not in (0, size):
        raise ValueError(f"forms={meta['forms']!r}")
    for name in ("deviation", "bin_width", "ranges"):
        np.asarray(meta[name] or 0, float)
    if not (meta["levels"] is None or meta["levels"] > 1):
        raise ValueError(f"levels={meta['levels']!r}")
    if meta["image_shape"] is not None and np.prod(meta["image_shape"]) != size:
        raise ValueError(f"image_shape={meta['image_shape']!r}")


def describe_unknown_data(event_shape: Sequence[int]) -> dict[str, Any]:
    """Returns `describe_data` where only the shape is known."""
    names = [f"x{i}" for i in range(int(np.prod(event_shape)))]
    unknown = dict.fromkeys(("ranges", "deviation", "levels", "bin_width", "image_shape"))
    return {"name": "data", "columns": names, "forms": [], "condition": [], **unknown}
