"""What a computed bound has to allow for, to be one on the exact value."""

import numpy as np
import tensorflow as tf

CERTIFICATE = 1e-9  # relative: more than what a certificate in float64 allows for its own rounding


def epsilon(dtype: tf.DType) -> float:
    """Relative rounding that training allows for: the dtype's, or that of the certificate."""
    return max(float(np.finfo(dtype.as_numpy_dtype).eps), CERTIFICATE)


def in_full_products(kernel: tf.Tensor) -> tf.Tensor:
    """The kernel in a dtype, at least float32, whose products keep all of its digits.

    That is float64 where an accelerator may cut the factors of a float32 product down: to ten bits
    (TensorFloat-32, on by default) or to seven (bfloat16 on a TPU).
    """
    devices = {device.device_type for device in tf.config.list_physical_devices()}
    shortens = "TPU" in devices or (
        "GPU" in devices and tf.config.experimental.tensor_float_32_execution_enabled()
    )
    dtype = tf.float64 if shortens or kernel.dtype == tf.float64 else tf.float32
    return tf.cast(kernel, dtype)


def peak(tensor: tf.Tensor) -> tf.Tensor:
    """The largest |entry|, or a tiny number for zeros, to divide by. No gradient.

    Squares of entries would overflow or vanish in float32 without it.
    """
    tiny = np.finfo(tensor.dtype.as_numpy_dtype).tiny
    return tf.stop_gradient(tf.maximum(tf.reduce_max(tf.abs(tensor)), 4 * tiny))
