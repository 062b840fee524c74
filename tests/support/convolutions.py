"""Spectral layers beside the dense matrices of their operators."""

import math

import keras
import numpy as np
import tensorflow as tf

from tf_iresnet import layers
from tf_iresnet.layers.normalization_rules import estimated_norm
from tf_iresnet.numerics import norms

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


def norm_bound(layer, kernel=None):
    """What is proven about the norm of the layer's map with a kernel, by default as it is used."""
    return float(norms.upper_bound(layer.certified_map(_float64(layer, kernel))))


def norm_estimate(layer, kernel=None):
    """The same, estimated from below."""
    return estimated_norm(layer.norm_map(tf.constant(_float64(layer, kernel)))[0])


def _float64(layer, kernel):
    return np.asarray(layer.normalized_kernel() if kernel is None else kernel, np.float64)
