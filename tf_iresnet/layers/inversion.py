"""What an inverse tells of itself, and what it may be told: how it was solved, where to start."""

from collections.abc import Iterable
from typing import NamedTuple

import tensorflow as tf

from tf_iresnet.numerics.fixed_point import Solution


class Neighbour(NamedTuple):
    """A point that a layer was applied to, and what came out: `[batch, *event]` each."""

    inputs: tf.Tensor
    outputs: tf.Tensor


class SolverReport(NamedTuple):
    """How each solver of an inverse fared with each example, in the order of the forward pass.

    Attributes:
        evaluations: int32 `[solvers, batch]`, of the branch.
        products: int32 `[solvers, batch]`, with its Jacobian; Newton's method makes them.
        certified_error: `[solvers, batch]`, bounds the Euclidean error that this solver made.
        converged: bool `[solvers, batch]`.
    """

    evaluations: tf.Tensor
    products: tf.Tensor
    certified_error: tf.Tensor
    converged: tf.Tensor

    @classmethod
    def of(cls, solution: Solution) -> "SolverReport":
        """Of one solver."""
        fields = solution.iterations, solution.products, solution.residual, solution.converged
        return cls(*(field[tf.newaxis] for field in fields))

    @classmethod
    def blank(cls, y: tf.Tensor, solvers: int = 0) -> "SolverReport":
        """Of that many solvers that did nothing to the batch `y`."""
        shape = [solvers, tf.shape(y)[0]]
        count, error, solved = (tf.zeros(shape, t) for t in (tf.int32, y.dtype, tf.bool))
        return cls(count, count, error, solved)

    @classmethod
    def joined(cls, reports: Iterable["SolverReport"]) -> "SolverReport":
        """One report of the solvers of all, in order."""
        return cls(*(tf.concat(fields, 0) for fields in zip(*reports, strict=True)))
