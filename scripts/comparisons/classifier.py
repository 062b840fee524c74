"""A training step of an invertible classifier beside that of a plain residual network in Keras.

    python scripts/benchmark.py --suite=classifier --workdir=runs

The plain network has the same convolutions, activations, channels, head, optimizer and batch, and
neither norms nor activation normalisation; ours is timed without its constraint, too, so that the
norms' own share is seen. The steps are taken in turns, in one process.
"""

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from comparisons import step_profile, table
from comparisons.configs import load_config
from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.images.image_dataset import image_dataset
from tf_iresnet.data.splits import Split
from tf_iresnet.models import architectures
from tf_iresnet.models.architectures import Architecture
from tf_iresnet.training import build
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.train import reproducible_sums, resolve

SHAPE, CLASSES = (28, 28, 1), 10
COLUMNS = (
    table.Column("network", "{network}", ("network",)),
    table.Column("parameters", "{parameters:,}", ("parameters",)),
    table.Column("training step, ms", "{milliseconds:.1f}", ("milliseconds",)),
    table.Column("of the plain one's", "{ratio:.2f}", ("ratio",)),
)


def compare(
    workdir: str | os.PathLike[str],
    rounds: int = 15,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Prints a JSON line per network and a table, which is written to workdir/classifier.csv.

    Args:
        workdir: made if it isn't there.
        rounds: steps of each network; the medians count.
        changes: section of configs/iresnet_classifier.py:mnist → fields to change.
    """
    config = load_config("iresnet_classifier", arguments=("mnist",), changes=changes)
    constrained, options = resolve(config), TrainingOptions(**config.training)
    free = {**constrained, "model": {**constrained["model"], "coefficient": None}}
    data = random_images(options.batch_size)
    models = {
        "plain Keras": plain_network(constrained, options),
        "ours, unconstrained": build.make_model(free, data),
        f"ours, c = {config.model.coefficient}": build.make_model(constrained, data),
    }
    with reproducible_sums():  # as training does
        batches = build.make_batches(data, options, 0, labelled=True)
        batch = next(iter(batches))
        steps = {name: training_step(model, batch) for name, model in models.items()}
        times = step_profile.medians(steps, rounds)
    rows = []
    for name, model in models.items():
        parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        taken = {"milliseconds": times[name], "ratio": times[name] / times["plain Keras"]}
        rows.append({"network": name, "parameters": parameters, **taken})
        print(json.dumps({"suite": "classifier", **rows[-1]}), flush=True)
    root = pathlib.Path(workdir)
    root.mkdir(parents=True, exist_ok=True)
    path = table.write_csv(root / "classifier.csv", COLUMNS, rows)
    print(f"\n{table.text(COLUMNS, rows)}\nTable: {path}")
    return rows


def random_images(number: int) -> Dataset:
    """Images of noise with random labels: what is in them doesn't change the time of a step."""
    random = np.random.default_rng(0)
    numbers = (number, 2, 2)
    images = (random.integers(0, 256, (n, *SHAPE), np.uint8) for n in numbers)
    labels = (random.integers(0, CLASSES, n) for n in numbers)
    classes = tuple(map(str, range(CLASSES)))
    return image_dataset("noise", Split(*images), labels=Split(*labels), classes=classes)


def training_step(model: keras.Model, batch: Any) -> Callable[[], Any]:
    """A step on that batch as training takes it, without the time of making batches."""
    model.make_train_function()
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    return lambda: model.train_function(iterator)


def plain_network(config: Mapping[str, Any], options: TrainingOptions) -> keras.Model:
    """The compiled classifier of a config as whoever has Keras alone writes it."""
    section = config["model"]
    changes = {k: v for k, v in section.items() if k in vars(Architecture())}
    a = architectures.get(section["architecture"], **changes)
    x = inputs = keras.Input(SHAPE)
    x = keras.layers.Rescaling(1 / 256, -0.5)(x)
    for scale, (count, width) in enumerate(zip(a.blocks, a.widths, strict=True)):
        if scale or a.squeeze_first:
            x = keras.layers.Lambda(tf.nn.space_to_depth, arguments={"block_size": 2})(x)
        if not scale and a.pad_channels:
            paddings = [[0, 0], [0, 0], [0, 0], [0, a.pad_channels]]
            x = keras.layers.Lambda(tf.pad, arguments={"paddings": paddings})(x)
        for block in range(count):
            filters = [*[width] * (len(a.kernels) - 1), x.shape[-1]]
            y = x
            for index, (number, size) in enumerate(zip(filters, a.kernels, strict=True)):
                if scale or block or index:
                    y = keras.layers.Activation(a.activation)(y)
                y = keras.layers.Conv2D(number, size, padding="same")(y)
            x = keras.layers.Add()([x, y])
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    outputs = keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = build.make_optimizer(options, model)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=options.jit_compile)
    return model
