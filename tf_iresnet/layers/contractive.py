"""The contract of a layer with a known Lipschitz bound."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import keras
import tensorflow as tf

from tf_iresnet.layers.serialization import StackedLayer
from tf_iresnet.numerics import norms
from tf_iresnet.numerics.bound_function import BoundFunction
from tf_iresnet.numerics.linear_maps import LinearMap
from tf_iresnet.numerics.structures import at_least_float32, cast_floats


class CertifiedPart(NamedTuple):
    """A function that a layer applies, and what is proven about it.

    Attributes:
        path: where it is in the branch, such as "layer 2".
        upper_bound: on its Lipschitz constant.
        linear_map: the map, if it is linear, in float64: adjacent ones are bounded together.
        estimate: of the norm of a linear map, from below; None of other functions.
        coefficient: bound that its layer aims at; infinite for a layer without one.
        inner: the parts of a function that it is made of, whose bounds are in its own.
    """

    path: str
    upper_bound: float
    linear_map: LinearMap | None = None
    estimate: float | None = None
    coefficient: float | None = None
    inner: tuple["CertifiedPart", ...] = ()


def proven_bound(parts: Iterable[CertifiedPart]) -> float:
    """The product of the bounds, or what adjacent linear maps are bounded by together if less."""
    total, bound, run = 1.0, 1.0, None
    for part in parts:
        linear = part.linear_map
        joined = None if run is None or linear is None else run.then(linear)
        if joined is None:
            total, bound = total * bound, part.upper_bound
        else:
            bound = min(bound * part.upper_bound, norms.upper_bound(joined))
        run = joined or linear
    return total * bound


def conditional_shift(
    layer: keras.layers.Layer,
    bias: keras.Variable | None,
    kernel: keras.Variable | None,
    condition: tf.Tensor | None,
) -> tf.Tensor | None:
    """What a layer adds to its outputs: a bias, and an unconstrained linear map of a condition.

    Args:
        layer: named in the error for a missing condition.
        bias: `[*stack, units]`.
        kernel: `[*stack, condition_size, units]`; None without a condition.
        condition: `[batch, condition_size]`.

    Returns:
        `[*stack, units]`; with a condition `[*stack, batch, units]`; None for neither.
    """
    shift = None if bias is None else at_least_float32(bias.value)
    if kernel is None:
        return shift
    if condition is None:
        raise ValueError(
            f"Expected a condition of shape [batch, {kernel.shape[-2]}], which {layer.name!r} was "
            "built for. Received: condition=None"
        )
    weights = at_least_float32(kernel.value)
    of_condition = tf.matmul(tf.cast(condition, weights.dtype), weights)
    return of_condition if shift is None else of_condition + shift[..., tf.newaxis, :]


class ContractiveLayer(StackedLayer):
    """A layer that knows a bound on its Lipschitz constant (Euclidean norms, in the input).

    A subclass gives `lipschitz_bound` and `bind`, which normalises kernels once for a function that
    a solver evaluates often. Weights made by `add_weight` may have leading axes, `self.stack`;
    `bind` keeps them, and loops slice the tensors of what it returns. Where the bound rests on the
    weights as they are, `certified_parts` says how.
    """

    def lipschitz_bound(self) -> float:
        """Upper bound on the Lipschitz constant in the input, for every condition."""
        raise TypeError(f"{type(self).__name__} must define lipschitz_bound()")

    def bind(
        self, condition: tf.Tensor | None = None, training: bool | None = None
    ) -> BoundFunction:
        """The layer as a pure function of `x`, its tensors in the `working_dtype`.

        Args:
            condition: `[batch, condition_size]`, or None.
            training: whether to store state that follows the weights. The function doesn't depend
                on it.
        """
        raise TypeError(f"{type(self).__name__} must define bind()")

    def certified_parts(self, bound: BoundFunction, path: str) -> Iterator[CertifiedPart]:
        """The functions that the layer applies, in order, each with a bound proven in float64.

        `bound` is what `bind` returned, of one copy, and `path` the prefix of the parts' paths.
        """
        yield CertifiedPart(path, float(self.lipschitz_bound()))

    def as_called(self, bound: BoundFunction) -> BoundFunction:
        """What `bind` returned as `call` computes it: rounded to the layer's compute dtype."""
        return cast_floats(bound, self.compute_dtype)

    def call(self, inputs, condition=None, training=None):
        return self.as_called(self.bind(condition, training))(tf.cast(inputs, self.compute_dtype))


Branch: TypeAlias = ContractiveLayer | keras.Sequential | Sequence[keras.layers.Layer]
