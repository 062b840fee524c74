"""Toy densities of points on a curve with noise, by quadrature along the curve.

With `t` the curve's parameter and `k` the density of the noise, `p(x) = ∫ p(t) k(x - c(t)) dt`. The
integral is a composite Gauss–Legendre rule of 32 points on each panel, which is about 18 standard
deviations of the noise long. Doubling the panels changes log_prob by less than 1e-6 where it is
above -10 and by less than 1e-5 where it is above -30.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_iresnet.data.toy.base import Density

_POINTS = 32  # per panel
_CHUNK = 64  # points per pass, which bounds the memory per example
BOX = 1 / 6  # width of the noise of `two_spirals`


@dataclasses.dataclass(frozen=True)
class Curve(Density):
    """An equal mixture of curves, its arms, with Gaussian and optionally also uniform noise.

    The sum of both noises has the density `[Φ(a/σ) - Φ((a-w)/σ)] / w` along each axis.

    Args:
        arms: parameters [n] → points [n, 2] of each arm.
        scale: standard deviation σ of the Gaussian noise along each axis.
        interval: range of the parameter, `t = low + (high - low) · u^power` with uniform `u`.
        panels: number of panels of the quadrature on each arm.
        box: width w of the uniform noise along each axis, at least 1.6 σ; 0 for none.
    """

    arms: Callable[[tf.Tensor], list[tf.Tensor]]
    scale: float
    interval: tuple[float, float]
    panels: int
    power: float = 1.0
    box: float = 0.0

    def _log_kernel(self, offset: tf.Tensor) -> tf.Tensor:
        """Log density [n, m] of the noise at float64 `offset` [n, m, 2]."""
        if self.box:
            log_axes = _log_normal_mass(offset / self.scale, self.box / self.scale)
            return tf.reduce_sum(log_axes, axis=-1) - 2 * math.log(self.box)
        square = tf.reduce_sum((offset / self.scale) ** 2, axis=-1)
        return -0.5 * square - math.log(2 * math.pi * self.scale**2)

    def _push_forward(self, uniforms: tf.Tensor, normals: tf.Tensor) -> tf.Tensor:
        # One number gives arm and parameter: two are left for the noise.
        spread = len(self.arms(tf.zeros([1]))) * uniforms[:, 0]
        low, high = self.interval
        t = low + (high - low) * (spread - tf.floor(spread)) ** self.power
        points = tf.stack(self.arms(t), axis=1)
        chosen = tf.gather(points, tf.cast(spread, tf.int32), batch_dims=1)
        return chosen + self.box * uniforms[:, 1:] + self.scale * normals

    def _log_density(self, x: tf.Tensor) -> tf.Tensor:
        t, weights = _rule(self)
        arms = self.arms(tf.constant(t))
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
    """Parameters [m] and weights [m] of `∫ p(t) f(t) dt`, on panels of equal arc length."""
    low, high = curve.interval
    fine = np.linspace(low, high, 10_000)
    with tf.init_scope():  # eager, also while a graph is traced
        steps = np.diff(curve.arms(tf.constant(fine))[0].numpy(), axis=0)
    arc = np.append(0, np.cumsum(np.linalg.norm(steps, axis=1)))
    edges = np.interp(np.linspace(0, arc[-1], curve.panels + 1), arc, fine)
    points, weights = np.polynomial.legendre.leggauss(_POINTS)
    half = np.diff(edges)[:, None] / 2
    t = ((edges[:-1, None] + edges[1:, None]) / 2 + half * points).ravel()
    u_to_power = (t - low) / (high - low)
    density = u_to_power ** (1 / curve.power - 1) / (curve.power * (high - low))
    return t, (half * weights).ravel() * density


def _spiral(t: tf.Tensor) -> tf.Tensor:
    return t[:, None] * tf.stack([tf.cos(t), tf.sin(t)], axis=-1)


def swissroll(t: tf.Tensor) -> list[tf.Tensor]:
    """The spiral `(t cos t, t sin t) / 5`."""
    return [0.2 * _spiral(t)]


def moons(t: tf.Tensor) -> list[tf.Tensor]:
    """Half circles `2 (cos t, sin t) - (1, .2)` and `2 (1 - cos t, .5 - sin t) - (1, .2)`."""
    cos, sin = 2 * tf.cos(t), 2 * tf.sin(t)
    return [tf.stack([cos - 1, sin - 0.2], axis=-1), tf.stack([1 - cos, 0.8 - sin], axis=-1)]


def two_spirals(t: tf.Tensor) -> list[tf.Tensor]:
    """Arms `±[(-t cos t, t sin t) + box noise of width ½] / 3`, with `t = 3π √u`."""
    arm = _spiral(t) * tf.constant([-1 / 3, 1 / 3], t.dtype)
    return [arm, -arm - BOX]  # the second box reaches from -w to 0


def _log_normal_mass(upper: tf.Tensor, width: float) -> tf.Tensor:
    """`ln[Φ(upper) - Φ(upper - width)]` of float64 numbers to 1e-7, `width` at least 1.6.

    (With the `log_cdf` of TFP the first call takes three times as long.)
    """
    upper = tf.minimum(upper, width - upper)  # the same mass, in the left tail
    # Below -25 the second term is e^-40 of the first, and the first has an asymptotic series.
    near, far = tf.maximum(upper, -25.0), tf.minimum(upper, -25.0)
    mass = (tf.math.erfc(-near / math.sqrt(2)) - tf.math.erfc((width - near) / math.sqrt(2))) / 2
    scaled = (1 - far**-2 + 3 * far**-4) / (-far * math.sqrt(2 * math.pi))
    is_far = upper < -25
    return tf.math.log(tf.where(is_far, scaled, mass)) - tf.where(is_far, far**2 / 2, 0.0)
