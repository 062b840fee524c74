"""Increasing maps of single variables with closed-form inverses: a warp, then a spline.

The warp brings a variable to the real line, with tails that decay: a logarithm at one bound, a
logit between two, an inverse hyperbolic sine for heavy tails. The spline is rational-quadratic and
continuously differentiable (Gregory and Delbourgo 1982; Durkan et al., arXiv 1906.04032, section
3.1). Beyond the ends of either, it goes on along its tangent: each map is one of all real numbers
onto all real numbers, finite wherever its argument is, though its middle part ends at a bound.

Variables are rows here, `[d, n]`, so that each has its knots along an axis of its own.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

WARPS = ("identity", "log", "reflected_log", "logit", "asinh")
_UNBOUNDED = 1e38  # in float32's range


@dataclasses.dataclass(frozen=True)
class Marginal:
    """The map of one variable, `x ↦ spline(warp(x))`.

    Args:
        warp: of `v = (x − center)/scale`: "identity", `v`; "asinh", `asinh(v)`; "log", `ln v`, for
            `x` above `center`; "logit", `ln v − ln(1 − v)`, for `x` between `center` and
            `center + scale`; "reflected_log", `−ln(−v)`, for `x` below `center`.
        low, high: where the warp's tangents begin, inside of its bounds; None where it has none.
        knots, values, slopes: at least two points `(knot, value)` of the spline, both increasing,
            and its positive derivatives there; knots are in units of the warped variable.

    Raises:
        ValueError: for numbers that give no increasing map of all real numbers.
    """

    warp: str = "identity"
    center: float = 0.0
    scale: float = 1.0
    low: float | None = None
    high: float | None = None
    knots: tuple[float, ...] = (-1.0, 1.0)
    values: tuple[float, ...] = (-1.0, 1.0)
    slopes: tuple[float, ...] = (1.0, 1.0)

    def __post_init__(self) -> None:
        for name in ("knots", "values", "slopes"):  # JSON has lists
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        if self.warp not in WARPS:
            raise ValueError(f"Expected warp to be one of {WARPS}. Received: {self.warp!r}")
        low_bound, high_bound = self.bounds
        inside = (
            math.isfinite(self.center)
            and 0 < self.scale < math.inf
            and (low_bound is None or (self.low is not None and self.low > low_bound))
            and (high_bound is None or (self.high is not None and self.high < high_bound))
            and (self.low is None or self.high is None or self.low < self.high)
        )
        if not inside:
            raise ValueError(
                "Expected scale > 0, and low < high inside of the warp's bounds, where it has any. "
                f"Received: {self.warp} with center={self.center}, scale={self.scale}, "
                f"low={self.low}, high={self.high}"
            )
        sizes = {len(self.knots), len(self.values), len(self.slopes)}
        steps = [*np.diff(self.knots), *np.diff(self.values), *self.slopes]
        if len(sizes) > 1 or min(sizes) < 2 or not all(0 < step < math.inf for step in steps):
            raise ValueError(
                "Expected as many knots as values and slopes, at least two; knots and values "
                f"increasing, slopes above 0. Received: knots={self.knots}, values={self.values}, "
                f"slopes={self.slopes}"
            )

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Where the warp alone would end."""
        low = self.center if self.warp in ("log", "logit") else None
        high = {"logit": self.center + self.scale, "reflected_log": self.center}.get(self.warp)
        return low, high

    def warped(self, x: np.ndarray) -> np.ndarray:
        """The warp of `x` `[n]`, float64."""
        packed, rows = pack([self]), tf.constant(x, tf.float64)[tf.newaxis]
        return _warp(packed, rows)[0][0].numpy()

    def describe(self) -> str:
        """The map in a few words."""
        bins = len(self.knots) - 1
        spline = "" if bins == 1 else f", spline of {bins} pieces"
        low, high = self.bounds
        names = {
            "identity": "linear",
            "asinh": "asinh for heavy tails",
            "log": f"log above {low:g}" if low is not None else "",
            "reflected_log": f"log below {high:g}" if high is not None else "",
            "logit": f"logit between {low:g} and {high:g}" if None not in (low, high) else "",
        }
        return names[self.warp] + spline


class Packed(NamedTuple):
    """Maps of d variables as arrays, float64.

    Attributes:
        kinds: of the warps, `[d]`.
        warp: center, scale, both ends, both ends warped, and the slopes there, each `[d, 1]`.
        ends: first and last knot, their values and slopes, each `[d, 1]`.
        inner: knots between the first and the last, `[d, bins − 1]`.
        bins: left end and width, bottom and height, both slopes over `height/width`, and the
            logarithm of that, `[d, bins, 7]`.
    """

    kinds: np.ndarray
    warp: tuple[np.ndarray, ...]
    ends: tuple[np.ndarray, ...]
    inner: np.ndarray
    bins: np.ndarray


def pack(marginals: Sequence[Marginal]) -> Packed:
    """The maps of several variables as arrays; where one has fewer knots, tangents get some."""
    size = max(3, *(len(m.knots) for m in marginals))
    knots, values, slopes = (np.empty((len(marginals), size)) for _ in range(3))
    for i, m in enumerate(marginals):
        count = len(m.knots)
        knots[i, :count], values[i, :count], slopes[i, :count] = m.knots, m.values, m.slopes
        more = np.arange(1, size - count + 1) * (m.knots[-1] - m.knots[0])
        knots[i, count:] = m.knots[-1] + more
        values[i, count:] = m.values[-1] + more * m.slopes[-1]
        slopes[i, count:] = m.slopes[-1]
    widths, heights = np.diff(knots), np.diff(values)
    ratio = heights / widths
    bins = (
        knots[:, :-1], widths, values[:, :-1], heights,
        slopes[:, :-1] / ratio, slopes[:, 1:] / ratio, np.log(ratio),
    )  # fmt: skip
    ends = [array[:, [k]] for array in (knots, values, slopes) for k in (0, -1)]
    kinds = np.array([m.warp for m in marginals])
    warps = np.array([_warp_numbers(m) for m in marginals]).T[:, :, np.newaxis]
    return Packed(kinds, tuple(warps), tuple(ends), knots[:, 1:-1], np.stack(bins, axis=-1))


def _warp_numbers(m: Marginal) -> list[float]:
    """Center, scale, both ends, both ends warped, and the slopes there."""
    ends = [m.low, m.high]
    reached, warped, slopes = [], [], []
    for x, unbounded in zip(ends, (-_UNBOUNDED, _UNBOUNDED), strict=True):
        if x is None:
            reached.append(unbounded)
            warped.append(unbounded)
            slopes.append(1.0)
            continue
        v = (x - m.center) / m.scale
        value, slope = _WARP_AND_SLOPE[m.warp](v)
        reached.append(x)
        warped.append(value)
        slopes.append(slope / m.scale)
    return [m.center, m.scale, *reached, *warped, *slopes]


_WARP_AND_SLOPE: dict[str, Callable[[float], tuple[float, float]]] = {
    "identity": lambda v: (v, 1.0),
    "asinh": lambda v: (math.asinh(v), 1 / math.hypot(1, v)),
    "log": lambda v: (math.log(v), 1 / v),
    "reflected_log": lambda v: (-math.log(-v), -1 / v),
    "logit": lambda v: (math.log(v) - math.log1p(-v), 1 / (v * (1 - v))),
}


def forward(packed: Packed, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Values and logarithms of the slopes, both `[d, n]`, at `x` `[d, n]`."""
    u, warp_slope = _warp(packed, x)
    y, spline_slope = _spline(packed, u)
    return y, warp_slope + spline_slope


def inverse(packed: Packed, y: tf.Tensor) -> tf.Tensor:
    """The `x` `[d, n]` whose values are `y` `[d, n]`."""
    return _unwarp(packed, _inverse_spline(packed, y))


def _constants(arrays: Sequence[np.ndarray], dtype: Any) -> list[tf.Tensor]:
    return [tf.constant(array, dtype) for array in arrays]


def _split(x: Any, low: Any, high: Any, slope_low: Any, slope_high: Any) -> tuple[Any, Any]:
    """`x` clipped to `[low, high]`, and what tangents of these slopes add for what is cut off."""
    outside = slope_low * tf.minimum(x - low, 0) + slope_high * tf.maximum(x - high, 0)
    return tf.clip_by_value(x, low, high), outside


def _bins_of(packed: Packed, arrays: np.ndarray, sorted_ends: Any, x: tf.Tensor) -> list[tf.Tensor]:
    """The numbers of the bin that each of `x` `[d, n]` is in, `[d, n]`."""
    index = tf.searchsorted(tf.constant(sorted_ends, x.dtype), x, side="right")
    return tf.unstack(tf.gather(tf.constant(arrays, x.dtype), index, batch_dims=1), axis=-1)


def _spline(packed: Packed, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    first, last, _, _, *slopes = _constants(packed.ends, u.dtype)
    inside, outside = _split(u, first, last, *slopes)
    left, width, bottom, height, d0, d1, log_ratio = _bins_of(
        packed, packed.bins, packed.inner, inside
    )
    t = tf.clip_by_value((inside - left) / width, 0, 1)
    both = t * (1 - t)
    denominator = 1 + (d0 + d1 - 2) * both
    y = bottom + height * ((t * t + d0 * both) / denominator) + outside
    numerator = d1 * t * t + 2 * both + d0 * tf.square(1 - t)
    return y, log_ratio + tf.math.log(numerator) - 2 * tf.math.log(denominator)


def _inverse_spline(packed: Packed, y: tf.Tensor) -> tf.Tensor:
    """The root of Durkan et al., eq. 6 to 8, whose coefficients `a` and `b` add up to 1 here."""
    _, _, first, last, *slopes = _constants(packed.ends, y.dtype)
    inside, outside = _split(y, first, last, *(1 / slope for slope in slopes))
    left, width, bottom, height, d0, d1, _ = _bins_of(
        packed, packed.bins, packed.bins[:, 1:, 2], inside
    )
    s = tf.clip_by_value((inside - bottom) / height, 0, 1)
    b = d0 - s * (d0 + d1 - 2)
    t = 2 * s / (b + tf.sqrt(tf.maximum(b * b + 4 * (1 - b) * s, 0)))
    return left + width * t + outside


def _warp(packed: Packed, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The warped `x` and the logarithms of the slopes; only the kinds that occur are computed."""
    center, scale, low, high, _, _, *slopes = _constants(packed.warp, x.dtype)
    inside, outside = _split(x, low, high, *slopes)
    v = (inside - center) / scale
    u, log_slope = v, tf.zeros_like(v)
    for kind in sorted(set(packed.kinds) - {"identity"}):
        chosen = tf.constant(packed.kinds == kind)[:, tf.newaxis]
        if kind == "asinh":
            own = tf.asinh(tf.where(chosen, v, 0))
            slope = -_log_cosh(own)
        elif kind == "logit":  # 1 − v from its own end: in float32 it would lose all digits there
            top = tf.constant(packed.warp[0] + packed.warp[1], x.dtype)
            logs = [tf.math.log(tf.where(chosen, w, 0.5)) for w in (v, (top - inside) / scale)]
            own, slope = logs[0] - logs[1], -logs[0] - logs[1]
        else:
            sign = 1 if kind == "log" else -1
            logarithm = tf.math.log(tf.where(chosen, sign * v, 1))
            own, slope = sign * logarithm, -logarithm
        u, log_slope = tf.where(chosen, own, u), tf.where(chosen, slope, log_slope)
    return u + outside, log_slope - tf.math.log(scale)


def _unwarp(packed: Packed, u: tf.Tensor) -> tf.Tensor:
    center, scale, _, _, low, high, *slopes = _constants(packed.warp, u.dtype)
    inside, outside = _split(u, low, high, *(1 / slope for slope in slopes))
    x = center + scale * inside
    for kind in sorted(set(packed.kinds) - {"identity"}):
        chosen = tf.constant(packed.kinds == kind)[:, tf.newaxis]
        safe = tf.where(chosen, inside, 0)
        if kind == "asinh":
            own = center + scale * tf.sinh(safe)
        elif kind == "logit":
            top = tf.constant(packed.warp[0] + packed.warp[1], u.dtype)
            upper = top - scale * tf.sigmoid(-safe)
            own = tf.where(safe > 0, upper, center + scale * tf.sigmoid(safe))
        else:
            sign = 1 if kind == "log" else -1
            own = center + sign * scale * tf.exp(sign * safe)
        x = tf.where(chosen, own, x)
    return x + outside


def _log_cosh(u: tf.Tensor) -> tf.Tensor:
    size = tf.abs(u)
    return size + tf.math.softplus(-2 * size) - math.log(2)
