"""Uniform dequantisation: counts and grey levels as continuous values with a density.

Theis, van den Oord and Bethge 2016 (arXiv 1511.01844), section 3.1: with `u` uniform in the unit
cube, `E_u[ln p(x + u)] ≤ ln P(x)`. A density on the dequantised values is thus bounded by the log
probability of the discrete ones, where without noise it could grow without bound.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.data.streams import DEQUANTIZATION, Seed, Step, key, uniform


def dequantize(x: tf.Tensor, width: np.ndarray, seed: Seed, step: Step) -> tf.Tensor:
    """Returns float32 [n, *event], `x` plus noise uniform in `[0, width)`.

    Args:
        x: [n, *event], exact in float32.
        width: [*event], the distance of neighbouring values; 0 where `x` is continuous already.
        seed: an int or an int32 pair.
        step: scalar integer; the noise is a pure function of (seed, step).
    """
    x, width = tf.cast(x, tf.float32), tf.constant(width, tf.float32)
    noise = uniform(tf.shape(x), key(seed, step, DEQUANTIZATION))
    # 16 + .9999999 rounds to 17: the sum would land in the next value's cell.
    return tf.where(width > 0, tf.minimum(x + width * noise, tf.math.nextafter(x + width, x)), x)


def bits_per_dim(log_prob: Any, event_size: int) -> Any:
    """Returns `-log_prob / (event_size · ln 2)`.

    With values dequantised to cells of volume 1 this is the bound on the code length of a discrete
    example, in bits for each of its dimensions.

    Args:
        log_prob: nats, any shape.
        event_size: dimensions of an example.
    """
    return -log_prob / (event_size * math.log(2))
