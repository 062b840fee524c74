"""Two linear maps as one, against the product of what they do to every unit vector."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet.numerics.linear_map import LinearMap
from tf_iresnet.numerics.operators import Convolution


def kernel_of(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def conv(seed, shape, size, strides=(1, 1), padding="circular", dilation=(1, 1)):
    return LinearMap(kernel_of(*shape, seed=seed), size, strides, padding, dilation)


def written_out(linear, size):
    """`[inputs, outputs]`, and the spatial size of the outputs."""
    if linear.kernel.ndim == 2:
        return linear.kernel, ()
    operator = Convolution(size, linear.strides, linear.padding, linear.dilation)
    count = math.prod(size) * linear.kernel.shape[-2]
    images = tf.reshape(tf.eye(count, dtype=tf.float64), [count, *size, -1])
    outputs = operator.adjoint(tf.constant(linear.kernel), images)
    return outputs.numpy().reshape(count, -1), tuple(outputs.shape[1:-1])


PAIRS = {
    "matrices": (LinearMap(kernel_of(5, 7)), LinearMap(kernel_of(7, 4, seed=1))),
    "valid": (
        conv(0, (3, 2, 2, 3), (7, 6), padding="valid"),
        conv(1, (2, 3, 3, 2), (5, 5), padding="valid"),
    ),
    "circular": (conv(0, (3, 3, 2, 3), (5, 6)), conv(1, (3, 3, 3, 2), (5, 6))),
    "dilated": (
        conv(0, (3, 2, 2, 3), (5, 6), dilation=(2, 1)),
        conv(1, (3, 3, 3, 2), (5, 6), dilation=(1, 2)),
    ),
    "then channels": (
        conv(0, (3, 3, 2, 3), (5, 6), (2, 1), "same"),
        conv(1, (1, 1, 3, 2), (3, 6), padding="same"),
    ),
    "channels before": (
        conv(0, (1, 1, 2, 3), (5, 6), padding="valid"),
        conv(1, (3, 3, 3, 2), (5, 6), (2, 1), "same"),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_joint_norm_is_that_of_the_product_and_below_the_product_of_norms(name):
    first, second = PAIRS[name]
    joined = first.then(second)
    matrix, size = written_out(first, first.size)
    norm = np.linalg.norm(matrix @ written_out(second, size)[0], 2)
    assert norm * (1 - 1e-12) <= joined.norm_bound() <= norm * (1 + 1e-6)
    assert joined.norm_bound() < 0.97 * first.norm_bound() * second.norm_bound()


def test_three_join_too_and_for_every_size():
    maps = [conv(seed, (3, 3, 2, 2), None) for seed in range(3)]
    joined = maps[0].then(maps[1]).then(maps[2])
    assert joined.kernel.shape == (7, 7, 2, 2) and 0 < joined.error < 1e-9
    product = np.eye(72)
    for linear in maps:
        product = product @ written_out(linear, (6, 6))[0]
    norm = np.linalg.norm(product, 2)
    assert norm <= joined.norm_bound() < math.prod(one.norm_bound() for one in maps)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        tuple(conv(seed, (3, 3, 2, 2), (5, 5), padding="same") for seed in (0, 1)),
        (conv(0, (3, 3, 2, 2), (6, 6), (2, 2)), conv(1, (3, 3, 2, 2), (3, 3))),
        (conv(0, (3, 3, 2, 2), (6, 6)), conv(1, (1, 1, 2, 2), (6, 6), (2, 2))),
        (conv(0, (3, 3, 2, 2), (6, 6)), conv(1, (3, 3, 2, 2), (6, 6), padding="valid")),
        (LinearMap(kernel_of(2, 2)), conv(1, (3, 3, 2, 2), (6, 6))),
    ],
)  # fmt: skip
def test_what_is_not_one_convolution_is_left_alone(first, second):
    assert first.then(second) is None
