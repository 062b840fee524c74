"""Monotone blocks: residual ones turned by 45°, without the bound on how steep they may be."""

import math
from typing import Any

import tensorflow as tf

from tf_iresnet.layers.bound_function import BoundFunction, Kind, compose
from tf_iresnet.layers.contractive import register
from tf_iresnet.layers.inversion import Neighbour
from tf_iresnet.layers.residual import Branch, BranchBlock
from tf_iresnet.numerics import fixed_point
from tf_iresnet.numerics.log_det import LogDet
from tf_iresnet.numerics.log_functions import LOG_CAYLEY

ROOT = math.sqrt(2.0)


@register
class MonotoneBlock(BranchBlock):
    """`y = (w − g(w))/√2` where `w + g(w) = √2 x` and `Lip(g) ≤ L < 1`.

    The graph `(x, y)` is that of a contraction turned by 45°, which makes `y` a general strongly
    monotone and Lipschitz function of `x`: both directions stretch by up to `(1 + L)/(1 − L)`. A
    residual block stretches by at most `1 + L`, so that many are needed to concentrate density. The
    price is that both directions are solved for, each to `tolerance`. "cpila" is the activation
    that was made for it.

    Source: Ahn et al., Invertible Monotone Operators for Normalizing Flows, arXiv 2210.08176. The
    log-determinant is `ln det(I − J) − ln det(I + J) = −2 Σ_{k odd} tr(Jᵏ)/k`, `J = dg/dw`.
    Gradients of both directions are those of the implicit function theorem.

    Args:
        branch: `g`, as of `ResidualBlock`.
        log_det, solver, max_iterations: as of `ResidualBlock`.
        tolerance: bound on the Euclidean error of each example, of outputs as of inverted ones.
        on_failure: as of `ResidualBlock`, in both directions.

    Raises:
        ValueError: for a branch whose bound isn't below 1, or that changes the shape.

    Example:

        block = tf_iresnet.layers.MonotoneBlock([
            tf_iresnet.layers.SpectralDense(64, activation="cpila"),
            tf_iresnet.layers.SpectralDense(2),
        ])
        flow = tf_iresnet.ResidualFlow(tf_iresnet.layers.Repeated(block, 10))
    """

    def __init__(
        self,
        branch: Branch,
        log_det: str | dict[str, Any] | LogDet = "auto",
        solver: str = "anderson",
        tolerance: float = 1e-5,
        max_iterations: int = 1000,
        on_failure: str = "nan",
        **kwargs: Any,
    ) -> None:
        super().__init__(branch, log_det, solver, tolerance, max_iterations, on_failure, **kwargs)
        self._expect_contraction()

    def call(self, inputs, condition=None, training=None):
        x, condition = self._prepare(inputs, condition)
        return self._certified(self._partner(self.branch.bind(condition, training), x, 1.0))

    def transform(self, x, condition, training, seed):
        g = self.branch.bind(condition, training)
        y = self._certified(self._partner(g, x, 1.0))
        return y, self._log_det(g, x, y, training, seed)

    def invert_with_log_det(self, y, condition, seed):
        g = self.branch.bind(condition)
        x = self._certified(self._partner(g, y, -1.0))
        return x, -self._log_det(g, x, y, False, seed)

    def solve(self, y, condition=None, neighbour=None):
        return self._partner(self.branch.bind(condition), y, -1.0, neighbour)

    def _partner(
        self,
        g: BoundFunction,
        value: tf.Tensor,
        sign: float,
        neighbour: Neighbour | None = None,
    ) -> fixed_point.Solution:
        """`√2 w − value` where `w ± g(w) = √2 value`: the output of `x`, or the input for `y`."""
        start = None
        if neighbour is not None:  # a Picard step from it, as its g is known
            start = ROOT * value - sign * (neighbour.inputs - neighbour.outputs) / ROOT
        signed = compose([g, BoundFunction.of(lambda w: sign * w, (), Kind.POINTWISE)])
        found = self._root(signed, ROOT * value, self.tolerance / ROOT, start)
        return found._replace(value=ROOT * found.value - value, residual=ROOT * found.residual)

    def _log_det(self, g, x, y, training, seed):
        w = (x + y) / ROOT
        settings = {"training": training, "lipschitz": self.lipschitz, "function": LOG_CAYLEY}
        return self.log_det(g, w, seed, **settings)[1]
