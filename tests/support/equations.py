"""Fixed-point problems, and how TensorFlow runs what solves them."""

import numpy as np
import tensorflow as tf

from tf_iresnet.numerics.bound_function import BoundFunction
from tf_iresnet.numerics.fixed_point import solve

MODES = {
    "eager": lambda f: f,
    "graph": tf.function,
    "xla": lambda f: tf.function(f, jit_compile=True),
}


BATCH, SIZE, HIDDEN, BOUND = 6, 4, 8, 0.9


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def of_norm(norm, *shape, seed=0):
    matrix = normal(*shape, seed=seed)
    return matrix * norm / np.linalg.norm(matrix, 2)


def linear(x, kernel):
    return tf.matmul(x, kernel)


def network(x, first, second, condition):
    return tf.matmul(tf.tanh(tf.matmul(x, first) + condition), second)


def network_inputs():
    """y, first kernel, second kernel, condition: Lip(network) ≤ 0.9."""
    return (
        tf.constant(normal(BATCH, SIZE, seed=1)),
        tf.constant(of_norm(BOUND, SIZE, HIDDEN, seed=2)),
        tf.constant(of_norm(1.0, HIDDEN, SIZE, seed=3)),
        tf.constant(0.3 * normal(BATCH, HIDDEN, seed=4)),
    )


def solved(y, *parameters, **options):
    options = {"tolerance": 1e-12, **options}
    g = BoundFunction.of(network, *parameters)
    return solve(g, y, lipschitz=BOUND, **options).value


def newton(y, first, second, condition):
    """The same solution by an independent route that TensorFlow can differentiate to any order."""
    x = y
    for _ in range(8):
        hidden = tf.tanh(tf.matmul(x, first) + condition)
        slopes = (1 - hidden**2)[:, tf.newaxis] * tf.transpose(second)
        jacobian = tf.eye(SIZE, dtype=y.dtype) + tf.matmul(slopes, first, transpose_b=True)
        x += tf.linalg.matvec(tf.linalg.inv(jacobian), y - x - tf.matmul(hidden, second))
    return x


def functional(x):
    return tf.reduce_sum(tf.constant(normal(*x.shape, seed=9), x.dtype) * tf.sin(x))


def gradients_of(solution, inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = functional(solution(*inputs))
    return tape.gradient(loss, inputs)
