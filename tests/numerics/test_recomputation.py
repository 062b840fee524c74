"""A loop that is computed again beside TensorFlow's own gradient of the same loop."""

import numpy as np
import pytest
import tensorflow as tf
from support.references import points

from tf_iresnet.numerics.recomputation import Recomputed

TIMES = 4


def step(own, x, index):
    """A map of each example, and a term that depends on the place in the loop."""
    scale, shift, count = own
    angle = x * scale + tf.cast(count, x.dtype) * shift
    return [x + 0.3 * tf.sin(angle), tf.cast(index, x.dtype) * tf.reduce_sum(tf.cos(angle), 1)]


def undo(own, y, index):
    """By Newton's method."""
    (scale, shift, count), x = own, y
    for _ in range(7):
        slope = 1 + 0.3 * scale * tf.cos(x * scale + tf.cast(count, x.dtype) * shift)
        x -= (step(own, x, index)[0] - y) / slope
    return x


def bound():
    return points(TIMES, 3) / 3, points(TIMES, 1, seed=1), tf.constant([1, 0, 2, 1])


def plainly(parameters, x, reverse):
    """Final output, sum and all inputs, one step after another."""
    total, inputs = 0.0, {}
    for index in reversed(range(TIMES)) if reverse else range(TIMES):
        inputs[index] = x
        x, term = step([t[index] for t in parameters], x, index)
        total += term
    return x, total, tf.stack([inputs[index] for index in range(TIMES)])


def loss_and_gradients(values, sources):
    with tf.GradientTape() as tape:
        tape.watch(sources)
        y, total = values()
        loss = tf.reduce_sum(y**2) + tf.reduce_sum(total * [1.0, -2.0])
    return tape.gradient(loss, sources)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("keeps", [True, False])
def test_derivatives_of_first_and_second_order_are_those_of_the_loop(keeps, reverse, run_in_mode):
    *floats, counts = bound()
    sources = [points(2, 3, seed=2), *floats]

    def ours(x, *floats):
        parameters = (*floats, counts)
        y, total, inputs = map(tf.stop_gradient, plainly(parameters, x, reverse))
        again = Recomputed(step, None if keeps else undo, TIMES, reverse)
        return again.attach([y, total], inputs if keeps else None, parameters, x)

    def theirs(x, *floats):
        return plainly((*floats, counts), x, reverse)[:2]

    found = []
    for function in (ours, theirs):

        def both_orders(*sources, function=function):
            with tf.GradientTape() as tape:
                tape.watch(sources)
                first = loss_and_gradients(lambda: function(*sources), sources)
                along = tf.add_n([tf.reduce_sum(tf.sin(gradient)) for gradient in first])
            return *first, *tape.gradient(along, sources)

        found.append(run_in_mode(both_orders, "graph")(*sources))
    for our, their in zip(*found, strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-9, atol=1e-9)
