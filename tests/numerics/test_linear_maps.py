"""Linear maps beside their dense matrices, and two of them as one."""

import math

import numpy as np
import pytest
import tensorflow as tf
from support.dense_convolution import GEOMETRIES, dense_convolution

from tf_iresnet.numerics.linear_maps import Convolution, Matrix
from tf_iresnet.numerics.norms import upper_bound


def kernel_of(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def conv(seed, shape, size, strides=(1, 1), padding="circular", dilation=(1, 1)):
    return Convolution(kernel_of(*shape, seed=seed), size, strides, padding, dilation)


def map_and_matrix(name, seed=0):
    if name == "matrix":
        kernel = kernel_of(4, 6, seed=seed)
        return Matrix(tf.constant(kernel)), kernel
    shape, *geometry = GEOMETRIES[name]
    kernel = kernel_of(*shape, seed=seed)
    return Convolution(tf.constant(kernel), *geometry), dense_convolution(kernel, *geometry)


every_map = pytest.mark.parametrize("name", ["matrix", *GEOMETRIES])


@every_map
def test_apply_adjoint_and_dense_are_those_of_the_matrix(name):
    """Whatever leading axes the vectors have."""
    linear_map, matrix = map_and_matrix(name)
    x, y = kernel_of(6, matrix.shape[0]), kernel_of(6, matrix.shape[1], seed=1)
    for lead in [(6,), (2, 3), (2, 1, 3)]:
        out = linear_map.apply(tf.constant(x.reshape(*lead, *linear_map.input_shape)))
        back = linear_map.adjoint(tf.constant(y.reshape(*lead, *linear_map.output_shape)))
        assert out.shape == (*lead, *linear_map.output_shape)
        assert back.shape == (*lead, *linear_map.input_shape)
        np.testing.assert_allclose(np.reshape(out, [6, -1]), x @ matrix, atol=1e-12)
        np.testing.assert_allclose(np.reshape(back, [6, -1]), y @ matrix.T, atol=1e-12)
    np.testing.assert_allclose(linear_map.dense(), matrix, atol=1e-12)
    gradient = linear_map.kernel_gradient(
        tf.constant(x.reshape(6, *linear_map.input_shape)),
        tf.constant(y.reshape(6, *linear_map.output_shape)),
    )
    expected = np.vdot(x @ matrix, y)  # linear in the kernel
    assert np.sum(gradient * linear_map.kernel) == pytest.approx(expected, rel=1e-10)


@every_map
def test_unknown_batch_and_size(name):
    linear_map, matrix = map_and_matrix(name)
    axes = len(linear_map.kernel_size)
    everywhere = linear_map
    if axes:
        geometry = linear_map.strides, linear_map.padding, linear_map.dilation
        everywhere = Convolution(linear_map.kernel, None, *geometry)
        assert everywhere.output_shape == (None,) * axes + (linear_map.kernel.shape[-1],)

    def run(x, y):
        size = {"size": tf.shape(x)[2:-1]} if axes else {}
        return everywhere.apply(x), everywhere.adjoint(y, **size)

    shapes = [None, None, *[None] * axes, linear_map.input_shape[-1]]
    outputs = [*shapes[:-1], linear_map.output_shape[-1]]
    signature = [tf.TensorSpec(s, tf.float64) for s in (shapes, outputs)]
    x, y = kernel_of(6, matrix.shape[0]), kernel_of(6, matrix.shape[1], seed=1)
    out, back = tf.function(run, input_signature=signature, autograph=False)(
        x.reshape(2, 3, *linear_map.input_shape), y.reshape(2, 3, *linear_map.output_shape)
    )
    np.testing.assert_allclose(np.reshape(out, [6, -1]), x @ matrix, atol=1e-12)
    np.testing.assert_allclose(np.reshape(back, [6, -1]), y @ matrix.T, atol=1e-12)


@pytest.mark.parametrize("name", ["matrix", "strided", "circular", "dilated", "volume", "channels"])
def test_adjoint_has_gradients_of_any_order(name, mode, run_in_mode):
    """`‖y Wᵀ‖⁴/4` in closed form: its gradients, and theirs along a direction."""
    linear_map, matrix = map_and_matrix(name)
    y = kernel_of(2, matrix.shape[1], seed=1)
    slope_y = kernel_of(2, matrix.shape[1], seed=2)

    def gradients(kernel, y):
        with tf.GradientTape(persistent=True) as outer:
            outer.watch((kernel, y))
            with tf.GradientTape() as tape:
                tape.watch((kernel, y))
                value = tf.reduce_sum(linear_map.with_kernel(kernel).adjoint(y) ** 2) ** 2 / 4
            of_kernel, of_y = tape.gradient(value, (kernel, y))
            along = tf.reduce_sum(of_y * tf.reshape(slope_y, tf.shape(of_y)))
        return of_kernel, of_y, *outer.gradient(along, (kernel, y))

    image_shape = (2, *linear_map.output_shape)
    function = run_in_mode(gradients, mode)
    of_kernel, of_y, mixed, twice = function(linear_map.kernel, tf.constant(y.reshape(image_shape)))
    x = y @ matrix.T
    square = np.sum(x**2)
    np.testing.assert_allclose(np.reshape(of_y, [2, -1]), square * x @ matrix, rtol=1e-9)
    # The value has degree four in the kernel, the slope in y three in it and two in the other.
    assert np.sum(of_kernel * linear_map.kernel) == pytest.approx(square**2, rel=1e-9)
    along = square * np.sum(x @ matrix * slope_y)
    assert np.sum(mixed * linear_map.kernel) == pytest.approx(4 * along, rel=1e-9)
    z = slope_y @ matrix.T
    expected = 2 * np.sum(x * z) * x @ matrix + square * z @ matrix
    np.testing.assert_allclose(np.reshape(twice, [2, -1]), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["matrix", "strided", "channels"])
def test_a_stack_is_sliced_by_nest_and_written_out_copy_by_copy(name):
    one, _ = map_and_matrix(name)
    kernels = np.stack([map_and_matrix(name, seed)[0].kernel for seed in range(6)])
    shape = kernels.shape[1:]
    stack = one.with_kernel(tf.constant(kernels.reshape(2, 3, *shape)))
    assert stack.stack == (2, 3) and stack.num_stacked == 2
    assert stack.input_shape == one.input_shape and stack.output_shape == one.output_shape
    copy = tf.nest.map_structure(lambda t: t[1, 0], stack)
    assert type(copy) is type(one) and copy.stack == ()
    tf.nest.assert_same_structure(copy, one)
    np.testing.assert_array_equal(copy.kernel, kernels[3])
    np.testing.assert_allclose(stack.dense()[1, 0], map_and_matrix(name, 3)[1], atol=1e-12)
    np.testing.assert_allclose(stack.peak()[1, 0], np.abs(kernels[3]).max())
    taps = np.sqrt((kernels[3] ** 2).sum((-2, -1))).sum()
    np.testing.assert_allclose(stack.taps_norm()[1, 0], taps)


def test_a_stack_of_matrices_takes_a_stack_of_vectors():
    kernels, x = kernel_of(2, 3, 4, 5), kernel_of(2, 3, 7, 4, seed=1)
    stack = Matrix(tf.constant(kernels))
    y = stack.apply(tf.constant(x))
    np.testing.assert_allclose(y, np.einsum("abni,abio->abno", x, kernels), atol=1e-12)
    back = np.einsum("abno,abio->abni", y, kernels)
    np.testing.assert_allclose(stack.adjoint(y), back, atol=1e-12)


PAIRS = {
    "matrices": (Matrix(kernel_of(5, 7)), Matrix(kernel_of(7, 4, seed=1))),
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


def written_out(linear_map, size=None):
    if not isinstance(linear_map, Convolution):
        return linear_map.kernel
    geometry = linear_map.strides, linear_map.padding, linear_map.dilation
    return dense_convolution(linear_map.kernel, size or linear_map.size, *geometry)


@pytest.mark.parametrize("name", PAIRS)
def test_the_joint_norm_is_that_of_the_product_and_below_the_product_of_norms(name):
    first, second = PAIRS[name]
    joined = first.then(second)
    norm = np.linalg.norm(written_out(first) @ written_out(second), 2)
    assert norm * (1 - 1e-12) <= upper_bound(joined) <= norm * (1 + 1e-6)
    assert upper_bound(joined) < 0.97 * upper_bound(first) * upper_bound(second)


def test_three_join_too_and_for_every_size():
    maps = [conv(seed, (3, 3, 2, 2), None) for seed in range(3)]
    joined = maps[0].then(maps[1]).then(maps[2])
    assert joined.kernel.shape == (7, 7, 2, 2) and 0 < joined.error < 1e-9
    product = np.eye(72)
    for linear_map in maps:
        product = product @ written_out(linear_map, (6, 6))
    norm = np.linalg.norm(product, 2)
    assert norm <= upper_bound(joined) < math.prod(upper_bound(one) for one in maps)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        tuple(conv(seed, (3, 3, 2, 2), (5, 5), padding="same") for seed in (0, 1)),
        (conv(0, (3, 3, 2, 2), (6, 6), (2, 2)), conv(1, (3, 3, 2, 2), (3, 3))),
        (conv(0, (3, 3, 2, 2), (6, 6)), conv(1, (1, 1, 2, 2), (6, 6), (2, 2))),
        (conv(0, (3, 3, 2, 2), (6, 6)), conv(1, (3, 3, 2, 2), (6, 6), padding="valid")),
        (Matrix(kernel_of(2, 2)), conv(1, (3, 3, 2, 2), (6, 6))),
    ],
)  # fmt: skip
def test_what_is_not_one_convolution_is_left_alone(first, second):
    assert first.then(second) is None


def test_errors_are_carried_along():
    first, second = (Matrix(kernel_of(3, 3, seed=s), error=e) for s, e in ((0, 1e-3), (1, 2e-3)))
    joined = first.then(second)
    norms = [np.linalg.norm(m.kernel, 2) for m in (first, second)]
    assert joined.error >= 1e-3 * norms[1] + 2e-3 * norms[0] + 2e-6
    assert upper_bound(joined) == pytest.approx(np.linalg.norm(joined.kernel, 2) + joined.error)


def test_wrong_geometries_are_named():
    with pytest.raises(ValueError, match=r"one size, stride and dilation.*size=\(5,\)"):
        Convolution(np.zeros((3, 3, 2, 2)), (5,), (1, 1), "same", (1, 1))
    with pytest.raises(ValueError, match="each spatial axis"):
        Convolution(np.zeros((2, 2)), (), (), "same", ())
    with pytest.raises(ValueError, match="the images' size"):
        conv(0, (3, 3, 2, 2), None).adjoint(np.zeros([1, 4, 4, 2]))
