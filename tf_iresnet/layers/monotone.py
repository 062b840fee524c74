"""Monotone blocks: residual ones turned by 45°, without the bound on how steep they may be."""

import functools
import math

import tensorflow as tf

from tf_iresnet.layers.invertible import How, Mapped
from tf_iresnet.layers.residual import BranchBlock
from tf_iresnet.layers.serialization import register
from tf_iresnet.numerics.bound_function import BoundFunction, compose
from tf_iresnet.numerics.log_functions import LOG_CAYLEY

ROOT = math.sqrt(2.0)


@register
class MonotoneBlock(BranchBlock):
    """`y = (w − g(w))/√2` where `w + g(w) = √2 x` and `Lip(g) ≤ L < 1`.

    The graph `(x, y)` is that of a contraction turned by 45°, which makes `y` a general strongly
    monotone and Lipschitz function of `x`: both directions stretch by up to `(1 + L)/(1 − L)`. A
    residual block stretches by at most `1 + L`, so that many are needed to concentrate density. The
    price is that both directions are solved for. "cpila" is the activation made for it.

    Source: Ahn et al., Invertible Monotone Operators for Normalizing Flows, arXiv 2210.08176. The
    log-determinant is `ln det(I − J) − ln det(I + J) = −2 Σ_{k odd} tr(Jᵏ)/k`, `J = dg/dw`.
    Gradients of both directions are those of the implicit function theorem.

    Args:
        branch, log_det, solver, max_iterations: see `ResidualBlock`.
        tolerance: bound on the Euclidean error of each example, of outputs as of inverted ones.
        on_failure: see `ResidualBlock`; in both directions.

    Raises:
        ValueError: for a branch whose bound isn't below 1, or that changes the shape.

    Example:

        block = tf_iresnet.layers.MonotoneBlock([
            tf_iresnet.layers.SpectralDense(64, activation="cpila"),
            tf_iresnet.layers.SpectralDense(2),
        ])
        flow = tf_iresnet.ResidualFlow(tf_iresnet.layers.Repeated(block, 10))
    """

    @property
    def num_solvers(self) -> tuple[int, int]:
        return 1, 1

    def _map(self, g: BoundFunction, x: tf.Tensor, how: How = None, *, sign: float) -> Mapped:
        """`√2 w − x` where `w ± g(w) = √2 x`: the output for an input, or the other way round."""
        signed = g if sign > 0 else compose([g.exact, BoundFunction.pointwise(tf.negative)])
        found = self._solve(signed, ROOT * x, self.tolerance / ROOT)
        error = ROOT * found.certified_error
        y = ROOT * found.value - x
        mapped = self._certified(found._replace(value=y, certified_error=error))
        if how is None:
            return mapped
        estimator = self._estimator(how, LOG_CAYLEY)
        _, log_det, truncation = estimator(g, self.branch_input(x, mapped.value))
        return mapped._replace(log_det=sign * log_det, truncation=truncation)

    push = functools.partialmethod(_map, sign=1.0)
    pull = functools.partialmethod(_map, sign=-1.0)

    def branch_input(self, x, y):
        return (x + y) / ROOT
