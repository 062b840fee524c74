"""Blocks made of a contraction and a certified solver, and the residual one."""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import ml_dtypes
import tensorflow as tf

from tf_iresnet.layers.branch import as_contractive
from tf_iresnet.layers.contractive import Branch
from tf_iresnet.layers.invertible import BlockCopy, Estimation, InvertibleLayer, Mapped
from tf_iresnet.layers.serialization import expect_same_shape, inherit_dtype, register
from tf_iresnet.numerics import fixed_point
from tf_iresnet.numerics import log_det as log_dets
from tf_iresnet.numerics.bound_function import BoundFunction, Lowered
from tf_iresnet.numerics.fixed_point import Solution
from tf_iresnet.numerics.log_det import LogDet, LogDetEstimate
from tf_iresnet.numerics.log_functions import LOG1P, LogFunction


class BranchBlock(InvertibleLayer):
    """The base of blocks that are made of a contraction `g`, their branch, and a certified solver.

    A subclass gives `push`, `pull` and `branch_input`. `ResidualBlock` describes the arguments.
    """

    unfoldable = "whose outputs are solved for"
    constrained: bool = True  # whether the branch's bound has to be below 1

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
        branch = as_contractive(branch)
        super().__init__(**inherit_dtype(kwargs, [branch]))
        self.branch = branch
        self.lipschitz = float(branch.lipschitz_bound())
        self.log_det = log_dets.get(log_det)
        if self.constrained and not self.lipschitz < 1:
            raise ValueError(
                "Expected a branch with Lipschitz bound below 1, or the block has no inverse. "
                f"Received: bound={self.lipschitz}. Lower the coefficient of its spectral layers, "
                "or take ResidualBlock(…, constrained=False), an ordinary residual block."
            )
        for name, value, choices in (
            ("solver", solver, sorted(fixed_point.METHODS)),
            ("on_failure", on_failure, ["nan", "raise", "keep"]),
        ):
            if value not in choices:
                raise ValueError(
                    f"Expected {name} to be one of {choices}. Received: {name}={value!r}"
                )
        self.solver = solver
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.on_failure = on_failure

    def build(self, input_shape):
        super().build(input_shape)
        expect_same_shape(self.branch, input_shape)

    def bind(self, condition=None, training=None):
        """The branch, which training evaluates in half precision if that is the compute dtype.

        Not where the bound is so close to 1 that rounding could make `det(I + J)` vanish.
        """
        bound = self.branch.bind(condition, training)
        return Lowered(bound, self.compute_dtype) if training and self._is_lowered else bound

    @property
    def _is_lowered(self) -> bool:
        if self.compute_dtype == self.working_dtype:
            return False
        rounding = 2 * float(ml_dtypes.finfo(self.compute_dtype).eps)
        return not 1 - rounding < self.lipschitz < 1

    @property
    def irreversible(self):
        if not self.lipschitz < 1:
            return f"{self.name!r}, whose branch has no bound below 1"
        if self._is_lowered:
            return f"{self.name!r}, whose branch is trained in {self.compute_dtype}"
        return None

    def branch_input(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """The input of `g` where the block maps `x` to `y`."""
        raise TypeError(f"{type(self).__name__} must define branch_input()")

    def copies(self, bound, index=()):
        yield BlockCopy(self, index, bound)

    def visit(self, bound, x, callback, index=()):
        y = self.push(bound, x).value
        callback(BlockCopy(self, index, bound), self.branch_input(x, y))
        return y

    def _estimator(
        self, how: Estimation, function: LogFunction = LOG1P
    ) -> Callable[[BoundFunction, tf.Tensor], LogDetEstimate]:
        """`(g, x) → g(x)`, the log-determinant by the block's estimator, and its truncation."""
        if not self.lipschitz < 1:
            raise ValueError(
                "Expected a constrained block, to have a log-determinant. Received: "
                f"{self.name!r} with constrained=False and bound={self.lipschitz}."
            )
        return functools.partial(
            self.log_det.resolve(math.prod(self.event_shape or ()), how.training),
            seed=how.seed,
            training=how.training,
            lipschitz=self.lipschitz,
            proven=how.proven,
            function=function,
        )

    def _solve(self, g: BoundFunction, y: tf.Tensor, tolerance: float) -> Solution:
        """The `x` with `x + g(x) = y`, for a `g` of the branch's Lipschitz bound."""
        # Without a bound, that of ½: then the tolerance is one on the residual.
        lipschitz = self.lipschitz if self.lipschitz < 1 else 0.5
        limits: dict[str, Any] = {"tolerance": tolerance, "max_iterations": self.max_iterations}
        solution = fixed_point.solve(g.exact, y, lipschitz=lipschitz, method=self.solver, **limits)
        # An example that got as far as its dtype can resolve is solved.
        enough = solution.certified_error <= fixed_point.resolution(y, lipschitz)
        return solution._replace(converged=solution.converged | enough)

    def _certified(self, solution: Solution) -> Mapped:
        """The solution, with what `on_failure` says done about examples that weren't certified."""
        value, solved = solution.value, solution.converged
        if self.on_failure == "raise":
            message = (
                f"{self.name!r} could not invert every example to tolerance={self.tolerance} in "
                f"max_iterations={self.max_iterations}. Raise either, or certify the model."
            )
            with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(solved), [message])]):
                value = tf.identity(value)
        if self.on_failure != "keep":  # under XLA, which drops assertions, "raise" does this alone
            solved = tf.reshape(solved, [-1, *[1] * (value.shape.rank - 1)])
            value = tf.where(solved, value, tf.constant(float("nan"), value.dtype))
        own = Solution(None, *(field[tf.newaxis] for field in solution[1:]))
        return Mapped(value, solutions=(own,))

    def serialized(self, argument):
        if argument == "log_det":
            return log_dets.serialize(self.log_det)
        return super().serialized(argument)


@register
class ResidualBlock(BranchBlock):
    """`y = x + g(x)` with `Lip(g) < 1`, inverted by a certified fixed-point solver.

    Source: Behrmann et al., Invertible Residual Networks, arXiv 1811.00995. The inverse stops when
    `‖y − x − g(x)‖ / (1 − L) ≤ tolerance`, which bounds the true error of the example.

    Args:
        branch: `g`: a `ContractiveLayer`, a list or a `keras.Sequential` of such; its output shape
            is its input shape and its Lipschitz bound is below 1.
        log_det: an estimator of `tf_iresnet.log_det` or its name.
        solver: "anderson", "picard" or "newton_krylov" (`numerics.fixed_point.solve`).
        tolerance: bound on the Euclidean error of each inverted example; where the dtype can't
            resolve it, what it can (`numerics.fixed_point.resolution`).
        max_iterations: evaluations of `g` after which an example is given up.
        on_failure: what becomes of an example that wasn't certified by then: "nan"; "keep", the
            last iterate; or "raise", an `InvalidArgumentError` in eager and graph mode (XLA drops
            assertions: check `inverse_with_report(…).converged` there).
        constrained: False accepts any branch: an ordinary residual block, to compare with. It may
            have no inverse, or several; the solver then stops where `tolerance` bounds the
            residual, which proves nothing, and there is no log-determinant.

    Raises:
        ValueError: for a branch whose bound isn't below 1, or that changes the shape.

    Example:

        inputs = keras.Input([16])
        block = tf_iresnet.layers.ResidualBlock([
            tf_iresnet.layers.SpectralDense(64, activation="elu"),
            tf_iresnet.layers.SpectralDense(16),
        ])
        model = keras.Model(inputs, keras.layers.Dense(1)(block(inputs)))
    """

    def __init__(
        self,
        branch: Branch,
        log_det: str | dict[str, Any] | LogDet = "auto",
        solver: str = "anderson",
        tolerance: float = 1e-5,
        max_iterations: int = 1000,
        on_failure: str = "nan",
        constrained: bool = True,
        **kwargs: Any,
    ) -> None:
        self.constrained = constrained  # first: the base checks the branch by it
        super().__init__(branch, log_det, solver, tolerance, max_iterations, on_failure, **kwargs)

    @property
    def num_solvers(self) -> tuple[int, int]:
        return 0, 1

    def push(self, bound, x, how=None):
        if how is None:
            return Mapped(x + bound(x))
        outputs, log_det, truncation = self._estimator(how)(bound, x)
        return Mapped(x + outputs, log_det, truncation)

    def pull(self, bound, y, how=None):
        mapped = self._certified(self._solve(bound, y, self.tolerance))
        if how is None:
            return mapped
        _, log_det, truncation = self._estimator(how)(bound, mapped.value)
        return mapped._replace(log_det=-log_det, truncation=truncation)

    def fold(self, x, folding):
        added = [x, self.branch.fold(x, folding)]
        return folding.apply(keras.layers.Add(**folding.options(self)), added)

    def branch_input(self, x, y):
        return x
