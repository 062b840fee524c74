"""Monotone blocks: residual ones turned by 45°, without the bound on how steep they may be."""

import math
from typing import Any

import tensorflow as tf

from tf_iresnet.layers.invertible import Estimation, Mapped
from tf_iresnet.layers.residual import Branch, BranchBlock, of_one_solver
from tf_iresnet.layers.serialization import register
from tf_iresnet.numerics.bound_function import BoundFunction, compose
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

    @property
    def num_solvers(self) -> tuple[int, int]:
        return 1, 1

    def push(self, bound, x, how=None):
        return self._map(bound, x, how, 1.0)

    def pull(self, bound, y, how=None):
        return self._map(bound, y, how, -1.0)

    def _map(self, g: BoundFunction, x: tf.Tensor, how: Estimation | None, sign: float) -> Mapped:
        """`√2 w − x` where `w ± g(w) = √2 x`: the output for an input, or the other way round."""
        signed = g if sign > 0 else compose([g, BoundFunction.pointwise(tf.negative)])
        found = self._solve(signed, ROOT * x, self.tolerance / ROOT)
        solution = found._replace(
            value=ROOT * found.value - x, certified_error=ROOT * found.certified_error
        )
        y, solutions = self._certified(solution), of_one_solver(solution)
        if how is None:
            return Mapped(y, solutions=solutions)
        estimator = self._estimator(how, LOG_CAYLEY)
        _, log_det, truncation = estimator(g, self.branch_input(x, y))
        return Mapped(y, sign * log_det, truncation, solutions)

    def branch_input(self, x, y):
        return (x + y) / ROOT
