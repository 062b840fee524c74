"""Methods that reach a fixed point in fewer evaluations than Picard's.

Both keep pairs (change, step): taking an amount of `step` off a Picard step takes that amount of
`change` off the residual. With orthogonal changes the best amounts need no linear solve.
"""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from tf_iresnet.numerics.iteration import Method
from tf_iresnet.numerics.linalg import inner

NEW = 1e-4  # least part of a change, squared, that must be orthogonal to others: a hundredth


class _Pair(NamedTuple):
    """A change that is orthogonal to those of the other pairs, or that isn't used."""

    change: tf.Tensor
    step: tf.Tensor
    weight: tf.Tensor  # 1/‖change‖², `[batch, 1, …, 1]`; 0 if it isn't used
    product: tf.Tensor  # ⟨change, the last residual⟩


@dataclasses.dataclass(frozen=True)
class Anderson(Method):
    """Mixes the last `depth` ≥ 1 steps, in the form of Tang et al., 2024, arXiv 2403.14961."""

    depth: int = 2

    def __post_init__(self):
        if self.depth < 1:
            raise ValueError(f"Expected depth >= 1. Received: depth={self.depth}")

    def memory(self, y):
        zero = tf.zeros_like(inner(y, y))
        return (_Pair(tf.zeros_like(y), tf.zeros_like(y), zero, zero),) * self.depth

    def directions(self, old, memory):
        return [old.residual, *(pair.change for pair in memory)]

    def correct(self, old, new, along, memory, useful, jacobian):
        change, step = old.residual - new.residual, old.value - new.value
        # ⟨change, new.residual⟩ and ‖change‖² follow without a pass over the large tensors.
        along_old, *products = along
        along_change = along_old - new.size**2
        squared = old.size**2 - new.size**2 - 2 * along_change
        pairs, common = [], 0.0
        for pair, product in zip(memory, products, strict=True):
            overlap = pair.product - product
            share = overlap * pair.weight
            change -= share * pair.change
            step -= share * pair.step
            along_change -= share * product
            common += overlap * share
            # Nothing has to be cleared in the large tensors, which costs time.
            weight, product = (tf.where(useful, t, 0) for t in (pair.weight, product))
            pairs.append(pair._replace(weight=weight, product=product))
        left = squared - common
        weight = tf.where(left > NEW * squared, 1 / left, 0)
        # Where the point isn't useful, any of these may be NaN.
        latest = _Pair(*(tf.where(useful, t, 0) for t in (change, step, weight, along_change)))
        memory = (latest, *pairs[:-1])
        return tf.add_n([p.weight * p.product * p.step for p in memory]), memory


@dataclasses.dataclass(frozen=True)
class NewtonKrylov(Method):
    """Newton's method; GMRES solves each linear system by `products` ≥ 1 products with J.

    GMRES in the form of generalised conjugate residuals (Eisenstat et al., 1983, SIAM J. Numer.
    Anal. 20, 345), which leaves the same residual.
    """

    products: int = 3

    def __post_init__(self):
        if self.products < 1:
            raise ValueError(f"Expected products >= 1. Received: products={self.products}")

    def evaluate(self, g, x):
        # Jv by differentiating u ↦ Jᵀu, which is linear, so that in a graph nothing is left of that
        # map itself; a ForwardAccumulator there takes the tangent of a custom gradient for zero.
        nothing, zero = tf.zeros_like(x), tf.UnconnectedGradients.ZERO
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as outer:
            outer.watch(nothing)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                image = g(x)
            pullback = tape.gradient(image, x, nothing, zero)
        return image, lambda v: outer.gradient(pullback, nothing, v, zero)

    def correct(self, old, new, along, memory, useful, jacobian):
        def correction() -> tf.Tensor:
            total, rest = tf.zeros_like(new.value), new.residual
            pairs: list[_Pair] = []
            for _ in range(self.products):
                step = jacobian(rest)
                change = rest + step
                for pair in pairs:
                    share = inner(pair.change, change) * pair.weight
                    change -= share * pair.change
                    step -= share * pair.step
                weight = tf.math.reciprocal_no_nan(inner(change, change))
                pairs.append(_Pair(change, step, weight, inner(change, rest)))
                amount = pairs[-1].product * weight
                total += amount * step
                rest -= amount * change
            return tf.where(useful, total, 0)

        return tf.cond(tf.reduce_any(useful), correction, lambda: tf.zeros_like(new.value)), memory


METHODS = {"anderson": Anderson(), "picard": Method(), "newton_krylov": NewtonKrylov()}
