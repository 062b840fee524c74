"""`load(name, **options)`: data sets by the name that configs give them."""

import functools
import inspect
import os
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_iresnet.data import digits, tables, toy
from tf_iresnet.data.dataset import Dataset, finite_dataset
from tf_iresnet.data.images import folder, patches, published
from tf_iresnet.data.randomness import STATISTICS, TEST, VALIDATION


def load_toy(
    density: str = "8gaussians", validation_size: int = 5000, test_size: int = 20000
) -> Dataset:
    """Returns a toy density as a data set that never repeats an example.

    Args:
        density: one of `toy.DENSITIES`.
        validation_size, test_size: numbers of held-out samples.
    """
    truth = toy.get(density)
    sample = truth.sample(20000, STATISTICS).numpy()
    return Dataset(
        name=density,
        event_shape=(2,),
        train_batches=lambda batch_size, seed: functools.partial(truth.sample, batch_size, seed),
        validation=truth.sample(validation_size, VALIDATION).numpy(),
        test=truth.sample(test_size, TEST).numpy(),
        shift=sample.mean(axis=0),
        scale=sample.std(axis=0),
        columns=("x", "y"),
        ranges=np.array(truth.bounds, np.float32),
        log_prob=truth.log_prob,
        entropy=truth.entropy,
    )


def load_table(
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    key: str | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    split_seed: int = 0,
    dequantize: bool = False,
) -> Dataset:
    """Returns a user's table as a data set, in the user's units.

    Args:
        path, columns, key: see `tables.load_table`.
        validation, test: fractions of the rows held out.
        split_seed: seed of the random split, below 2³².
        dequantize: add noise uniform in [0, 1) to the columns of small whole numbers, on which a
            density could grow without bound; otherwise a warning names them.
    """
    table = tables.load_table(path, columns, key)
    parts = table.split(split_seed, validation, test)
    table.check_scale(parts.train)
    discrete = table.discrete
    if discrete and not dequantize:
        message = (
            f"{table.path}: the columns {', '.join(discrete)} hold whole numbers only; on them a "
            "density can grow without bound. Fill the gaps between them with noise by "
            "dequantize=True, or leave them out with columns=[…]."
        )
        warnings.warn(message, UserWarning, stacklevel=3)
    bin_width = np.array([float(dequantize and c in discrete) for c in table.columns])
    ends = parts.train.min(axis=0), parts.train.max(axis=0) + bin_width
    ranges, name = np.stack(ends, axis=-1).astype(np.float32), pathlib.Path(path).stem
    return finite_dataset(parts, bin_width, name=name, columns=table.columns, ranges=ranges)


DATASETS: Mapping[str, Callable[..., Dataset]] = {
    "toy": load_toy,
    "digits": digits.load_digits,
    "table": load_table,
    "digits_image": digits.load_digits_image,
    "patches": patches.load_patches,
    "image_folder": folder.load_image_folder,
    "mnist": published.load_mnist,
    "fashion_mnist": published.load_fashion_mnist,
    "cifar10": published.load_cifar10,
    "cifar100": published.load_cifar100,
}


def load(name: str, **options: Any) -> Dataset:
    """Returns the data set that `DATASETS[name]` makes with these options.

    Raises:
        ValueError: for an unknown name, or an option that is unknown, missing or out of range.
        DataError: for a table, a folder or a download that can't be used; it names the file.
        ImportError: without a package that the data come with or that reads them.
    """
    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise ValueError(f"Expected the name of a data set: {known}. Received: name={name!r}.")
    signature = inspect.signature(DATASETS[name])
    try:
        signature.bind(**options)
    except TypeError as error:
        expected = f"options of the data set {name!r}: {', '.join(signature.parameters) or 'none'}"
        raise ValueError(f"Expected {expected}. Received: {error}.") from error
    return DATASETS[name](**options)
