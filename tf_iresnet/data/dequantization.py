"""Uniform dequantisation: counts and grey levels as continuous values with a density.

With `u` uniform in the unit cube, `E_u[ln p(x + u)] ≤ ln P(x)`: the mean log density of dequantised
values is at most the log probability of the discrete ones. Without noise it could grow without
bound (Theis, van den Oord and Bethge 2016, arXiv 1511.01844, section 3.1).
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.data.randomness import DEQUANTIZATION, Seed, Step, stream_seed, uniform

_ENTRIES = 2**24  # of a piece: 64 MiB as float32


def dequantize(x: Any, width: Any, seed: Seed, step: Step) -> tf.Tensor:
    """Returns `x` plus noise uniform in `[0, width)`, float32, a pure function of (seed, step).

    Args:
        x: [n, *event], exact in float32.
        width: [*event] or [n, *event], of the cell that `x` is the lower end of, the distance to
            the next value; 0 where `x` is continuous.
        seed, step: see `randomness.stream_seed`.
    """
    x, width = tf.cast(x, tf.float32), tf.cast(width, tf.float32)
    noise = uniform(tf.shape(x), stream_seed(seed, step, DEQUANTIZATION))
    # 16 + .9999999 rounds to 17: the sum would land in the next value's cell.
    return tf.where(width > 0, tf.minimum(x + width * noise, tf.math.nextafter(x + width, x)), x)


def dequantize_rows(x: np.ndarray, width: np.ndarray, seed: Seed) -> np.ndarray:
    """Returns rows with noise that is drawn once, float32 [n, *event].

    They are taken in pieces, of which `dequantize` needs several times the memory.

    Args:
        x, width: see `dequantize`.
        seed: `randomness.VALIDATION`, `TEST` or `STATISTICS`.
    """
    rows = max(1, _ENTRIES // math.prod(x.shape[1:]))
    result = np.empty(x.shape, np.float32)
    for piece, start in enumerate(range(0, len(x), rows)):
        part = slice(start, start + rows)
        own = width[part] if np.ndim(width) == x.ndim else width
        result[part] = dequantize(x[part], own, seed, piece)
    return result


def bits_per_dim(log_prob: Any, event_size: int) -> Any:
    """Returns `-log_prob / (event_size · ln 2)`, for `log_prob` in nats of any shape.

    With dequantisation to cells of volume 1, its mean over the noise is at least the bits per
    dimension of the discrete example.
    """
    return -log_prob / (event_size * math.log(2))
