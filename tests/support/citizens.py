"""The models that tests/models/test_citizens*.py make the same promises for, and their data."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_iresnet as tfi
from tf_iresnet import layers

ROWS, CLASSES, SIZE = 8, 3, 2


def vectors(**kwargs):
    options = {"num_blocks": 1, "hidden_units": (8,), "activation": "sine", "seed": 0}
    return tfi.mlp_flow(2, **{**options, **kwargs})


def hybrid(seed=0):
    keras.utils.set_random_seed(1)
    dense = [layers.SpectralDense(8, activation="elu"), layers.SpectralDense(2)]
    model = tfi.HybridFlow([layers.ActNorm(), layers.ResidualBlock(dense)], CLASSES, seed=seed)
    model.build((None, 2))
    return model


SMALL = {"blocks": (1,), "width": 4, "seed": 0}
KINDS = {
    "unconditional": vectors,
    "conditional": functools.partial(vectors, condition_size=SIZE),
    "image": lambda **kw: tfi.image_flow(
        (4, 4, 1), "resflow-mnist", **{**SMALL, "tail_blocks": 0, **kw}
    ),
    "hybrid": hybrid,
    "classifier": lambda **kw: tfi.image_classifier((4, 4, 1), CLASSES, **{**SMALL, **kw}),
    "monotone": functools.partial(vectors, block="monotone"),
    "implicit": functools.partial(vectors, block="implicit", num_blocks=2),
}
FAST = ("conditional", "hybrid", "classifier")  # for promises that all share one implementation


def kinds(*slow, among=tuple(KINDS)):
    """Kinds, some in the slow suite alone: others state the same of their code."""
    return pytest.mark.parametrize(
        "kind", [pytest.param(k, marks=[pytest.mark.slow] if k in slow else []) for k in among]
    )


every_kind = kinds("implicit")  # takes several times as long to trace as the others
some_kinds = pytest.mark.parametrize("kind", FAST)
# Where a kind takes seconds: vectors with a condition, and images with labels.
two_kinds = kinds(*(kind for kind in KINDS if kind not in ("conditional", "classifier")))


@functools.cache
def shared(kind):
    """A model that tests read and don't change."""
    return KINDS[kind]()


def data(kind, rows=ROWS):
    """Inputs, and targets or None."""
    random = np.random.default_rng(7)
    shape = (4, 4, 1) if kind in ("image", "classifier") else (2,)
    x = random.uniform(0.1, 0.9, size=(rows, *shape)).astype("float32")
    if kind in ("hybrid", "classifier"):
        return x, np.arange(rows) % CLASSES
    if kind == "conditional":
        return x, random.normal(size=(rows, SIZE)).astype("float32")
    return x, None


def values(model, kind, x, y):
    """What `model(x)` gives, a row for each example."""
    return np.asarray(model(x, y) if kind == "conditional" else model(x))


def compiled(kind, rate=0.1, **kwargs):
    model = KINDS[kind]()
    model.compile(keras.optimizers.SGD(rate), **kwargs)
    return model


def dataset(*parts):
    """A data set of one batch, whose parts may be None."""
    present = [part for part in parts if part is not None]
    batches = tf.data.Dataset.from_tensor_slices(tuple(present)).batch(ROWS)

    def arranged(*given):
        given = iter(given)
        return tuple(None if part is None else next(given) for part in parts)

    return batches.map(arranged)


def same(weights, others):
    return all(np.array_equal(*pair) for pair in zip(weights, others, strict=True))


def learned(model):
    """The weights that data decide; the vectors of power iterations follow kernels alone."""
    names = ("initialized", "moving_mean", "moving_variance")
    return [weight for weight in model.weights if weight.trainable or weight.name in names]


def values_of(weights):
    return [weight.numpy() for weight in weights]
