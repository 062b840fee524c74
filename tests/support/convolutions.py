"""Convolutions beside the dense matrices of their operators."""

import math

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet import layers

CONVOLUTIONS = {
    1: layers.SpectralConv1D,
    2: layers.SpectralConv2D,
    3: layers.SpectralConv3D,
}


def build(size, inputs, outputs, kernel_size, coefficient=0.9, **kwargs):
    """A layer whose kernel's norm is far above its coefficient."""
    initializer = keras.initializers.RandomNormal(stddev=2.0, seed=3)
    kwargs = {"padding": "same", "kernel_initializer": initializer, **kwargs}
    cls = CONVOLUTIONS[len(size)]
    layer = cls(outputs, kernel_size, coefficient=coefficient, **kwargs)
    layer.build((None, *size, inputs))
    return layer


def operator(layer, size=None):
    """What the layer does to every unit image, `[inputs, outputs]` in all."""
    size = (*(size or layer.size), layer.kernel.shape[-2])
    images = tf.eye(math.prod(size), dtype=layer.dtype)
    return layer(tf.reshape(images, [-1, *size])).numpy().reshape(len(images), -1)


def norm(matrix):
    return np.linalg.norm(np.asarray(matrix, np.float64), 2)
