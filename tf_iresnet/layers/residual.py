"""Blocks made of a contraction and a certified solver, and the residual one."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from tf_iresnet.layers import activations
from tf_iresnet.layers.bound_function import BoundFunction
from tf_iresnet.layers.contractive import (
    ContractiveLayer,
    ContractiveSequential,
    deserialize_layers,
    register,
)
from tf_iresnet.layers.inversion import Neighbour, SolverReport
from tf_iresnet.layers.invertible import InvertibleLayer, inherit_dtype
from tf_iresnet.numerics import fixed_point, log_det

Branch: TypeAlias = ContractiveLayer | keras.Sequential | Sequence[keras.layers.Layer]


class BranchBlock(InvertibleLayer):
    """What the blocks made of a contraction `g`, their branch, and a certified solver share.

    A subclass gives `call`, `transform` and `solve`, and checks the branch's bound. Its arguments
    are those of `ResidualBlock`, which describes them.
    """

    num_solvers = 1

    def __init__(
        self,
        branch: Branch,
        log_det: str | dict[str, Any] | log_det.LogDet = "auto",
        solver: str = "anderson",
        tolerance: float = 1e-5,
        max_iterations: int = 1000,
        on_failure: str = "nan",
        **kwargs: Any,
    ) -> None:
        if isinstance(branch, (list, tuple)):
            branch = ContractiveSequential(branch)
        super().__init__(**inherit_dtype(kwargs, getattr(branch, "layers", [branch])))
        self.branch = activations.as_contractive(branch)
        self.lipschitz = float(self.branch.lipschitz_bound())
        self.log_det = _estimators.get(log_det)
        if solver not in fixed_point.METHODS:
            raise ValueError(
                f"Expected solver to be one of {sorted(fixed_point.METHODS)}. "
                f"Received: solver={solver!r}"
            )
        if on_failure not in ("nan", "raise", "keep"):
            raise ValueError(
                "Expected on_failure to be 'nan', 'raise' or 'keep'. "
                f"Received: on_failure={on_failure!r}"
            )
        self.solver = solver
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.on_failure = on_failure

    def _expect_contraction(self, instead: str = "") -> None:
        if not self.lipschitz < 1:
            raise ValueError(
                "Expected a branch with Lipschitz bound below 1, or the block has no inverse. "
                f"Received: bound={self.lipschitz}. Lower the coefficient of its spectral layers"
                f"{instead}."
            )

    @property
    def condition_size(self) -> int | None:  # type: ignore[override]
        return self.branch.condition_size

    @property
    def state(self):
        return self.branch.state

    def build(self, input_shape):
        super().build(input_shape)
        if not self.branch.built:
            self.branch.build(input_shape)
        output_shape = tuple(self.branch.compute_output_shape(input_shape))
        if output_shape[1:] != self.event_shape:
            raise ValueError(
                "Expected a branch whose output shape is its input shape. Received: "
                f"{self.event_shape} → {output_shape[1:]}"
            )

    def solve(
        self,
        y: tf.Tensor,
        condition: tf.Tensor | None = None,
        neighbour: Neighbour | None = None,
    ) -> fixed_point.Solution:
        """The inverse with its iterations, certified error and success of each example."""
        raise TypeError(f"{type(self).__name__} must define solve()")

    def invert(self, y, condition):
        return self._certified(self.solve(y, condition))

    def invert_with_report(self, y, condition, neighbour=None):
        solution = self.solve(y, condition, neighbour)
        return self._certified(solution), SolverReport.of(solution)

    def _root(
        self, g: BoundFunction, y: tf.Tensor, tolerance: float, start: tf.Tensor | None = None
    ) -> fixed_point.Solution:
        """The `x` with `x + g(x) = y`, for a `g` of the branch's Lipschitz bound."""
        # Without a bound, that of ½: then the tolerance is one on the residual.
        lipschitz = self.lipschitz if self.lipschitz < 1 else 0.5
        solution = fixed_point.solve(
            g.function,
            y,
            g.parameters,
            lipschitz=lipschitz,
            tolerance=tolerance,
            max_iterations=self.max_iterations,
            method=self.solver,
            start=start,
        )
        # An example that got as far as its dtype can resolve is solved.
        enough = solution.residual <= fixed_point.resolution(y, lipschitz)
        return solution._replace(converged=solution.converged | enough)

    def _certified(self, solution: fixed_point.Solution) -> tf.Tensor:
        """The value, with what `on_failure` says done about examples that weren't certified."""
        value, solved = solution.value, solution.converged
        if self.on_failure == "keep":
            return value
        if self.on_failure == "raise":
            message = (
                f"{self.name!r} could not invert every example to tolerance={self.tolerance} in "
                f"max_iterations={self.max_iterations}. Raise either, or certify the model."
            )
            with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(solved), [message])]):
                value = tf.identity(value)
        # Under XLA, which drops assertions, this is what remains of "raise".
        solved = tf.reshape(solved, [-1, *[1] * (value.shape.rank - 1)])
        return tf.where(solved, value, tf.constant(float("nan"), value.dtype))

    def get_config(self):
        return {
            **super().get_config(),
            "branch": keras.saving.serialize_keras_object(self.branch),
            "log_det": _estimators.serialize(self.log_det),
            "solver": self.solver,
            "tolerance": self.tolerance,
            "max_iterations": self.max_iterations,
            "on_failure": self.on_failure,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**deserialize_layers(config))


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
        on_failure: what becomes of an example that wasn't certified by then: "nan", or "raise", an
            `InvalidArgumentError` in eager and graph mode (XLA drops assertions; check
            `solve(…).converged` there), or "keep", the last iterate.
        constrained: False accepts a branch without a bound below 1: an ordinary residual block, to
            compare with. It may have no inverse, or several; the solver then stops where
            `tolerance` bounds the residual, which proves nothing, and there is no log-determinant.

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
        log_det: str | dict[str, Any] | log_det.LogDet = "auto",
        solver: str = "anderson",
        tolerance: float = 1e-5,
        max_iterations: int = 1000,
        on_failure: str = "nan",
        constrained: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(branch, log_det, solver, tolerance, max_iterations, on_failure, **kwargs)
        self.constrained = constrained
        if constrained:
            self._expect_contraction(
                ", or take ResidualBlock(…, constrained=False), an ordinary residual block"
            )

    def call(self, inputs, condition=None, training=None):
        x, condition = self._prepare(inputs, condition)
        return x + self.branch.bind(condition, training)(x)

    def transform(self, x, condition, training, seed):
        if not self.lipschitz < 1:
            raise ValueError(
                "Expected a constrained block, to have a log-determinant. Received: "
                f"{self.name!r} with constrained=False and bound={self.lipschitz}."
            )
        g = self.branch.bind(condition, training)
        gx, value = self.log_det(g, x, seed, training=training, lipschitz=self.lipschitz)
        return x + gx, value

    def solve(self, y, condition=None, neighbour=None):
        # A Picard step from the neighbour, whose g is known.
        start = None if neighbour is None else y - (neighbour.outputs - neighbour.inputs)
        return self._root(self.branch.bind(condition), y, self.tolerance, start)

    def get_config(self):
        return {**super().get_config(), "constrained": self.constrained}


_estimators = log_det  # the constructor's argument of that name hides the module
