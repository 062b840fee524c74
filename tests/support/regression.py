"""A small Keras model that trains as a run does, in milliseconds: a stand-in for a flow."""

import io

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet.training.callbacks import ProgressBar, Recorder, Schedule
from tf_iresnet.training.checkpoints import Checkpoints
from tf_iresnet.training.loop import train_epochs
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import Workdir

OPTIONS = TrainingOptions(
    epochs=3, steps_per_epoch=4, batch_size=8, learning_rate=0.05, warmup_steps=2, ema_momentum=0.8
)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 3)).astype("float32")
Y = (X @ np.array([[1.0], [-2.0], [0.5]]) + 0.3).astype("float32")


def make_model(units=4):
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(units, activation="tanh"), keras.layers.Dense(1)]
    )
    for i, weight in enumerate(model.weights):
        weight.assign(np.random.default_rng(i).normal(size=weight.shape))
    optimizer = keras.optimizers.AdamW(0.05, use_ema=True, ema_momentum=OPTIONS.ema_momentum)
    model.compile(optimizer, loss="mse")
    return model


def make(path):
    path.mkdir()
    return path


def train(path, options=OPTIONS, model=None, extra=(), signals=None):
    """Trains from what lies in `path`, as `training.train.fit` does."""
    model, checkpoints = model or make_model(), Checkpoints(Workdir(path))
    state = checkpoints.load(model)
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    callbacks = [
        Schedule(state, options), *extra, Recorder(state, options, checkpoints, signals),
        ProgressBar(state, options, stream=io.StringIO()),
    ]  # fmt: skip
    train_epochs(
        model, batches.repeat().skip(state.step % 4), batches, state, options, callbacks
    )  # fmt: skip
    return model, state
