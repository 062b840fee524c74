"""Random numbers of a data set: one independent stream for each (seed, step, use).

They are made from TensorFlow's stateless integers, which are the same bits in eager mode, in graphs
and under XLA; its stateless floats are not, even with `alg="philox"`.
"""

import math
from typing import TypeAlias

import tensorflow as tf

from tf_iresnet.numerics.probes import as_seed, fold_in

Seed: TypeAlias = int | tuple[int, int] | tf.Tensor
Step: TypeAlias = int | tf.Tensor

# The uses. The offset keeps them apart from a model's own noise under the same seed and step:
# equal keys would give the data and the probes of the log-det estimator the same bits.
_DATA = 0x64617461
COMPONENT, POSITION, SHUFFLE, DEQUANTIZATION, FLIP, CROP = range(_DATA, _DATA + 6)

# Seeds no int maps to (an int s is the pair [0, s]), so that no training run, whatever its seed,
# has seen the numbers that its model is validated, tested or scaled with.
VALIDATION, TEST, STATISTICS = (0x76616C, 1), (0x746573, 2), (0x737461, 3)


def key(seed: Seed, step: Step, use: int) -> tf.Tensor:
    """Returns the int32 pair [2] that names a stream.

    Args:
        seed: an int or an int32 pair [2].
        step: a scalar integer, possibly symbolic: of the training step or of the epoch.
        use: one of the constants of this module.
    """
    return fold_in(fold_in(as_seed(seed), use), tf.cast(step, tf.int32))


def bits(shape: tf.Tensor, stream: tf.Tensor) -> tf.Tensor:
    """Returns uint32 of the given shape, all values equally likely."""
    numbers = tf.random.stateless_uniform(shape, stream, None, None, tf.int32, alg="philox")
    return tf.bitcast(numbers, tf.uint32)


def uniform(shape: tf.Tensor, stream: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Returns multiples of 2⁻²³, exact in float32, uniform in [0, 1)."""
    return tf.cast(tf.bitwise.right_shift(bits(shape, stream), 9), dtype) * 2.0**-23


def normal(shape: tf.Tensor, stream: tf.Tensor) -> tf.Tensor:
    """Returns standard normal float64 (Box and Muller 1958)."""
    pair = bits(tf.concat([[2], shape], axis=0), stream)
    unit = (tf.cast(pair, tf.float64) + 0.5) * 2.0**-32  # in (0, 1)
    return tf.sqrt(-2 * tf.math.log(unit[0])) * tf.cos(2 * math.pi * unit[1])
