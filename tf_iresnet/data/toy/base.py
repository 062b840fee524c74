"""The base class of the toy densities: sampling by (seed, step), float64 log_prob, entropy."""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tf_iresnet.data.randomness import COMPONENT, POSITION, Seed, Step, normal, stream_seed, uniform


@dataclasses.dataclass(frozen=True)
class Density(abc.ABC):
    """A probability density in the plane, known exactly and easy to sample.

    Args:
        name: that of `toy.get`.
        reach: all but 1e-10 of the mass lies in the square `[-reach, reach]²`.
        spacing: distance between points of the grid on which `entropy` is integrated.
    """

    name: str
    reach: float
    spacing: float
    bounds: ClassVar = ((-4.0, 4.0), (-4.0, 4.0))  # (left, right), (bottom, top) of a picture

    @abc.abstractmethod
    def _push_forward(self, uniforms: tf.Tensor, normals: tf.Tensor) -> tf.Tensor:
        """Float64 samples [n, 2] from numbers uniform in [0, 1) [n, 3] and normal ones [n, 2]."""

    @abc.abstractmethod
    def _log_density(self, x: tf.Tensor) -> tf.Tensor:
        """Nats [n] of float64 points [n, 2]."""

    @functools.cached_property
    def _log_density_in_graph(self) -> Callable[[tf.Tensor], tf.Tensor]:
        # The quadratures are hundreds of small operations: three times as slow one by one.
        signature = [tf.TensorSpec([None, 2], tf.float64)]
        return tf.function(self._log_density, input_signature=signature)

    def sample(self, n: int | tf.Tensor, seed: Seed = 0, step: Step = 0) -> tf.Tensor:
        """Returns independent samples, float32 [n, 2], a pure function of (n, seed, step).

        Other steps, or another seed, give independent samples; see `randomness.stream_seed`.
        """
        uniforms = uniform([n, 3], stream_seed(seed, step, COMPONENT), tf.float64)
        normals = normal([n, 2], stream_seed(seed, step, POSITION))
        # Graphs reorder float64 sums and products; rounding to float32 hides their last bits.
        return tf.cast(self._push_forward(uniforms, normals), tf.float32)

    def log_prob(self, x: Any) -> tf.Tensor:
        """Returns the log density [n] in nats of points [n, 2], in their type, computed in float64.

        Raises:
            ValueError: for another shape.
        """
        x = tf.convert_to_tensor(x)
        if x.shape.rank != 2 or x.shape[-1] != 2:
            raise ValueError(f"Expected points of shape [n, 2]. Received: x of shape {x.shape}.")
        dtype = x.dtype if x.dtype.is_floating else tf.float32
        return tf.cast(self._log_density_in_graph(tf.cast(x, tf.float64)), dtype)

    def entropy(self) -> float:
        """Returns the differential entropy in nats, to 1e-6; the first call takes some seconds.

        The error of the trapezoidal rule over the plane falls faster than any power of the spacing
        for smooth decaying densities (Trefethen and Weideman 2014).
        """
        return _entropy(self)


@functools.cache
def _entropy(density: Density) -> float:
    count = round(density.reach / density.spacing)
    axis = density.spacing * np.arange(-count, count + 1)
    total = 0.0
    for row in np.array_split(axis, max(1, len(axis) ** 2 // 20_000)):  # bounds the memory
        x = np.stack(np.meshgrid(row, axis, indexing="ij"), axis=-1).reshape(-1, 2)
        log_p = density.log_prob(x).numpy()
        total -= float(np.sum(np.exp(log_p) * log_p, where=log_p > -700))
    return total * density.spacing**2
