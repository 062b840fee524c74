"""Data set, model and batches that the sections of a config describe."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.layers.gaussianize import Gaussianize, Whiten
from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.layers.preprocessing import Logit, Rescale
from tf_iresnet.models.architectures import Architecture
from tf_iresnet.models.images import image_classifier, image_flow, image_hybrid
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.models.recipes import mlp_flow
from tf_iresnet.training.fields import check_effects, check_fields, naming
from tf_iresnet.training.fitted_base import fit_base, mixture_score
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import Config, RunError

# Parameters of models that other sections, or the data, decide.
_NO_FIELDS = ("event_size", "image_shape", "num_classes", "seed")
_Policy = Literal[
    "float32", "float64", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16"
]  # of dtypes; Keras has others, of whole numbers
_Named = str | Mapping[str, Any]  # a name, or {"name": …, arguments}
# The other field, and its values, without which a field of a table has no effect.
_TABLE_NEEDS = {"test": ("test_path", (None,)), "split_seed": ("split_order", (None,))}
_WHITENED_ROWS = 100_000  # more change no covariance


def make_dataset(config: Config) -> data.Dataset:
    """Returns the data set of the config's section `data`: the `name` and options of `data.load`.

    Raises RunError for an unknown name or option, DataError for unusable files.
    """
    options = dict(config["data"])
    name = options.pop("name", None)
    check_fields("data", {"name": name}, data.load)
    examples = {
        "table": ("table", "my.csv"),
        "image_arrays": ("file of images", "my.npz"),
        "image_folder": ("folder of images", "my/images"),
        "image_records": ("TFRecord file or folder", "my/records"),
    }
    if name in examples and not options.get("path"):
        what, path = examples[name]
        raise RunError(f"Expected a {what} to train on: add --config.data.path={path}.")
    if name in data.DATASETS:
        check_fields("data", options, data.DATASETS[name])
        if name == "table":
            check_effects("data", options, data.DATASETS[name], _TABLE_NEEDS)
    with naming("data"):
        return data.load(name, **options)


def make_preprocessing(choice: Any, dataset: data.Dataset) -> list[InvertibleLayer]:
    """Returns the layers between data and network, by a name or `{"name": …, arguments}`.

    "standardize" subtracts the training data's mean and divides by its standard deviation, entry by
    entry. "gaussianize" maps each column of a table to a standard normal variable, by what its
    training rows show of tails and bounds (`layers.Gaussianize`); "copula" then takes correlations
    out as well (`layers.Whiten`), so that an untrained flow is about the Gaussian copula of the
    data. "auto" is the one of the first two after which a mixture of normals, fitted to training
    rows, gives the validation rows a higher density. Two others bring dequantised levels into [0,
    1) first: "centered" then subtracts ½ (i-ResNet, arXiv 1811.00995); "logit" (with `alpha`, .05
    by default) maps them to the real line, which resolves the many values at both ends (Residual
    Flows, arXiv 1906.02735). Raises ValueError or TypeError for an unknown name or argument, or
    data without levels.
    """
    arguments = {"name": choice} if isinstance(choice, str) else dict(choice)
    name = arguments.pop("name", None)
    if name == "standardize":
        return [Rescale.standardize(dataset.shift, dataset.scale, **arguments)]
    if name in ("gaussianize", "copula"):
        return _fitted(name, dataset, **arguments)
    if name == "auto":
        choices = [_fitted("gaussianize", dataset, **arguments)]
        choices += [make_preprocessing("standardize", dataset)]
        return max(choices, key=lambda layers: mixture_score(layers, dataset))
    if name not in ("centered", "logit"):
        expected = "Expected preprocessing 'standardize', 'gaussianize', 'copula', 'auto', "
        expected += "'centered' or 'logit'."
        raise ValueError(f"{expected} Received: {choice!r}.")
    if dataset.levels is None:
        expected = f"Expected data of a known number of levels for preprocessing={choice!r}."
        found = f"Received: {dataset.name}, which is continuous; use 'standardize'."
        raise ValueError(f"{expected} {found}")
    if name == "centered":
        return [Rescale(1 / dataset.levels, -0.5, **arguments)]
    return [Rescale(1 / dataset.levels), Logit(**arguments)]


def _fitted(name: str, dataset: data.Dataset) -> list[InvertibleLayer]:
    """The layers "gaussianize" or "copula", fitted to the training rows."""
    if len(dataset.event_shape) != 1 or dataset.training_rows is None:
        expected = f"Expected vectors for preprocessing={name!r}."
        found = f"Received: {dataset.name} of shape {dataset.event_shape}."
        raise ValueError(f"{expected} {found}")
    rows = dataset.training_rows()
    supports = [form.support for form in dataset.forms] or None
    pairs = zip(dataset.forms, rows.T, strict=bool(dataset.forms))
    marginals = Gaussianize.fit(rows, supports, [form.edges(x) for form, x in pairs] or None)
    if name == "gaussianize":
        return [marginals]
    return [marginals, Whiten.fit(marginals(rows[:_WHITENED_ROWS]).numpy())]


def check_model(section: Config) -> None:
    """Raises RunError for a field of the section `model` that is unknown or of another type."""
    check_fields("model", section, *_readers(section), without=_NO_FIELDS)


def make_model(config: Config, dataset: data.Dataset) -> InvertibleModel:
    """Returns the compiled model of the config's sections `model` and `training`.

    Its first layers are the `preprocessing`: inputs, samples and densities are in the data's units.
    The `task` is "density" (the default) or, on labelled images, "classifier" or "hybrid". A
    section that names an `architecture` goes to `image_flow`, `image_classifier` or `image_hybrid`;
    any other, for vectors, to `mlp_flow`, where the base may also be "fitted_mixture": one that
    begins as a mixture of normals of the training data (`fitted_base`). Raises RunError for an
    argument that these refuse, or data that don't suit the task.
    """
    options = TrainingOptions(**config["training"])
    arguments = {"preprocessing": "standardize", **config["model"]}
    check_model(arguments)
    task = arguments.pop("task", "density")
    with naming("model"):
        if dataset.conditions is not None:
            _check_conditional(arguments, task)
            arguments["condition_size"] = dataset.condition_size
        _check_data(dataset, task, images="architecture" in arguments or task != "density")
        arguments["preprocessing"] = make_preprocessing(arguments["preprocessing"], dataset)
        arguments["seed"] = options.seed
        if task == "classifier":
            model = image_classifier(dataset.event_shape, len(dataset.classes), **arguments)
        elif task == "hybrid":
            model = image_hybrid(dataset.event_shape, len(dataset.classes), **arguments)
        elif "architecture" in arguments:
            model = image_flow(dataset.event_shape, **arguments)
        elif arguments.get("base") == "fitted_mixture":
            model = mlp_flow(dataset.event_size, **{**arguments, "base": "normal"})
            model = fit_base(model, dataset, options.seed)
        else:
            model = mlp_flow(dataset.event_size, **arguments)
    model.compile(make_optimizer(options, model), jit_compile=options.jit_compile)
    return model


def make_optimizer(options: TrainingOptions, model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns AdamW (arXiv 1711.05101), Adamax (arXiv 1412.6980, section 7.1) or SGD with momentum.

    It clips gradients, averages weights and, before each step, decays the kernels of the built
    `model`, but not its other weights, by `w ← w − rate·decay·w`.
    """
    kinds = {"adamw": keras.optimizers.AdamW, "adamax": keras.optimizers.Adamax}
    make: Any = kinds.get(options.optimizer, keras.optimizers.SGD)
    betas = {"beta_1": options.beta_1, "beta_2": options.beta_2}
    optimizer = make(
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        global_clipnorm=options.clip_norm,
        use_ema=options.ema_momentum > 0,
        ema_momentum=options.ema_momentum,
        **(betas if options.optimizer in kinds else {"momentum": options.momentum}),
    )
    others = [v for v in model.trainable_variables if "kernel" not in v.path]
    optimizer.exclude_from_weight_decay(var_list=others)
    return optimizer


def _common(
    task: str = "density", preprocessing: _Named = "standardize", dtype: _Policy | None = None
) -> None:
    """The fields of the section `model` that `make_model` reads, or that are names in a config."""


def _of_a_flow(base: _Named | None = None, log_det: _Named = "auto") -> None:
    """What a config, made of texts and numbers, has for arguments that take objects, too."""


def _readers(arguments: Config) -> tuple[Callable[..., Any], ...]:
    """What the fields of the section `model` are arguments of."""
    task = arguments.get("task", "density")
    if task == "classifier":
        return image_classifier, Architecture, _common
    if task == "hybrid":
        return image_hybrid, Architecture, _of_a_flow, _common
    if "architecture" in arguments:
        return image_flow, Architecture, _of_a_flow, _common
    return mlp_flow, _of_a_flow, _common


def _check_data(dataset: data.Dataset, task: str, images: bool) -> None:
    if task not in ("density", "classifier", "hybrid"):
        expected = "Expected task to be 'density', 'classifier' or 'hybrid'."
        raise ValueError(f"{expected} Received: task={task!r}.")
    if task != "density" and dataset.labels is None:
        expected = f"Expected labelled data for task={task!r}."
        raise ValueError(f"{expected} Received: {dataset.name}, without labels.")
    if len(dataset.event_shape) != (3 if images else 1):
        vectors = "vectors, or config.model.architecture for images"
        pictures = "images [height, width, channels], or no config.model.architecture"
        expected = f"Expected examples that are {pictures if images else vectors}."
        raise ValueError(f"{expected} Received: {dataset.name} of shape {dataset.event_shape}.")


def _check_conditional(arguments: Mapping[str, Any], task: str) -> None:
    """Raises a ValueError for what can't be given a condition."""
    base = arguments.get("base")
    if task != "density" or "architecture" in arguments or base == "fitted_mixture":
        expected = "Expected a density of vectors, and a base that isn't fitted, for data with a "
        expected += "target or a condition."
        raise ValueError(f"{expected} Received: {task=}, {base=}.")


def make_batches(
    dataset: data.Dataset,
    options: TrainingOptions,
    first_step: int,
    labelled: bool = False,
    pipeline: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Returns the training batches from step `first_step` (0, 1, …) on.

    Each is [batch_size, *event] or, with `labelled`, a pair of that and its labels [batch_size] or
    conditions [batch_size, condition_size]. Of several input pipelines, each gives its `pipeline`
    = (index, count) of these rows: `input_pipeline_id` and `num_input_pipelines` of a
    `tf.distribute.InputContext`.
    """
    make = dataset.labelled_batches if labelled else dataset.train_batches
    batch = make(options.batch_size, options.seed, pipeline)  # type: ignore[misc]
    shape = tf.TensorShape([options.batch_size // pipeline[1], *dataset.event_shape])
    beside = [] if dataset.conditions is None else [dataset.condition_size]
    shapes = (shape, shape[:1] + beside) if labelled else shape
    steps = tf.data.Dataset.range(first_step, options.total_steps)
    batches = steps.map(
        lambda step: tf.nest.map_structure(tf.ensure_shape, batch(step), shapes),
        num_parallel_calls=None if dataset.stream is None else tf.data.AUTOTUNE,
    )
    return batches.prefetch(2)


@contextlib.contextmanager
def naming_unreadable_files(dataset: data.Dataset) -> Iterator[None]:
    """Raises what went wrong in reading a streamed data set, which TensorFlow wraps in its own."""
    try:
        yield
    except tf.errors.OpError as error:
        if dataset.stream is not None and dataset.stream.failures:
            raise dataset.stream.failures[-1] from error
        raise


def make_validation_batches(
    dataset: data.Dataset, options: TrainingOptions, labelled: bool = False
) -> tf.data.Dataset:
    """Returns the validation examples in batches of unknown size: all share one traced graph."""
    examples: Any = dataset.validation
    beside = dataset.labels or dataset.conditions
    if labelled and beside is not None:
        examples = (examples, beside.validation)
    return tf.data.Dataset.from_tensor_slices(examples).batch(options.evaluation_batch_size)


def fingerprint(dataset: data.Dataset, options: TrainingOptions) -> str:
    """Returns a digest of the held-out examples and the first training batch of finite data."""
    if dataset.log_prob is not None:
        return ""  # samples of a known density may differ in their last bit between devices
    with naming_unreadable_files(dataset):
        first = dataset.train_batches(options.batch_size, options.seed)(0)
    digest = hashlib.sha256()
    for array in (dataset.validation, dataset.test, first, *(dataset.conditions or ())):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
