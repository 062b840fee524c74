"""The dense matrix of a convolution by TensorFlow's own operation, and geometries to try."""

import math

import numpy as np
import tensorflow as tf

# kernel shape, then size, strides, padding and dilation
GEOMETRIES = {
    "same": ((3, 3, 2, 3), (5, 6), (1, 1), "same", (1, 1)),
    "strided": ((3, 4, 2, 3), (5, 6), (2, 3), "same", (1, 1)),
    "valid": ((3, 2, 3, 2), (5, 6), (2, 1), "valid", (1, 1)),
    "circular": ((3, 3, 2, 3), (6, 7), (1, 2), "circular", (1, 1)),
    "twice around": ((3, 4, 2, 3), (2, 6), (1, 1), "circular", (3, 1)),
    "dilated": ((3, 2, 2, 3), (7, 6), (1, 1), "same", (2, 3)),
    "sequence": ((5, 4, 4), (40,), (1,), "same", (1,)),
    "volume": ((3, 1, 2, 2, 3), (4, 3, 5), (1, 1, 1), "same", (1, 1, 1)),
    "channels": ((1, 1, 3, 2), (4, 5), (1, 1), "same", (1, 1)),
}


def dense_convolution(kernel, size, strides, padding, dilation=None):
    """`[inputs, outputs]` in all, from every unit image, circular padding by `np.pad`."""
    axes = len(size)
    count = math.prod(size) * kernel.shape[-2]
    images = np.eye(count).reshape(count, *size, kernel.shape[-2])
    dilation = dilation or (1,) * axes
    if padding == "circular":
        widths = []
        for n, k, stride, rate in zip(size, kernel.shape, strides, dilation, strict=False):
            total = max((-(-n // stride) - 1) * stride + (k - 1) * rate + 1 - n, 0)
            widths.append((total // 2, total - total // 2))
        images = np.pad(images, [(0, 0), *widths, (0, 0)], mode="wrap")
    padding = "SAME" if padding == "same" else "VALID"
    result = tf.nn.convolution(images, kernel, strides, padding, dilations=dilation)
    return result.numpy().reshape(count, -1)
