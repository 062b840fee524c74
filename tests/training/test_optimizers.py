"""Each optimizer takes the step that its paper says, and decays kernels only."""

import keras
import numpy as np
import pytest

from tf_iresnet.training.optimizers import optimizer
from tf_iresnet.training.options import TrainingOptions

GRADIENT = 0.5


def stepped(steps=1, **fields):
    """Kernel and bias, both 2 to begin with, after steps along the same gradient."""
    layer = keras.layers.Dense(1, kernel_initializer=two, bias_initializer=two)
    model = keras.Sequential([keras.Input([1]), layer])
    made = optimizer(TrainingOptions(learning_rate=0.1, clip_norm=None, **fields), model)
    for _ in range(steps):
        weights = model.trainable_variables
        made.apply([np.full(v.shape, GRADIENT, "float32") for v in weights], weights)
    return [float(np.squeeze(v)) for v in (layer.kernel, layer.bias)]


def two(shape, dtype=None):
    return keras.ops.full(shape, 2.0, dtype)


@pytest.mark.parametrize("name", ["adamw", "adamax"])
def test_a_first_adaptive_step_has_the_length_of_the_rate(name):
    kernel, bias = stepped(optimizer=name)
    assert kernel == bias == pytest.approx(2 - 0.1, rel=1e-5)


def test_momentum_adds_up():
    kernel, bias = stepped(steps=2, optimizer="sgd", momentum=0.8)
    assert kernel == bias == pytest.approx(2 - 0.1 * GRADIENT * (1 + 1.8), rel=1e-6)


@pytest.mark.parametrize("name", ["adamw", "adamax", "sgd"])
def test_weights_decay_by_the_rate_beside_the_step_and_only_kernels_do(name):
    kernel, bias = stepped(optimizer=name, weight_decay=0.25)
    plain, _ = stepped(optimizer=name)
    assert bias == plain
    assert kernel - plain == pytest.approx(-0.1 * 0.25 * 2, rel=1e-5)


def test_a_penalty_under_momentum_is_a_decay_of_ten_times_its_size():
    """Why the classifiers' published 5e-4 is a decay of 5e-3 in their config."""
    penalty, rate, momentum = 5e-4, 1e-3, 0.9
    w, velocity = 1.0, 0.0
    for _ in range(2000):
        velocity = momentum * velocity - rate * penalty * w
        w += velocity
    decay = penalty / (1 - momentum)
    assert np.log(w) == pytest.approx(2000 * np.log1p(-rate * decay), rel=0.01)
