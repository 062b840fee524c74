"""Sandwich layers: orthonormal factors, the merged perceptron, and the proof of its constant."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet.numerics import cayley

SHAPES = [
    (2, 64, 64, 2),
    (7, 64, 64, 7),
    (64, 64, 64, 64),
    (3, 128, 128, 128, 3),
    (64, 16, 64),
    (2, 64, 64),
    (64, 8, 1),
    (2, 32, 16, 32, 64, 32, 5),
]
SMALL = (3, 12, 10, 4)


def parameters(shape, stack=(), seed=0, rank=None, scale=4.0, psi=1.0, dtype="float64"):
    """Free parameters of each hidden layer, `[U, V, scale, psi]`, and of the last map."""
    rng = np.random.default_rng(seed)

    def draw(*size):
        if rank is None:
            return rng.normal(size=(*stack, *size)).astype(dtype)
        low = rng.normal(size=(*stack, size[0], rank)) @ rng.normal(size=(*stack, rank, size[1]))
        return (low + 1e-3 * rng.normal(size=(*stack, *size))).astype(dtype)

    scale = np.broadcast_to(scale, stack).astype(dtype)
    layers = []
    for inputs, units in itertools.pairwise(shape[:-1]):
        exponents = rng.uniform(-psi, psi, size=(*stack, units)).astype(dtype)
        layers.append([draw(units, units), draw(inputs, units), scale, exponents])
    few, many = sorted(shape[-2:])
    return layers, [draw(few, few), draw(many - few, few), scale]


def factors(layers, last, shape):
    hidden = [cayley.orthonormal_rows(*layer[:3]) for layer in layers]
    q = cayley.orthonormal_rows(*last)
    wide = shape[-1] > shape[-2]
    return hidden, [layer[3] for layer in layers], tf.linalg.matrix_transpose(q) if wide else q


def network(shape, coefficient=1.0, **kwargs):
    """The merged weights, as arrays, and the multipliers that prove their constant."""
    hidden, psis, q = factors(*parameters(shape, **kwargs), shape)
    weights = cayley.merged_weights(hidden, psis, q, coefficient)
    return [w.numpy() for w in weights], [np.exp(2 * np.asarray(p, "float64")) for p in psis]


def lip_sdp(weights, multipliers, bound):
    """The whole matrix of the condition, over the inputs and all hidden units."""
    diagonal = [bound**2 * np.eye(len(weights[0])), *(2 * np.diag(m) for m in multipliers)]
    diagonal[-1] = diagonal[-1] - weights[-1] @ weights[-1].T
    edges = np.cumsum([0, *map(len, diagonal)])
    matrix = np.zeros([edges[-1]] * 2)
    for k, block in enumerate(diagonal):
        matrix[edges[k] : edges[k + 1], edges[k] : edges[k + 1]] = block
        if k:
            link = -weights[k - 1] * multipliers[k - 1]
            matrix[edges[k - 1] : edges[k], edges[k] : edges[k + 1]] = link
            matrix[edges[k] : edges[k + 1], edges[k - 1] : edges[k]] = link.T
    return matrix


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0, 1e5])
@pytest.mark.parametrize("rank", [None, 3])
def test_factors_are_orthonormal(scale, rank, dtype):
    layers, last = parameters((7, 64, 3), (2,), 0, rank, scale, dtype=dtype)
    a, b = np.split(cayley.orthonormal_rows(*layers[0][:3]).numpy(), [64], -1)
    q = cayley.orthonormal_rows(*last).numpy()
    assert a.shape == (2, 64, 64) and b.shape == (2, 64, 7) and q.shape == (2, 3, 64)
    assert a.dtype == b.dtype == q.dtype == dtype
    # A scale that is cut off still costs float32 its last digits.
    tolerance = 1e-12 if dtype == "float64" else 1e-5 if scale < 1e3 else 2e-4
    a, b = np.float64(a), np.float64(b)
    gram = a @ a.mT + b @ b.mT
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(64), gram.shape), atol=tolerance)
    np.testing.assert_allclose(q @ q.mT, np.broadcast_to(np.eye(3), (2, 3, 3)), atol=tolerance)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_factors_are_the_cayley_transform_and_the_parameters_size_cancels(size, dtype):
    u, v, _, _ = parameters((3, 5, 2))[0][0]
    rows = cayley.orthonormal_rows((size * u).astype(dtype), (size * v).astype(dtype), 2.0)
    a, b = np.split(rows.numpy(), [5], -1)
    u, v = (2 * part / np.sqrt(np.sum(u**2) + np.sum(v**2)) for part in (u, v))
    z = u - u.T + v.T @ v
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(a, np.linalg.solve(np.eye(5) + z, np.eye(5) - z).T, atol=tolerance)
    np.testing.assert_allclose(b, -2 * np.linalg.inv(np.eye(5) + z).T @ v.T, atol=tolerance)


def test_zeros_give_the_identity_and_finite_gradients(dtype):
    square, rest = tf.zeros([2, 4, 4], dtype), tf.zeros([2, 3, 4], dtype)
    with tf.GradientTape() as tape:
        tape.watch([square, rest])
        rows = cayley.orthonormal_rows(square, rest, tf.ones([2], dtype))
        value = tf.reduce_sum(rows)
    np.testing.assert_array_equal(rows, np.broadcast_to(np.eye(4, 7), (2, 4, 7)))
    assert all(np.isfinite(g).all() for g in tape.gradient(value, [square, rest]))


def test_nan_stays_in_its_member_of_the_stack(dtype):
    u, v, scale, _ = parameters((3, 5, 2), (3,), dtype=dtype)[0][0]
    expected = cayley.orthonormal_rows(u, v, scale)[1]
    scale = scale.copy()
    u[0, 1, 2] = scale[2] = np.nan
    for rest in (v, v[:, :0]):
        rows = cayley.orthonormal_rows(u, rest, scale).numpy()
        assert np.isnan(rows[[0, 2]]).all() and np.isfinite(rows[1]).all()
    np.testing.assert_array_equal(cayley.orthonormal_rows(u, v, scale)[1], expected)


@pytest.mark.parametrize("shape", [SMALL, (4, 6, 9), (5, 3, 3)])
def test_merged_matrices_are_the_sandwich_layers(shape):
    hidden, psis, q = factors(*parameters(shape), shape)
    weights = cayley.merged_weights(hidden, psis, q, 0.9)
    x = np.random.default_rng(1).normal(size=(20, shape[0]))
    merged, layered = x @ weights[0], x
    for k, (rows, psi) in enumerate(zip(hidden, map(np.exp, psis), strict=True)):
        a, b = np.split(rows.numpy(), [len(psi)], -1)
        bias = np.linspace(-1, 1, len(psi))
        inner = np.sqrt(2) * layered @ b.T / psi
        # The shorter link belongs to the merged network alone.
        inner *= 1 - cayley.SLACK if k else 1
        layered = np.sqrt(2) * (np.tanh(inner + bias) * psi) @ a
        merged = np.tanh(merged + bias) @ weights[k + 1].numpy()
    np.testing.assert_allclose(merged, 0.9 * layered @ q.numpy().T, atol=1e-12)


@pytest.mark.parametrize("coefficient", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("shape", [SMALL, (4, 6, 9), (6, 4, 4, 4)])
def test_bound_is_the_least_that_the_whole_matrix_proves(shape, coefficient):
    weights, multipliers = network(shape, coefficient)
    bound = cayley.lipschitz_bound(weights, multipliers, coefficient)
    scaled = [m * (coefficient * (1 + cayley.SLACK)) ** 2 for m in multipliers]
    assert np.linalg.eigvalsh(lip_sdp(weights, scaled, bound))[0] > -1e-13
    assert np.linalg.eigvalsh(lip_sdp(weights, scaled, bound * (1 - 1e-6)))[0] < -1e-13
    assert np.linalg.eigvalsh(lip_sdp(weights, scaled, 0.98 * bound))[0] < -1e-4


def test_bound_of_one_unit_is_the_product_of_its_weights():
    """With the multiplier `v²`, `w² v⁴/(2v² − v²) = (w v)²`."""
    bound = cayley.lipschitz_bound([[[-3.0]], [[0.5]]], [[0.25]])
    assert 1.5 <= bound == pytest.approx(1.5, rel=1e-8)


@pytest.mark.parametrize("shape", [SMALL, (4, 6, 9), (8, 8, 8, 8)])
def test_no_jacobian_and_no_difference_exceeds_the_bound(shape):
    weights, multipliers = network(shape, 0.9, psi=2.0, dtype="float32")
    bound = cayley.lipschitz_bound(weights, multipliers, 0.9)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4000, shape[0])) * rng.choice([0.1, 1, 5], size=(4000, 1))
    jacobians = np.eye(shape[0])
    outputs = x
    for w in weights[:-1]:
        before = outputs @ w.astype("float64")
        slopes = np.exp(np.minimum(before, 0))  # of ELU
        outputs = np.where(before > 0, before, slopes - 1)
        jacobians = jacobians @ w * slopes[:, None]
    sizes = np.linalg.svd(jacobians @ weights[-1], compute_uv=False)[:, 0]
    outputs = outputs @ weights[-1]
    distances = np.linalg.norm(x - x[::-1], axis=1)
    quotients = np.linalg.norm(outputs - outputs[::-1], axis=1) / distances
    assert 0.1 * bound < sizes.max() <= bound and quotients.max() <= bound
    # Slopes of 1 everywhere are allowed too.
    assert np.linalg.svd(np.linalg.multi_dot([*weights]), compute_uv=False)[0] <= bound


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_weights_are_proven_within_a_thousandth(shape, rank):
    coefficient = np.array([0.5, 0.97, 1.0, 1.5], "float32")
    kwargs = {"stack": (4,), "scale": [1e-3, 1.0, 100.0, 1e5], "psi": 3.0, "rank": rank}
    weights, multipliers = network(shape, coefficient, dtype="float32", **kwargs)
    assert all(w.dtype == "float32" for w in weights)
    bounds = cayley.lipschitz_bound(weights, multipliers, coefficient)
    assert bounds.dtype == "float64" and np.all(bounds <= 1.001 * coefficient)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_tampered_weights_are_found(position):
    weights, multipliers = network((2, 16, 16, 2))
    honest = cayley.lipschitz_bound(weights, multipliers)
    weights[position] *= 1.05
    assert honest <= 1.001 < 1.01 * honest < cayley.lipschitz_bound(weights, multipliers)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_what_is_not_finite_is_not_proven(value):
    weights, multipliers = network(SMALL, stack=(2,))
    for array in (*weights, *multipliers):
        kept = array[1].flat[3]
        array[1].flat[3] = value
        first, second = cayley.lipschitz_bound(weights, multipliers)
        array[1].flat[3] = kept
        assert first <= 1.001 and second > 1e3
    for wrong in (0.0, -1.0, np.nan):
        assert cayley.lipschitz_bound(*network(SMALL), wrong) == np.inf
    assert cayley.lipschitz_bound(weights, [-m for m in multipliers])[0] == np.inf


def test_a_multiplier_per_hidden_layer_is_expected():
    with pytest.raises(ValueError, match=r"one multiplier per hidden layer.* Received: 1 .* 3"):
        cayley.lipschitz_bound([np.eye(2)] * 3, [np.ones(2)])


def test_a_stack_is_its_members_one_by_one():
    layers, last = parameters(SMALL, (2, 3), scale=[1.0, 5.0, 30.0])
    coefficient = np.linspace(0.5, 1, 6).reshape(2, 3)
    hidden, psis, q = factors(layers, last, SMALL)
    stacked = cayley.merged_weights(hidden, psis, q, coefficient)
    multipliers = [np.exp(2 * p) for p in psis]
    bounds = cayley.lipschitz_bound(stacked, multipliers, coefficient)
    for i in np.ndindex(2, 3):
        alone = factors([[p[i] for p in layer] for layer in layers], [p[i] for p in last], SMALL)
        weights = cayley.merged_weights(*alone, coefficient[i])
        for one, all_of_them in zip(weights, stacked, strict=True):
            np.testing.assert_allclose(one, all_of_them[i], atol=1e-12)
        bound = cayley.lipschitz_bound(weights, [m[i] for m in multipliers], coefficient[i])
        np.testing.assert_allclose(bound, bounds[i], rtol=1e-9)


def value_and_gradients(shape, *flat):
    """Of a linear function of the merged weights, with respect to all parameters."""
    rng = np.random.default_rng(3)
    layers = [flat[k : k + 4] for k in range(0, len(flat) - 3, 4)]
    with tf.GradientTape() as tape:
        tape.watch(flat)
        weights = cayley.merged_weights(*factors(layers, flat[-3:], shape), 0.9)
        value = tf.add_n([tf.reduce_sum(rng.normal(size=w.shape) * w) for w in weights])
    return value, tape.gradient(value, flat)


def flat_parameters(shape):
    layers, last = parameters(shape, (2,))
    return [tf.constant(p) for p in (*itertools.chain(*layers), *last)]


def test_gradient_is_that_of_finite_differences():
    shape, rng = (3, 6, 5, 4), np.random.default_rng(4)
    flat = flat_parameters(shape)
    _, gradients = value_and_gradients(shape, *flat)
    for k, (p, gradient) in enumerate(zip(flat, gradients, strict=True)):
        step = 1e-6 * rng.normal(size=p.shape)
        above, below = (
            value_and_gradients(shape, *flat[:k], p + s, *flat[k + 1 :])[0] for s in (step, -step)
        )
        expected = 2 * np.sum(gradient * step)
        assert float(above - below) == pytest.approx(expected, rel=1e-5, abs=1e-14)


def test_xla_computes_the_same():
    shape = (3, 5, 5)  # a square last map, whose V has no rows
    flat = flat_parameters(shape)
    compiled = tf.function(value_and_gradients, jit_compile=True, autograph=False)(shape, *flat)
    for one, other in zip(
        tf.nest.flatten(compiled), tf.nest.flatten(value_and_gradients(shape, *flat)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-12)
