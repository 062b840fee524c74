"""Toy densities around a curve: the noise is integrated along it by quadrature.

With `t` the curve's parameter and `k` the density of the noise, `p(x) = ∫ p(t) k(x - c(t)) dt`. The
integral is a composite Gauss–Legendre rule of 32 points on each panel, which is about 18 standard
deviations of the noise long. Against twice the panels log_prob moves by less than 1e-6 where it is
above -10 and by less than 1e-5 where it is above -30.
"""

import abc
import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from tf_iresnet.data.toy.base import Density

_POINTS = 32  # on a panel
_CHUNK = 64  # points a pass, which bounds the memory to this many numbers an example


@dataclasses.dataclass(frozen=True)
class Curve(Density):
    """Arms, equally likely, each blurred by isotropic noise.

    Args:
        scale: standard deviation of the Gaussian noise along each axis.
        interval: of the parameter `t`.
        panels: of the quadrature, on each arm.
    """

    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    panels: int = 1

    @abc.abstractmethod
    def _arms(self, t: tf.Tensor) -> list[tf.Tensor]:
        """The points [n, 2] of each arm at the parameters [n]."""

    @abc.abstractmethod
    def _arc(self, t: np.ndarray) -> np.ndarray:
        """The length of the curve up to `t`, up to a factor and a constant."""

    def _quantile(self, uniform: tf.Tensor) -> tf.Tensor:
        """The parameter below which the given part of its distribution lies."""
        low, high = self.interval
        return low + (high - low) * uniform

    def _parameter_density(self, t: np.ndarray) -> np.ndarray:
        low, high = self.interval
        return np.full_like(t, 1 / (high - low))

    def _noise(self, uniforms: tf.Tensor, normals: tf.Tensor) -> tf.Tensor:
        """Noise [n, 2] from numbers uniform in [0, 1) [n, 2] and standard normal [n, 2]."""
        return self.scale * normals

    def _log_kernel(self, offset: tf.Tensor) -> tf.Tensor:
        """Log density of the noise [n, m] at float64 `offset` [n, m, 2]."""
        square = tf.reduce_sum((offset / self.scale) ** 2, axis=-1)
        return -0.5 * square - math.log(2 * math.pi * self.scale**2)

    def _push_forward(self, uniforms: tf.Tensor, normals: tf.Tensor) -> tf.Tensor:
        # One number gives arm and parameter: two are left for the noise.
        arms = len(self._arms(tf.zeros([1])))
        spread = arms * uniforms[:, 0]
        points = tf.stack(self._arms(self._quantile(spread - tf.floor(spread))), axis=1)
        chosen = tf.gather(points, tf.cast(spread, tf.int32), batch_dims=1)
        return chosen + self._noise(uniforms[:, 1:], normals)

    def _log_density(self, x: tf.Tensor) -> tf.Tensor:
        t, weights = _rule(self)
        arms = self._arms(tf.constant(t))
        nodes = tf.concat(arms, axis=0)
        log_weights = np.tile(np.log(weights / len(arms)), len(arms))
        log_p = tf.fill(tf.shape(x)[:1], tf.constant(-math.inf, tf.float64))
        for start in range(0, len(log_weights), _CHUNK):
            part = slice(start, start + _CHUNK)
            terms = log_weights[part] + self._log_kernel(x[:, None, :] - nodes[part])
            log_p = tf.reduce_logsumexp(tf.concat([log_p[:, None], terms], axis=1), axis=1)
        return log_p


@functools.cache
def _rule(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Parameters [m] and weights [m] of `∫ p(t) f(t) dt`, on panels of equal length."""
    fine = np.linspace(*curve.interval, 10_000)
    arc = curve._arc(fine)
    edges = np.interp(np.linspace(arc[0], arc[-1], curve.panels + 1), arc, fine)
    points, weights = np.polynomial.legendre.leggauss(_POINTS)
    half = np.diff(edges)[:, None] / 2
    t = ((edges[:-1, None] + edges[1:, None]) / 2 + half * points).ravel()
    return t, (half * weights).ravel() * curve._parameter_density(t)


def _spiral_arc(t: np.ndarray) -> np.ndarray:
    """Length of `(t cos t, t sin t)` from 0."""
    return (t * np.sqrt(1 + t**2) + np.arcsinh(t)) / 2


def _spiral(t: tf.Tensor) -> tf.Tensor:
    return t[:, None] * tf.stack([tf.cos(t), tf.sin(t)], axis=-1)


@dataclasses.dataclass(frozen=True)
class Swissroll(Curve):
    """One arm `(t cos t, t sin t) / 5`, `t` uniform in (1.5π, 4.5π), noise .2."""

    def _arms(self, t: tf.Tensor) -> list[tf.Tensor]:
        return [0.2 * _spiral(t)]

    def _arc(self, t: np.ndarray) -> np.ndarray:
        return _spiral_arc(t)


@dataclasses.dataclass(frozen=True)
class Moons(Curve):
    """Half circles, `t` uniform in (0, π), noise .2.

    They are `2 (cos t, sin t) - (1, .2)` and `2 (1 - cos t, .5 - sin t) - (1, .2)`.
    """

    def _arms(self, t: tf.Tensor) -> list[tf.Tensor]:
        cos, sin = 2 * tf.cos(t), 2 * tf.sin(t)
        return [tf.stack([cos - 1, sin - 0.2], axis=-1), tf.stack([1 - cos, 0.8 - sin], axis=-1)]

    def _arc(self, t: np.ndarray) -> np.ndarray:
        return t


@dataclasses.dataclass(frozen=True)
class TwoSpirals(Curve):
    """Arms `±[(-t cos t, t sin t) + box] / 3`, noise .1; `t = 3π √u` with `u` uniform in (0, 1).

    The field's definition has a second noise, `box`, uniform in a square of side ½ (1/6 after the
    division). Box and Gaussian together have the density `[Φ(a/σ) - Φ((a-w)/σ)] / w` along each
    axis, so that one dimension is left for the quadrature here, too.
    """

    box: float = 1 / 6

    def _arms(self, t: tf.Tensor) -> list[tf.Tensor]:
        arm = _spiral(t) * tf.constant([-1 / 3, 1 / 3], t.dtype)
        return [arm, -arm - self.box]  # the second box reaches from -w to 0

    def _arc(self, t: np.ndarray) -> np.ndarray:
        return _spiral_arc(t)

    def _quantile(self, uniform: tf.Tensor) -> tf.Tensor:
        return self.interval[1] * tf.sqrt(uniform)

    def _parameter_density(self, t: np.ndarray) -> np.ndarray:
        return 2 * t / self.interval[1] ** 2

    def _noise(self, uniforms: tf.Tensor, normals: tf.Tensor) -> tf.Tensor:
        return self.box * uniforms + self.scale * normals

    def _log_kernel(self, offset: tf.Tensor) -> tf.Tensor:
        log_axes = _log_normal_mass(offset / self.scale, self.box / self.scale)
        return tf.reduce_sum(log_axes, axis=-1) - 2 * math.log(self.box)


def _log_normal_mass(upper: tf.Tensor, width: float) -> tf.Tensor:
    """`ln[Φ(upper) - Φ(upper - width)]` of float64 numbers, `width` at least 1.6.

    Exact to 1e-7 in the tails, too, where the masses themselves leave the numbers.
    """
    upper = tf.where(upper > width / 2, width - upper, upper)  # the same mass, on the left
    # Below -25 the second term is e^-40 of the first, and the first has an asymptotic series.
    near, far = tf.maximum(upper, -25.0), tf.minimum(upper, -25.0)
    mass = (tf.math.erfc(-near / math.sqrt(2)) - tf.math.erfc((width - near) / math.sqrt(2))) / 2
    scaled = (1 - far**-2 + 3 * far**-4) / (-far * math.sqrt(2 * math.pi))
    is_far = upper < -25
    return tf.math.log(tf.where(is_far, scaled, mass)) - tf.where(is_far, far**2 / 2, 0.0)
