"""What holds for every architecture holds for those that hypothesis draws.

The architectures are the same in every run; their confidence is stated where it is below 1.
"""

import collections
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume
from support import architectures
from support.architectures import build, examples_of

import tf_iresnet as tfi


def layer_of(model):
    return model.layer if isinstance(model, tfi.ResidualFlow) else model


def jacobian(function, x, condition=None):
    """That of each row, `[rows, d, d]`, by one gradient of as many copies as it has entries."""
    rows, size = len(x), math.prod(x.shape[1:])
    copies = tf.constant(np.repeat(x, size, axis=0))
    given = () if condition is None else (np.repeat(condition, size, axis=0),)
    with tf.GradientTape() as tape:
        tape.watch(copies)
        y = function(copies, *given)
    basis = tf.constant(np.tile(np.eye(size), (rows, 1)).reshape(y.shape), y.dtype)
    return tape.gradient(y, copies, basis).numpy().reshape(rows, size, size)


def proven_blocks(layer):
    """The blocks with what is proven of them; none of a layer without any."""
    copies = list(layer.blocks())
    return list(zip(copies, tfi.certify(layer).blocks, strict=True)) if copies else []


def amplification(blocks):
    """By how much errors can grow on the way through all blocks, in either direction."""
    return math.prod((1 + proof.lipschitz) / (1 - proof.lipschitz) for _, proof in blocks)


KINDS = {"vectors": architectures.vectors(), "images": architectures.images()}
kinds = pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("vectors", 3),
        pytest.param("vectors", 150, marks=pytest.mark.slow),
        pytest.param("images", 60, marks=pytest.mark.slow),
    ],
)


@kinds
def test_inverse_log_det_and_rows_alone(kind, count, capsys):
    """Against the Jacobian by autodiff and LAPACK, and each row alone against that in a batch."""
    seen, worst = collections.Counter(), collections.Counter()

    def fact(drawn):
        model, x, condition = build(drawn)
        layer = layer_of(model)
        proven = proven_blocks(layer)
        assume(amplification(proven) < 1e5)
        y, log_det = layer.forward_with_log_det(x, condition)
        back, inverse_log_det = layer.inverse_with_log_det(y, condition)
        exact = np.linalg.slogdet(jacobian(layer, x, condition))[1]
        pairs = {
            "inverse": (back, x), "log_det": (log_det, exact),
            "log_det of the inverse": (inverse_log_det, -exact),
        }  # fmt: skip
        alone = condition if condition is None else condition[1:2]
        y_alone, log_det_alone = layer.forward_with_log_det(x[1:2], alone)
        pairs |= {
            "row alone": (y_alone, y[1:2]), "its log_det": (log_det_alone, log_det[1:2]),
            "its inverse": (layer.inverse(y[1:2], alone), back[1:2]),
        }  # fmt: skip
        if isinstance(model, tfi.ResidualFlow):
            values = model(x) if condition is None else model(x, condition)
            pairs["its density"] = model(x[1:2], alone), values[1:2]
        for name, (found, expected) in pairs.items():
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=name)
            worst[name] = max(worst[name], float(np.abs(found - expected).max()))
        seen["architectures"] += 1
        seen["blocks"] += len(proven)

    examples_of(KINDS[kind], count, fact)
    assert seen["architectures"] >= count and seen["blocks"] > 0
    with capsys.disabled():
        print(f"\n{kind}: {dict(seen)}; largest differences:")
        print(*(f"{value:9.1e} {name}" for name, value in worst.items()), sep="\n")


def quotients(g, points, steps):
    """`‖g(x + h) − g(x)‖ / ‖h‖` of pairs."""
    ends = [np.asarray(g(tf.constant(p))).reshape(len(p), -1) for p in (points, points + steps)]
    return np.linalg.norm(ends[1] - ends[0], axis=1) / np.linalg.norm(
        steps.reshape(len(steps), -1), axis=1
    )


@kinds
def test_certificates_bound_quotients_and_singular_values(kind, count, capsys):
    """Of float32 and float64 weights; near and far, at random and along singular vectors."""
    seen, closest = collections.Counter(), 0.0

    def fact(drawn):
        nonlocal closest
        dtype = ("float32", "float64")[drawn.seed % 2]
        random = np.random.default_rng(drawn.seed)
        for copy, proof in proven_blocks(layer_of(build(drawn, dtype).model)):
            bound = tf.nest.map_structure(lambda t: tf.cast(t, tf.float64), copy.bound)
            shape = (6, *copy.block.event_shape)
            points = random.normal(size=shape) * np.logspace(-1, 1, 6).reshape(
                -1, *[1] * (len(shape) - 1)
            )
            _, singular, right = np.linalg.svd(jacobian(bound, points))
            along = right[:, 0].reshape(shape)
            found = [singular[:, 0]]
            for size in (1e-3, 0.1, 3.0):
                for direction in (along, random.normal(size=shape)):
                    found.append(quotients(bound, points, size * direction))
            largest = np.max(found)
            assert largest <= proof.lipschitz * (1 + 1e-9)
            closest = max(closest, largest / proof.lipschitz)
            seen["values"] += np.size(found)
            seen["blocks"] += 1
        seen["architectures"] += 1

    examples_of(KINDS[kind], count, fact)
    assert seen["architectures"] >= count and closest > 0.8, "or any bound would do"
    with capsys.disabled():
        print(f"\n{kind}: {dict(seen)}; the largest was {closest:.6f} of its bound")


class Grid:
    """Points where a density is, equally spaced in `t` with `x = center + width·sinh(t)`."""

    def __init__(self, samples, per_axis, reach=8.0):
        low, self.center, high = np.quantile(samples, [0.25, 0.5, 0.75], axis=0)
        self.width = high - low
        axis, self.step = np.linspace(-reach, reach, per_axis, retstep=True)
        size = samples.shape[1]
        self.t = np.stack(np.meshgrid(*[axis] * size, indexing="ij"), -1).reshape(-1, size)
        self.volume = np.prod(self.width * np.cosh(self.t) * self.step, axis=1)

    def points(self):
        return self.center + self.width * np.sinh(self.t)

    def coordinates(self, x):
        return np.arcsinh((x - self.center) / self.width)

    def draw(self, mass, number, random):
        """Coordinates of points drawn by the mass of the cells."""
        cells = random.choice(len(mass), number, p=mass / mass.sum())
        return self.t[cells] + random.uniform(-0.5, 0.5, (number, self.t.shape[1])) * self.step


def energy_test(a, b, random, permutations=999):
    """p-value of the energy distance of two samples, by permutations (Székely and Rizzo 2004)."""
    both = np.concatenate([a, b])
    distances = np.linalg.norm(both[:, None] - both[None], axis=2)
    signs = np.repeat([1.0, -1.0], [len(a), len(b)])
    labels = np.stack([signs, *(random.permutation(signs) for _ in range(permutations))])
    statistics = -np.einsum("pi,pi->p", labels @ distances, labels)
    return np.mean(statistics >= statistics[0] * (1 - 1e-12))


@pytest.mark.parametrize(
    ("size", "count"), [(1, 1), *(pytest.param(n, 30, marks=pytest.mark.slow) for n in (1, 2))]
)
def test_densities_integrate_to_one_and_samples_follow_them(size, count, capsys):
    """By quadrature; the energy test of a flow that is right fails with probability 0.001.

    Of 60 flows one would fail with probability 0.06, had they not been drawn once and for all.
    """
    seen, worst, least, colder = 0, 0.0, 1.0, []

    def fact(drawn):
        nonlocal seen, worst, least
        flow, _, condition = build(drawn)
        assume(amplification(proven_blocks(flow.layer)) < 1e4)
        given = () if condition is None else (condition[:1],)
        random = np.random.default_rng(drawn.seed)
        samples = flow.sample(500, *given, seed=drawn.seed).numpy()
        grid = Grid(samples, 4001 if size == 1 else 401)
        mass = np.exp(flow.log_prob(grid.points(), *given)) * grid.volume
        worst = max(worst, abs(mass.sum() - 1))
        assert abs(mass.sum() - 1) < 1e-3
        drawn_by_density = grid.draw(mass, len(samples), random)
        p = energy_test(grid.coordinates(samples), drawn_by_density, random)
        least, seen = min(least, p), seen + 1
        assert p > 0.001
        if not colder:  # what the test can tell apart
            cold = flow.sample(500, *given, seed=drawn.seed, temperature=0.5).numpy()
            colder.append(energy_test(grid.coordinates(cold), drawn_by_density, random))

    examples_of(architectures.flows(size), count, fact)
    assert seen >= count and colder[0] <= 0.001
    with capsys.disabled():
        print(f"\n{seen} densities in {size}-D: integrals within {worst:.1e} of 1; ", end="")
        print(f"smallest p of the energy tests {least:.3f}, of colder samples {colder[0]:.3f}")
