"""From the sections of a config to data set, model, optimizer and batches."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.layers.preprocessing import Logit, Rescale
from tf_iresnet.models.images import image_classifier, image_flow, image_hybrid
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.models.recipes import mlp_flow
from tf_iresnet.training.optimizers import optimizer
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import RunError


@contextlib.contextmanager
def _blamed_on(section: str) -> Iterator[None]:
    """Turns the library's complaints about arguments into ones about the config's section."""
    try:
        yield
    except data.DataError:
        raise  # names the file already
    except (ValueError, TypeError) as error:
        raise RunError(f"config.{section}: {error}") from error


def dataset(config: Mapping[str, Any]) -> data.Dataset:
    """Returns the data set of the config's section `data`: `name` and the options of that one.

    Raises:
        RunError: for an unknown name or option.
        tf_iresnet.data.DataError: for a bad table, or images that can't be used.
    """
    options = dict(config["data"])
    if options.get("name") == "table" and not options.get("path"):
        raise RunError("Expected a table to train on: add --config.data.path=my.csv.")
    if options.get("name") == "image_folder" and not options.get("path"):
        raise RunError("Expected a folder of images to train on: add --config.data.path=my/images.")
    with _blamed_on("data"):
        return data.load(options.pop("name", None), **options)


def preprocessing(choice: Any, dataset: data.Dataset) -> list[InvertibleLayer]:
    """Returns the layers between data and network, by a name or `{"name": …, arguments}`.

    "standardize" subtracts the training data's mean and divides by its standard deviation, entry
    by entry. Dequantised levels, brought into [0, 1) first, have two more: "centered" subtracts ½
    (i-ResNet, arXiv 1811.00995); "logit" (with `alpha`, .05 by default) stretches them over the
    real line, which spreads out the many values at both ends (Residual Flows, arXiv 1906.02735).
    All take events of any shape, and densities stay those of the levels.

    Args:
        choice: as in a config.
        dataset: whose statistics or levels are used.

    Raises:
        ValueError, TypeError: for an unknown name or argument, or continuous data with "centered"
            or "logit".
    """
    arguments = {"name": choice} if isinstance(choice, str) else dict(choice)
    name = arguments.pop("name", None)
    if name == "standardize":
        return [Rescale.standardize(dataset.shift, dataset.scale, **arguments)]
    if name not in ("centered", "logit"):
        raise ValueError(
            f"Expected preprocessing 'standardize', 'centered' or 'logit'. Received: {choice!r}."
        )
    if dataset.levels is None:
        raise ValueError(
            f"Expected data of a known number of levels for preprocessing={choice!r}. "
            f"Received: {dataset.name}, which is continuous; use 'standardize'."
        )
    if name == "centered":
        return [Rescale(1 / dataset.levels, -0.5, **arguments)]
    return [Rescale(1 / dataset.levels), Logit(**arguments)]


def model(config: Mapping[str, Any], dataset: data.Dataset) -> InvertibleModel:
    """Returns the compiled model of the config's sections `model` and `training`.

    Its first layers are the `preprocessing`, so that it takes, gives and measures data in their
    own units. The section's `task` is "density", the default, "classifier" or "hybrid"; the latter
    two need labelled images.

    A `model` that names an `architecture` is made by `image_flow`, `image_classifier` or
    `image_hybrid`; any other one, for vectors, by `mlp_flow`.

    Raises:
        RunError: for a wrong argument of these, or data that it isn't for.
    """
    options = TrainingOptions(**config["training"])
    arguments = {"preprocessing": "standardize", **config["model"]}
    task = arguments.pop("task", "density")
    with _blamed_on("model"):
        _expect_task(task, dataset)
        images = "architecture" in arguments or task != "density"
        _expect_events(3 if images else 1, dataset)
        arguments["preprocessing"] = preprocessing(arguments["preprocessing"], dataset)
        arguments["seed"] = options.seed
        if task != "density":
            make: Any = {"classifier": image_classifier, "hybrid": image_hybrid}[task]
            model = make(dataset.event_shape, len(dataset.classes), **arguments)
        elif images:
            model = image_flow(dataset.event_shape, **arguments)
        else:
            model = mlp_flow(dataset.event_size, **arguments)
    model.compile(optimizer(options, model), jit_compile=options.jit_compile)
    return model


def labelled(config: Mapping[str, Any]) -> bool:
    """Returns whether the config's task is learned from labels."""
    return config["model"].get("task", "density") != "density"


def _expect_task(task: str, dataset: data.Dataset) -> None:
    if task not in ("density", "classifier", "hybrid"):
        raise ValueError(
            f"Expected task to be 'density', 'classifier' or 'hybrid'. Received: task={task!r}."
        )
    if task != "density" and dataset.labels is None:
        raise ValueError(
            f"Expected labelled data for task={task!r}. Received: {dataset.name}, without labels."
        )


def _expect_events(rank: int, dataset: data.Dataset) -> None:
    if len(dataset.event_shape) == rank:
        return
    expected = {
        1: "examples that are vectors, or config.model.architecture for images",
        3: "examples that are images [height, width, channels], or no config.model.architecture",
    }
    raise ValueError(
        f"Expected {expected[rank]}. Received: {dataset.name} of shape {dataset.event_shape}."
    )


def batches(
    dataset: data.Dataset, options: TrainingOptions, first_step: int, labelled: bool = False
) -> tf.data.Dataset:
    """Returns the training batches [batch_size, *event] from step `first_step` on.

    Args:
        dataset: what they are from.
        options: of the run.
        first_step: steps done.
        labelled: whether each comes as a pair, with its labels [batch_size].
    """
    make = dataset.labelled_batches if labelled else dataset.train_batches
    batch = make(options.batch_size, options.seed)  # type: ignore[misc]
    shape = (options.batch_size, *dataset.event_shape)

    def at(step: Any) -> Any:
        if not labelled:
            return tf.ensure_shape(batch(step), shape)
        x, y = batch(step)
        return tf.ensure_shape(x, shape), tf.ensure_shape(y, shape[:1])

    return tf.data.Dataset.range(first_step, options.total_steps).map(at).prefetch(2)


def validation(
    dataset: data.Dataset, options: TrainingOptions, labelled: bool = False
) -> tf.data.Dataset:
    """Returns the validation examples in batches of any size, so that one graph does for all."""
    examples: Any = dataset.validation
    if labelled and dataset.labels is not None:
        examples = (examples, dataset.labels.validation)
    return tf.data.Dataset.from_tensor_slices(examples).batch(options.evaluation_batch_size)


def fingerprint(dataset: data.Dataset, options: TrainingOptions) -> str:
    """Returns a digest of finite data: of its held-out examples and its first training batch.

    It is empty for a density that is known: no file of it can have changed, and its samples may
    differ in their last bit between devices.
    """
    if dataset.log_prob is not None:
        return ""
    first = dataset.train_batches(options.batch_size, options.seed)(0)
    digest = hashlib.sha256()
    for array in (dataset.validation, dataset.test, first):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
