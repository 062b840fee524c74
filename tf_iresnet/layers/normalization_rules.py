"""How the kernel of a spectral layer is brought to its bound."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.layers.serialization import StackedLayer
from tf_iresnet.numerics import power_iteration
from tf_iresnet.numerics.differentiable_norms import almost_orthogonal, differentiable_bound
from tf_iresnet.numerics.linear_maps import LinearMap
from tf_iresnet.numerics.probes import kernel_sketch
from tf_iresnet.numerics.vector_search import leading_vector

RANDOM_VECTORS = 4


class NormalizationRule:
    """A function of a kernel with its geometry, whose result has norm `limit` at most.

    A subclass defines the call. One that keeps state makes it in `build`, as weights of the layer,
    and stores into it under `training=True`.
    """

    def build(self, layer: StackedLayer, linear_map: LinearMap) -> None:
        """Makes the state for the kernel that the layer has."""

    def __call__(
        self, linear_map: LinearMap, limit: float, training: bool | None = None
    ) -> tf.Tensor:
        """The kernel of norm `limit` at most, `[*stack, …, inputs, outputs]`; see `store` too."""
        raise TypeError(f"{type(self).__name__} must define __call__()")

    def anew(self, linear_map: LinearMap, limit: float) -> tf.Tensor:
        """The same for a geometry that there is no state for."""
        return self(linear_map, limit)

    def store(self, linear_map: LinearMap, limit: float) -> None:
        """Stores what spares the next calls a search, as long as the kernel stays as it is."""


class Unbounded(NormalizationRule):
    """The kernel as it is."""

    def __call__(self, linear_map, limit, training=None):
        return linear_map.kernel


@dataclasses.dataclass(eq=False)
class Power(NormalizationRule):
    """Spectral normalisation by warm-started power iteration: `W / max(1, σ̃/limit)`.

    Every call iterates to a tolerance from a stored vector; only training stores where it got to.
    In inference a vector that is older than the kernel (`power_iteration.unchanged`) is replaced by
    one from a search, which leaves no direction out.

    Args:
        tolerance: relative, of the norm.
        max_iterations: of one call.
        iterations: exactly so many at each call, as the papers do; None iterates to the tolerance.
    """

    tolerance: float = 1e-2
    max_iterations: int = 100
    iterations: int | None = None

    def build(self, layer, linear_map):
        add, shape, sketch = layer.add_state, linear_map.output_shape, _sketch(linear_map)
        second = random_vectors(shape, linear_map.kernel.dtype)[1]

        def first() -> tf.Tensor:  # a fresh layer is normalised before its first use
            return self._norm(linear_map, search(linear_map))[1]

        self.leading_vector = add("leading_vector", shape, first)
        self.second_vector = add("second_vector", shape, lambda: second)
        self.stored_vector = add("stored_vector", shape, lambda: self.leading_vector.value)
        self.kernel_sketch = add("kernel_sketch", sketch.shape[len(layer.stack) :], lambda: sketch)

    def __call__(self, linear_map, limit, training=None):
        vector = self.leading_vector.value
        if self.iterations is None and training:
            sigma, vector, second = power_iteration.follow(
                linear_map, vector, self.second_vector.value, self.tolerance, self.max_iterations
            )
            self.second_vector.assign(second)
        else:
            vector = vector if self.iterations is not None else self._start(linear_map)
            sigma, vector = self._norm(linear_map, vector)
        if training:
            self.leading_vector.assign(vector)
        return _divided(linear_map.kernel, sigma, limit)

    def anew(self, linear_map, limit):
        return self._normalized(linear_map, search(linear_map), limit)[0]

    def store(self, linear_map, limit):
        if self.iterations is None:  # the kernel may be another one altogether
            vector = self._normalized(linear_map, self._start(linear_map), limit)[1]
            self.leading_vector.assign(vector)
        else:
            self(linear_map, limit, training=True)
        self.stored_vector.assign(self.leading_vector.value)
        self.kernel_sketch.assign(_sketch(linear_map))

    def _norm(self, linear_map: LinearMap, vector: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return power_iteration.power_iteration(
            linear_map, vector, self.tolerance, self.max_iterations, self.iterations
        )

    def _normalized(
        self, linear_map: LinearMap, vector: tf.Tensor, limit: float
    ) -> tuple[tf.Tensor, tf.Tensor]:
        sigma, vector = self._norm(linear_map, vector)
        return _divided(linear_map.kernel, sigma, limit), vector

    def _start(self, linear_map: LinearMap) -> tf.Tensor:
        """The stored vectors of kernels they were stored for; those of a search for others."""
        # Tensors: XLA would return a variable that a branch of the condition reads.
        stored = tf.convert_to_tensor(self.stored_vector.value)
        last = tf.convert_to_tensor(self.leading_vector.value)
        sketches = self.kernel_sketch.value, _sketch(linear_map)
        current = power_iteration.unchanged(linear_map, stored, *sketches, self.tolerance / 4)

        def searched() -> tf.Tensor:
            found = search(linear_map, last, rounds=2)
            return tf.where(_of_rank(stored.shape.rank, current), stored, found)

        return tf.stop_gradient(tf.cond(tf.reduce_all(current), lambda: stored, searched))


class Gram(NormalizationRule):
    """`W / max(1, b/limit)` by an upper bound `b` of the norm: certified at every step.

    Gram iteration (Delattre et al., arXiv 2305.16173).
    """

    def __call__(self, linear_map, limit, training=None):
        return _divided(linear_map.kernel, differentiable_bound(linear_map), limit)


class AlmostOrthogonal(NormalizationRule):
    """`limit · W D` with a diagonal `D` in closed form, for a finite limit.

    Prach and Lampert, arXiv 2208.03160. As certain as `Gram` and cheaper, but the norm may be well
    below the limit. Small kernels are enlarged.
    """

    def __call__(self, linear_map, limit, training=None):
        return limit * almost_orthogonal(linear_map)


RULES: dict[str, type[NormalizationRule]] = {"power": Power, "gram": Gram, "aol": AlmostOrthogonal}


def random_vectors(shape: tuple[Any, ...], dtype: tf.DType) -> tf.Tensor:
    """Fixed random vectors `[RANDOM_VECTORS, *shape]`."""
    if len(shape) == 1:
        draws = np.random.default_rng(0).normal(size=(shape[0], RANDOM_VECTORS))
        return tf.constant(draws.T, dtype)
    # Made where they are needed: as constants, they would be most of a graph.
    return tf.random.stateless_normal((RANDOM_VECTORS, *shape), [0, 0], dtype=dtype)


def search(linear_map: LinearMap, vector: tf.Tensor | None = None, rounds: int = 4) -> tf.Tensor:
    """The leading vectors of kernels of which nothing is known, `[*stack, *output_shape]`."""
    shape, dtype = linear_map.output_shape, linear_map.kernel.dtype
    candidates = random_vectors(shape, dtype)
    if vector is None:
        vector = tf.broadcast_to(candidates[0], [*linear_map.stack, *shape])
    return leading_vector(linear_map, vector, candidates, rounds)


def estimated_norm(linear_map: LinearMap) -> float:
    """The norm of one map as a vector that a search finds shows it: from below (eager mode)."""
    image = linear_map.adjoint(search(linear_map)[tf.newaxis])
    back = linear_map.apply(image)
    return float(tf.math.divide_no_nan(tf.norm(back), tf.norm(image)))


def _sketch(linear_map: LinearMap) -> tf.Tensor:
    vectors = random_vectors((linear_map.kernel.shape[-1],), linear_map.kernel.dtype)
    return kernel_sketch(linear_map.kernel, vectors)


def _divided(kernel: tf.Tensor, norm: tf.Tensor, limit: float) -> tf.Tensor:
    """`W / max(1, norm/limit)`, with one norm for each copy."""
    factor = tf.maximum(tf.ones_like(norm), norm / limit)
    return kernel / _of_rank(len(kernel.shape), factor)


def _of_rank(rank: int, tensor: tf.Tensor) -> tf.Tensor:
    """The tensor with axes of length 1 at its end."""
    return tf.reshape(tensor, [*tensor.shape, *[1] * (rank - len(tensor.shape))])
