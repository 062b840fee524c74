"""`load(name, **options)`: data sets by the name that configs give them."""

import functools
import inspect
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_iresnet.data import digits, tables, toy
from tf_iresnet.data.column_evidence import find_forms, plain_forms
from tf_iresnet.data.columns import ColumnForm, encode, usual_rows
from tf_iresnet.data.dataset import Dataset, finite_dataset
from tf_iresnet.data.images import folder, patches, published
from tf_iresnet.data.randomness import STATISTICS, TEST, VALIDATION
from tf_iresnet.data.splits import Split


def load_toy(
    density: str = "8gaussians", validation_size: int = 5000, test_size: int = 20000
) -> Dataset:
    """Returns a toy density as a data set that never repeats an example.

    Args:
        density: one of `toy.DENSITIES`.
        validation_size, test_size: numbers of held-out samples, at least 2.
    """
    for name, size in (("validation_size", validation_size), ("test_size", test_size)):
        if size < 2:
            raise ValueError(f"Expected {name} to be at least 2. Received: {name}={size}.")
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
        training_rows=lambda: sample,
    )


def load_table(
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    key: str | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    split_seed: int = 0,
    steps: str = "auto",
    outliers: str = "leave_out",
) -> Dataset:
    """Returns a user's table as a data set, in the user's units.

    Args:
        path, columns, key: see `tables.load_table`.
        validation, test: fractions of the rows held out.
        split_seed: seed of the random split, below 2³².
        steps: "auto" finds the steps, atoms and bounds of each column in the training rows, and
            fills steps and atoms with noise, see `columns`; "none" takes all numbers for
            continuous, on which a density can grow without bound where values recur.
        outliers: "leave_out" leaves rows out that hold a cell which is an error by the evidence of
            the training rows, see `column_evidence`, and says so in the notes; "keep" keeps them.
    """
    for option, value, choices in (
        ("steps", steps, ("auto", "none")),
        ("outliers", outliers, ("leave_out", "keep")),
    ):
        if value not in choices:
            expected = f"Expected {option} to be one of {', '.join(choices)}."
            raise ValueError(f"{expected} Received: {option}={value!r}.")
    table = tables.load_table(path, columns, key)
    parts = table.split(split_seed, validation, test)
    found = find_forms(parts.train, table.columns, table.categories, keep=outliers == "keep")
    parts, left_out = _usual_parts(parts, found.forms)
    table.check_scale(parts.train)
    forms = found.forms if steps == "auto" else plain_forms(found.forms)
    lower, widths = (Split(*pair) for pair in zip(*(encode(forms, p) for p in parts), strict=True))
    bin_width = np.array([form.step for form in forms])
    ends = lower.train.min(axis=0), (lower.train + widths.train).max(axis=0)
    return finite_dataset(
        lower,
        bin_width,
        cell_widths=widths if any(form.atoms for form in forms) else None,
        name=pathlib.Path(path).stem,
        columns=table.columns,
        ranges=np.stack(ends, axis=-1).astype(np.float32),
        forms=forms,
        notes=(*table.notes, *found.notes, *left_out),
    )


def _usual_parts(parts: Split, forms: Sequence[ColumnForm]) -> tuple[Split, list[str]]:
    """The parts without rows that hold a cell which is an error, and a sentence about these."""
    usual = [usual_rows(forms, part) for part in parts]
    counts = [int(np.sum(~rows)) for rows in usual]
    if not any(counts):
        return parts, []
    each = ", ".join(
        f"{count} of {len(part)} {name} rows"
        for count, part, name in zip(counts, parts, ("training", "validation", "test"), strict=True)
    )
    kept = Split(*(part[rows] for part, rows in zip(parts, usual, strict=True)))
    return kept, [f"Left out, since they hold such a cell: {each}."]


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
