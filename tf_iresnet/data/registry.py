"""`load(name, **options)`: data sets by the name that configs give them."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tf_iresnet.data import digits, toy
from tf_iresnet.data.arguments import check_types, parameters_of
from tf_iresnet.data.batches import WHOLE, share
from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.images import array_dataset, folder, patches, published, tfrecords
from tf_iresnet.data.randomness import STATISTICS, TEST, VALIDATION
from tf_iresnet.data.table_dataset import load_table_dataset


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
        train_batches=functools.partial(_toy_batches, truth),
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


def _toy_batches(
    truth: toy.Density, batch_size: int, seed: int, pipeline: tuple[int, int] = WHOLE
) -> Callable[[Any], Any]:
    first, last = share(batch_size, pipeline)
    return lambda step: truth.sample(batch_size, seed, step)[first:last]


DATASETS: Mapping[str, Callable[..., Dataset]] = {
    "toy": load_toy,
    "digits": digits.load_digits,
    "table": load_table_dataset,
    "digits_image": digits.load_digits_image,
    "patches": patches.load_patches,
    "image_arrays": array_dataset.load_image_arrays,
    "image_folder": folder.load_image_folder,
    "image_records": tfrecords.load_image_records,
    "mnist": published.load_mnist,
    "fashion_mnist": published.load_fashion_mnist,
    "cifar10": published.load_cifar10,
    "cifar100": published.load_cifar100,
}


def load(name: str, **options: Any) -> Dataset:
    """Returns the data set that `DATASETS[name]` makes with these options.

    Raises:
        ValueError: for an unknown name, or an option that is unknown, missing, out of range or of
            another type than the data set's.
        DataError: for a table, a folder or a download that can't be used; it names the file.
        ImportError: without a package that the data come with or that reads them.
    """
    if not isinstance(name, str) or name not in DATASETS:
        known = ", ".join(DATASETS)
        raise ValueError(f"Expected the name of a data set: {known}. Received: name={name!r}.")
    signature = inspect.signature(DATASETS[name])
    try:
        signature.bind(**options)
    except TypeError as error:
        expected = f"options of the data set {name!r}: {', '.join(signature.parameters) or 'none'}"
        raise ValueError(f"Expected {expected}. Received: {error}.") from error
    check_types(options, parameters_of(DATASETS[name]))
    return DATASETS[name](**options)
