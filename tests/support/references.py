"""Exact Jacobians to compare with, and blocks whose weights a seed fixes."""

import contextlib
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import layers

# The gradient of a kernel's norm is exact at its exact singular vectors.
PRECISE = {"tolerance": 1e-7, "max_power_iterations": 5000}


def points(*shape, dtype="float64", seed=0):
    """Standard normal numbers."""
    return tf.constant(np.random.default_rng(seed).normal(size=shape), dtype)


def jacobian(function, x):
    """That of each example by autodiff, `[batch, outputs, inputs]` in float64."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = function(x)
    matrices = tape.batch_jacobian(y, x, experimental_use_pfor=False)
    size = math.prod(x.shape[1:])
    return np.asarray(matrices, np.float64).reshape(len(x), -1, size)


def jacobian_log_det(function, x):
    """`ln|det J|` of each example, by autodiff and LAPACK."""
    return np.linalg.slogdet(jacobian(function, x))[1]


@contextlib.contextmanager
def bound_once(layer, condition=None):
    """What is called in here shares one pass over the weights, most of what there is to compile."""
    bound = layer.bind(condition)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vars(layer), "bind", lambda *_: bound)
        yield


def seeded_branch(features, hidden=8, coefficient=0.8, activation="sine", **kwargs):
    """Two dense layers whose kernels are far beyond the coefficient before it scales them."""
    initializer = keras.initializers.RandomNormal(stddev=1.0, seed=1)
    common = {"kernel_initializer": initializer, "dtype": "float64", **kwargs}
    return [
        layers.SpectralDense(hidden, coefficient, activation=activation, **common),
        layers.SpectralDense(features, coefficient, bias_initializer="ones", **common),
    ]


def seeded_block(features, kind=layers.ResidualBlock, estimator="exact", tolerance=1e-9, **kwargs):
    """A block of `seeded_branch`, in its dtype."""
    return kind(seeded_branch(features, **kwargs), estimator, tolerance=tolerance)
