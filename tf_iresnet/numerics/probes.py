"""Random probe vectors `v` with `E[v] = 0` and `Cov[v] = I`, drawn from stateless seeds.

Hutchinson's identity `tr(A) = E[vᵀ A v]` holds for every such distribution. Rademacher probes have
the smaller variance (Hutchinson 1990); the i-ResNet paper (arXiv 1811.00995) uses Gaussian ones.
"""

import math
import random
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics.tracing import uncached

Seed = int | Any | None  # an int32 tensor or array of shape [2], or [3]: see `from_row`

# Two stateless algorithms exist and XLA may choose another one than eager mode does: with one
# named, the same seed gives the same integers everywhere.
ALGORITHM = "philox"


def as_seed(seed: Any) -> tf.Tensor:
    """The int32 pair `[2]` for a seed given as None (a fixed default), an int or such a pair.

    What `from_row` returned stays as it is, `[3]`.
    """
    if seed is None:
        return tf.constant([0, 0], tf.int32)
    _expect_int32(seed)
    seed = tf.convert_to_tensor(uncached(seed))
    if seed.dtype.is_floating or seed.shape not in ((), (2,), (3,)):
        error = TypeError if seed.dtype.is_floating else ValueError
        raise error(f"Expected seed to be an int or an int32 tensor [2]. Received: seed={seed}")
    seed = tf.cast(seed, tf.int32)
    return seed if seed.shape.rank else tf.stack([tf.zeros([], tf.int32), seed])


def _expect_int32(seed: Any) -> None:
    """Raises a ValueError for numbers beyond int32, which would be cut to those of other seeds."""
    entries = np.ravel(seed) if isinstance(seed, np.ndarray) else seed
    entries = entries if isinstance(seed, (list, tuple, np.ndarray)) else [seed]
    if any(isinstance(n, (int, np.integer)) and not -(2**31) <= n < 2**31 for n in entries):
        raise ValueError(f"Expected seed to be from -2147483648 to 2147483647. Received: {seed=}")


def chosen_seed(seed: int | None) -> int:
    """The seed of initial weights, from 0 on: a random one for None."""
    if seed is None:
        return random.randrange(2**31)
    if seed < 0:
        raise ValueError(f"Expected seed to be 0 or more, or None for any. Received: {seed=}.")
    return seed


def fold_in(seed: tf.Tensor, data: int | tf.Tensor) -> tf.Tensor:
    """A new seed `[2]`, independent of `seed` for every different integer `data`.

    The functions below do so with 0 and 1: whoever draws something else beside them has to `split`.
    """
    seed = as_seed(seed)
    return _like(seed, tf.random.experimental.stateless_fold_in(seed[:2], data, alg=ALGORITHM))


def split(seed: tf.Tensor, number: int) -> list[tf.Tensor]:
    """So many new seeds, independent of each other."""
    seed = as_seed(seed)
    pairs = tf.random.experimental.stateless_split(seed[:2], number, alg=ALGORITHM)
    return [_like(seed, pair) for pair in tf.unstack(pairs)]


def from_row(seed: tf.Tensor, first: int | tf.Tensor) -> tf.Tensor:
    """The seed `[3]` for the rows of a batch from that one on.

    What is drawn with it and with seeds made from it is what these rows get where the whole batch
    is drawn at once: so a batch may lie in parts, on several replicas.
    """
    return tf.concat([seed[:2], [first]], 0)


def _like(seed: tf.Tensor, pair: tf.Tensor) -> tf.Tensor:
    """The pair, for the same rows as `seed`."""
    return pair if seed.shape == (2,) else tf.concat([pair, seed[2:]], 0)


def integers(shape: Any, seed: tf.Tensor, below: int) -> tf.Tensor:
    """Independent int32 numbers from 0 to `below − 1`, each with equal probability."""
    seed = as_seed(seed)
    shape, pair = tf.convert_to_tensor(shape, tf.int32), seed[:2]
    if seed.shape == (2,) or shape.shape == (0,):
        return tf.random.stateless_uniform(shape, pair, 0, below, tf.int32, alg=ALGORITHM)
    first = seed[2]
    whole = tf.concat([first + shape[:1], shape[1:]], 0)
    return tf.random.stateless_uniform(whole, pair, 0, below, tf.int32, alg=ALGORITHM)[first:]


def rademacher(shape: tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Independent signs, −1 or 1 with equal probability."""
    return tf.cast(2 * integers(shape, seed, 2) - 1, dtype)


def uniform(shape: tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Uniform numbers in the open interval (0, 1), on a grid of 2⁻²⁴.

    Made from integers: with the same seed and algorithm TensorFlow 2.21 draws the same integers
    under XLA and outside, but different floats.
    """
    numbers = (tf.cast(integers(shape, seed, 2**24), dtype) + 0.5) / 2**24
    return tf.minimum(numbers, 1 - 2**-24)  # float32 rounds the last one up to 1


def gaussian(shape: tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Independent standard normal numbers, of at most 5.9 (Box and Muller 1958)."""
    radius = tf.sqrt(-2.0 * tf.math.log(uniform(shape, fold_in(seed, 0), dtype)))
    return radius * tf.cos(2.0 * math.pi * uniform(shape, fold_in(seed, 1), dtype))


def student_t(shape: tf.Tensor, seed: tf.Tensor, df: tf.Tensor) -> tf.Tensor:
    """Independent numbers with Student's t-distribution (Bailey 1994, a polar method).

    For any degrees of freedom `df` > 0, which broadcast to `shape`, and in their dtype; it tends to
    `gaussian` as they grow. Made without rejections, it compiles under XLA, where TensorFlow has
    no gamma distribution.
    """
    exponents = -2.0 / df * tf.math.log(uniform(shape, fold_in(seed, 0), df.dtype))
    radius = tf.sqrt(df * tf.math.expm1(exponents))
    return radius * tf.cos(2.0 * math.pi * uniform(shape, fold_in(seed, 1), df.dtype))


def orthogonal(x: tf.Tensor, count: int, seed: tf.Tensor) -> tf.Tensor:
    """`count` orthogonal probes per example, each uniform on the sphere of radius √d.

    The mean over them has less variance than over as many independent Gaussian ones.
    """
    size = math.prod(x.shape[1:])
    if count > size:
        raise ValueError(
            f"Expected at most as many orthogonal probes as dimensions, {size}. "
            f"Received: probes={count}. More of them are no estimate: use log_det.Exact()."
        )
    shape = tf.concat([tf.shape(x)[:1], [size, count]], 0)
    basis, triangle = tf.linalg.qr(gaussian(shape, seed, x.dtype))
    signs = tf.sign(tf.linalg.diag_part(triangle))[:, tf.newaxis]  # those that Gram–Schmidt gives
    vectors = math.sqrt(size) * tf.transpose(basis * signs, [2, 0, 1])
    return tf.reshape(vectors, tf.concat([[-1], tf.shape(x)[1:]], 0))


SAMPLERS = {"rademacher": rademacher, "gaussian": gaussian}
NAMES = (*SAMPLERS, "orthogonal")


def draw(name: str, x: tf.Tensor, count: int, seed: tf.Tensor) -> tf.Tensor:
    """Probes like `x` `[batch, *event]`, `count` for each example: `[count·batch, *event]`."""
    if name == "orthogonal":
        return orthogonal(x, count, seed)
    seeds = [fold_in(seed, index) for index in range(count)]
    return tf.concat([SAMPLERS[name](tf.shape(x), s, x.dtype) for s in seeds], 0)


def kernel_sketch(kernel: tf.Tensor, random_vectors: tf.Tensor) -> tf.Tensor:
    """Random combinations `[…, inputs, vectors]` of the columns of a kernel `[…, inputs, outputs]`.

    By them `power_iteration.unchanged` notices a change of the kernel, if `random_vectors`
    `[vectors, outputs]`, standard normal, are the same at every call.
    """
    kernel = tf.convert_to_tensor(kernel)
    return tf.tensordot(kernel, tf.cast(random_vectors, kernel.dtype), [[-1], [1]])
