"""Toy densities with a closed form: equal mixtures of Gaussians, rings and squares."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from tf_iresnet.data.toy.base import Density


def _pick(uniform: tf.Tensor, values: np.ndarray) -> tf.Tensor:
    """One of `values` [k, …] for each number [n] in [0, 1), all equally likely."""
    return tf.gather(tf.constant(values, tf.float64), tf.cast(uniform * len(values), tf.int32))


@dataclasses.dataclass(frozen=True)
class Gaussians(Density):
    """An equal mixture of Gaussians with means `centers` and standard deviation `scale`."""

    centers: tuple[tuple[float, float], ...]
    scale: float

    def _push_forward(self, uniforms: tf.Tensor, normals: tf.Tensor) -> tf.Tensor:
        return _pick(uniforms[:, 0], np.array(self.centers)) + self.scale * normals

    def _log_density(self, x: tf.Tensor) -> tf.Tensor:
        offset = (x[:, None, :] - tf.constant(self.centers, tf.float64)) / self.scale
        log_constant = math.log(2 * math.pi * self.scale**2 * len(self.centers))
        return tf.reduce_logsumexp(-0.5 * tf.reduce_sum(offset**2, -1), -1) - log_constant


@dataclasses.dataclass(frozen=True)
class Rings(Density):
    """An equal mixture of circles of `radii` about the origin, plus Gaussian noise.

    With standard deviation σ = `scale` along each axis, the density of a circle of radius r is
    `exp(-(ρ² + r²) / 2σ²) · I₀(ρr / σ²) / 2πσ²` at distance ρ: a Gaussian averaged over the angle
    (Rice 1945).
    """

    radii: tuple[float, ...]
    scale: float

    def _push_forward(self, uniforms: tf.Tensor, normals: tf.Tensor) -> tf.Tensor:
        radius, angle = _pick(uniforms[:, 0], np.array(self.radii)), 2 * math.pi * uniforms[:, 1]
        circle = radius[:, None] * tf.stack([tf.cos(angle), tf.sin(angle)], axis=-1)
        return circle + self.scale * normals

    def _log_density(self, x: tf.Tensor) -> tf.Tensor:
        distance, radii = tf.norm(x, axis=-1)[:, None], tf.constant(self.radii, tf.float64)
        log_bessel = tf.math.log(tf.math.bessel_i0e(distance * radii / self.scale**2))
        log_ring = log_bessel - 0.5 * ((distance - radii) / self.scale) ** 2
        log_constant = math.log(2 * math.pi * self.scale**2 * len(self.radii))
        return tf.reduce_logsumexp(log_ring, -1) - log_constant


@dataclasses.dataclass(frozen=True)
class Checkerboard(Density):
    """The uniform density on the eight squares of side 2 in [-4, 4)² whose indices sum to even.

    The log density is -ln 32 on the squares and -∞ elsewhere; the entropy is ln 32 exactly.
    """

    def _push_forward(self, uniforms: tf.Tensor, normals: tf.Tensor) -> tf.Tensor:
        cells = [(i, j) for i in range(-2, 2) for j in range(-2, 2) if (i + j) % 2 == 0]
        return 2 * (_pick(uniforms[:, 0], np.array(cells)) + uniforms[:, 1:])

    def _log_density(self, x: tf.Tensor) -> tf.Tensor:
        even = tf.reduce_sum(tf.floor(x / 2), -1) % 2 == 0
        inside = even & tf.reduce_all((x >= -4) & (x < 4), axis=-1)
        return tf.where(inside, tf.constant(-math.log(32), tf.float64), -math.inf)

    def entropy(self) -> float:
        """Returns ln 32."""
        return math.log(32)
