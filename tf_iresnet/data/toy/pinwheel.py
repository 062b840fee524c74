"""The pinwheel: five twisted Gaussian blades, with a density by change of variables."""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from tf_iresnet.data.toy.base import Density


def _bisect(is_first: Callable, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """Where a predicate true at `low` and false at `high` changes; constant for gradients."""

    def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        middle = (low + high) / 2
        first = is_first(middle)
        return tf.where(first, middle, low), tf.where(first, high, middle)

    # tfp.math.find_root_chandrupatla takes thrice the time, and doesn't converge for |x| > 100.
    bracket = tf.while_loop(lambda *_: True, halve, (low, high), maximum_iterations=50)
    return tf.stop_gradient(bracket[1])


@dataclasses.dataclass(frozen=True)
class Pinwheel(Density):
    """Gaussian `(a, b)`, `a` of mean 1, turned by `-(2πk/5 + rate·eᵃ)`, k at random, and doubled.

    Turning keeps the radius `r = |(a, b)|`, so that it maps the polar angle φ to `ψ = h(φ) - 2πk/5`
    with `h(φ) = φ - rate · exp(r cos φ)`; `h' = 1 + rate·b·eᵃ` is also the Jacobian determinant.
    The density is the sum of `N(a, b) / 4|h'(φ)|` over the preimages φ under all blades,
    `h(φ) = ψ + 2πj/5` for all integers j, divided by 5.

    Where `h' > 0` at all angles (r < 1.6), the preimages are exactly five. Further out, `h` falls
    for `b < -e^{-a}/rate`; log_prob takes the five preimages nearest to the blade where `h' > 0`
    and leaves out the others, whose mass is 2e-9. `scale` has the deviations of `a` and `b`.
    """

    scale: tuple[float, float]
    rate: float = 0.25

    def _push_forward(self, uniforms: tf.Tensor, normals: tf.Tensor) -> tf.Tensor:
        blade = normals * tf.constant(self.scale, tf.float64) + tf.constant([1, 0], tf.float64)
        a, b = tf.unstack(blade, axis=-1)
        angle = 2 * math.pi / 5 * tf.floor(5 * uniforms[:, 0]) + self.rate * tf.exp(a)
        cos, sin = tf.cos(angle), tf.sin(angle)
        return 2 * tf.stack([a * cos + b * sin, b * cos - a * sin], axis=-1)

    def _log_density(self, x: tf.Tensor) -> tf.Tensor:
        radius = tf.norm(x, axis=-1, keepdims=True) / 2
        polar = tf.math.atan2(x[:, 1:], x[:, :1])
        start, end = self._rising(radius)
        middle, _ = self._twisted(tf.zeros_like(radius), radius)
        nearest = tf.round(5 * (middle - polar) / (2 * math.pi))
        target = polar + 2 * math.pi / 5 * (nearest + tf.range(-2.0, 3.0, dtype=tf.float64))
        exists = self._twisted(start, radius)[0] < target
        target = tf.where(exists, target, middle)
        low, high = start + tf.zeros_like(target), end + tf.zeros_like(target)
        phi = _bisect(lambda phi: self._twisted(phi, radius)[0] < target, low, high)
        # Bisection has no derivative; one Newton step has that of the implicit function theorem.
        value, slope = self._twisted(phi, radius)
        phi -= (value - target) / slope
        a, b = radius * tf.cos(phi), radius * tf.sin(phi)
        log_blade = -0.5 * ((a - 1) / self.scale[0]) ** 2 - 0.5 * (b / self.scale[1]) ** 2
        log_p = log_blade - tf.math.log(self._twisted(phi, radius)[1])
        log_p = tf.where(exists, log_p, -math.inf)
        log_constant = math.log(2 * math.pi * self.scale[0] * self.scale[1] * 4 * 5)
        return tf.reduce_logsumexp(log_p, axis=-1) - log_constant

    def _twisted(self, phi: tf.Tensor, radius: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`h(φ)` and `h'(φ)`; the exponent's cap keeps far points finite."""
        twist = self.rate * tf.exp(tf.minimum(radius * tf.cos(phi), 30.0))
        return phi - twist, 1 + twist * radius * tf.sin(phi)

    def _rising(self, radius: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Ends of the interval of angles around 0 where `h` rises: two turns if it never falls."""
        flattest = -tf.acos(2 * radius / (1 + tf.sqrt(1 + 4 * radius**2)))  # cos φ = r sin²φ

        def falls(phi: tf.Tensor) -> tf.Tensor:
            return self._twisted(phi, radius)[1] < 0

        zeros, turn = tf.zeros_like(radius), 2 * math.pi  # h rises at 0 and at ±π
        start, end = _bisect(falls, flattest, zeros), _bisect(falls, flattest, zeros - math.pi)
        folded = falls(flattest)
        return tf.where(folded, start, -turn), tf.where(folded, end + turn, turn)
