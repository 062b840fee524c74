"""What the log-determinant estimators are made of: products with the Jacobian of one evaluation."""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_iresnet.numerics import probes

Function = Callable[[tf.Tensor], tf.Tensor]
# `seed → (number of terms, k ↦ weight c_k)`
Schedule = Callable[[tf.Tensor], tuple[int | tf.Tensor, Callable[[Any], Any]]]


def evaluate(g: Function, x: tf.Tensor) -> tuple[tf.Tensor, Function]:
    """`g(x)` and `w ↦ Jᵀw`, all products sharing that one evaluation."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        outputs = g(x)

    def product(w: tf.Tensor) -> tf.Tensor:
        return tape.gradient(
            outputs, x, output_gradients=w, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    return outputs, product


def _inner(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The inner product of each example `[batch]`."""
    return tf.reduce_sum(a * b, axis=range(1, a.shape.rank))


def identity_plus_jacobian(product: Function, x: tf.Tensor) -> tf.Tensor:
    """`I + J` of each example, `[batch, d, d]`; row `i` is `Jᵀeᵢ + eᵢ`."""
    size = math.prod(x.shape[1:])
    eye = tf.eye(size, dtype=x.dtype)

    def row(basis: tf.Tensor) -> tf.Tensor:
        cotangent = tf.broadcast_to(tf.reshape(basis, [1, *x.shape[1:]]), tf.shape(x))
        return tf.reshape(product(cotangent), [-1, size]) + basis

    if size <= 4:  # unrolled, the products run side by side
        rows = tf.stack([row(eye[i]) for i in range(size)], axis=1)
    else:
        rows = tf.transpose(tf.map_fn(row, eye), [1, 0, 2])
    return rows


def average_over_probes(
    estimator: Any,
    g: Function,
    x: tf.Tensor,
    seed: tf.Tensor,
    training: bool,
    schedule: Schedule,
    maximum: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The mean of `_one_probe` over the estimator's probes, all on one evaluation of `g`."""
    outputs, product = evaluate(g, x)
    autodiff = estimator.gradient == "autodiff" or (estimator.gradient == "auto" and not training)
    sampler = probes.get(estimator.probe)
    total = tf.zeros([], x.dtype)
    for index in range(estimator.probes):
        seed_probe, seed_terms = tf.unstack(
            tf.random.experimental.stateless_split(
                probes.fold_in(seed, index), 2, alg=probes.ALGORITHM
            )
        )
        probe = sampler(tf.shape(x), seed_probe, x.dtype)
        terms, weight = schedule(seed_terms)
        total += _one_probe(product, probe, terms, weight, autodiff, maximum)
    return outputs, total / estimator.probes


def _one_probe(product, probe, terms, weight, autodiff, maximum):
    """The series of one probe `v`: its value `[batch]`, carrying the chosen gradient.

    With `w_k = (Jᵀ)ᵏ v` the value is `Σ_{k≥1} (−1)^{k+1}/k · c_k ⟨w_k, v⟩`. The gradient of
    `ln det(I+J)` is `tr((I+J)⁻¹ dJ)`, whose Neumann series on the same products is `d⟨a, J v⟩` at
    `a = Σ_{k≥0} (−1)ᵏ c_k w_k` held constant. The difference of two equal numbers carries it.
    """

    def step(k, w, value, neumann):
        w = product(w)
        sign = 1.0 - 2.0 * tf.cast(k % 2, w.dtype)  # (−1)ᵏ
        scale = sign * weight(k)
        value -= scale / tf.cast(k, w.dtype) * _inner(w, probe)
        return k + 1, w, value, neumann + scale * w

    value = tf.zeros_like(probe[(slice(None), *[0] * (probe.shape.rank - 1))])
    state = (tf.constant(1), probe, value, probe)
    if isinstance(terms, int):
        for k in range(1, terms + 1):
            state = step(k, *state[1:])
    else:
        state = tf.while_loop(lambda k, *_: k <= terms, step, state, maximum_iterations=maximum)
    _, _, value, neumann = state
    if autodiff:
        return value
    carrier = _inner(product(tf.stop_gradient(neumann)), probe)
    return tf.stop_gradient(value) + carrier - tf.stop_gradient(carrier)
