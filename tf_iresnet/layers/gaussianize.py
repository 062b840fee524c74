"""Fixed maps fitted to data, after which a flow has little left to do."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.layers.closed_form import ClosedFormLayer
from tf_iresnet.layers.invertible import Mapped
from tf_iresnet.layers.serialization import register
from tf_iresnet.numerics import marginals as maps
from tf_iresnet.numerics.marginal_fit import Support, fit_marginals
from tf_iresnet.numerics.marginals import Marginal


class _VectorLayer(ClosedFormLayer):
    """A fixed map of vectors, for which its numbers say how long they are."""

    size: int

    def build(self, input_shape):
        if tuple(input_shape[1:]) != (self.size,):
            raise ValueError(
                f"Expected inputs of shape [batch, {self.size}], as {self.name!r} has numbers for. "
                f"Received: shape={tuple(input_shape)}"
            )
        super().build(input_shape)


@register
class Gaussianize(_VectorLayer):
    """An increasing map of each entry: a warp for bounds and tails, then a monotone spline.

    `Gaussianize.fit(x)` makes each column of `x` about standard normal (marginal Gaussianisation,
    Chen and Gopinath 2000), so that columns with heavy tails, bounds or humps don't have to be bent
    by blocks of a bounded Lipschitz constant. Map, inverse and log-determinant are closed forms;
    every finite number has an output, also beyond a bound, where the map goes on along its tangent.

    Args:
        marginals: a map for each entry, `tf_iresnet.numerics.marginals.Marginal`, or the dict of
            its arguments.

    Input shape: `[batch, entries]`. Output shape: the same.

    Example:

        layer = tf_iresnet.layers.Gaussianize.fit(x, supports=[(0.0, None), (None, None)])
        flow = tf_iresnet.mlp_flow(2, preprocessing=[layer])
    """

    def __init__(self, marginals: Sequence[Marginal | Mapping[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.marginals = [m if isinstance(m, Marginal) else Marginal(**m) for m in marginals]
        self.size = len(self.marginals)
        self._packed = maps.pack(self.marginals)

    @classmethod
    def fit(
        cls,
        x: Any,
        supports: Sequence[Support] | None = None,
        edges: Sequence[Sequence[float]] | None = None,
        **kwargs: Any,
    ) -> "Gaussianize":
        """The layer that makes the columns of `x` `[n, entries]` about standard normal.

        See `numerics.marginal_fit.fit_marginals`, where `supports` and `edges` are explained.
        """
        return cls(fit_marginals(np.asarray(x, np.float64), supports, edges), **kwargs)

    def restore(self, y):
        return tf.transpose(maps.inverse(self._packed, tf.transpose(y)))

    def log_det_at(self, x):
        return tf.reduce_sum(maps.forward(self._packed, tf.transpose(x))[1], axis=0)

    def push(self, bound, x, how=None):
        y, log_slopes = maps.forward(self._packed, tf.transpose(x))
        return Mapped.exact(tf.transpose(y), how and tf.reduce_sum(log_slopes, axis=0))

    def serialized(self, argument):
        return [dataclasses.asdict(m) for m in self.marginals]


@register
class Whiten(_VectorLayer):
    """`y = F⁻¹ (x − mean)`, with a lower-triangular factor `F` of a covariance `F Fᵀ`.

    `Whiten.fit(x)` takes mean and covariance from data: after a `Gaussianize`, both make an
    untrained flow about the Gaussian copula of the data.

    Args:
        mean: of the inputs, `[entries]`.
        factor: lower triangular, with a positive diagonal, `[entries, entries]`.

    Raises:
        ValueError: for a factor that isn't so, or numbers that aren't finite.
    """

    def __init__(self, mean: Any, factor: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean, self.factor = (np.asarray(value, np.float64) for value in (mean, factor))
        self.size = self.mean.size
        square = self.mean.ndim == 1 and self.factor.shape == (self.size, self.size)
        finite = np.isfinite(self.mean).all() and np.isfinite(self.factor).all()
        lower = square and not np.triu(self.factor, 1).any() and np.all(np.diag(self.factor) > 0)
        if not (finite and lower):
            raise ValueError(
                "Expected a finite mean [entries] and a finite lower-triangular factor [entries, "
                f"entries] with a positive diagonal. Received: mean={mean}, factor={factor}"
            )

    @classmethod
    def fit(cls, x: Any, **kwargs: Any) -> "Whiten":
        """The layer by the mean and the shrunk covariance of `x` `[n ≥ 2, entries]`.

        The covariance is drawn to a multiple of the identity by as much as minimises the expected
        squared error (Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional
        covariance matrices", lemma 3.2 to 3.4).
        """
        x = np.asarray(x, np.float64)
        n, d = x.shape
        mean = x.mean(axis=0)
        centered = x - mean
        covariance = centered.T @ centered / n
        level = np.trace(covariance) / d
        distance = np.sum((covariance - level * np.eye(d)) ** 2)
        # Σ‖x xᵀ − S‖² = Σ‖x‖⁴ − n‖S‖²
        fourth = np.sum(np.sum(centered**2, axis=1) ** 2)
        error = (fourth / n - np.sum(covariance**2)) / n
        share = 1.0 if distance <= 0 else min(error, distance) / distance
        shrunk = share * level * np.eye(d) + (1 - share) * covariance
        return cls(mean, np.linalg.cholesky(shrunk), **kwargs)

    def transform(self, x):
        inverse = np.linalg.inv(self.factor)
        return tf.matmul(x - tf.constant(self.mean, x.dtype), tf.constant(inverse.T, x.dtype))

    def restore(self, y):
        mean, factor = tf.constant(self.mean, y.dtype), tf.constant(self.factor.T, y.dtype)
        return tf.matmul(y, factor) + mean

    def log_det_at(self, x):
        total = -np.sum(np.log(np.diag(self.factor)))
        return tf.fill(tf.shape(x)[:1], tf.constant(total, x.dtype))

    def serialized(self, argument):
        return getattr(self, argument).tolist()
