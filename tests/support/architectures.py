"""Random architectures: hypothesis draws constructors, `dtype → layer`, as the contract table has.

Leaves are entries of that table and blocks of random sizes, which are stacked, turned around and
repeated at random; others are what the recipes make of random arguments.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from layers.test_contract import CONDITION, EVENT, EVENTS, LAYERS, PERTURBED

import tf_iresnet as tfi
from tf_iresnet import layers
from tf_iresnet.layers import activations
from tf_iresnet.layers.triangular import ELEMENTWISE

SMOOTH = ("elu", "lipswish", "sine", "softplus", "tanh")  # with slopes that every block can use
ANY = tuple(sorted({*activations.SLOPES, *activations.LAYERS} - {"linear"}))
BASES = ("normal", "learned_normal", "student_t", "learned_student_t", "mixture", "full_mixture")
ON_UNIT_INTERVAL = ("logit", "gaussianize")  # where their data are; they come first


TOGETHER = 10  # examples of one seed


class Drawn(NamedTuple):
    """A constructor `dtype → built layer or flow`, and what it is for."""

    make: Callable[[str], Any]
    event: tuple[int, ...]
    seed: int  # of weights and data
    scale: float  # of the kernels
    unit_interval: bool  # whether the data have to be in (0, 1)


class Subject(NamedTuple):
    """A built layer or flow of random weights, inputs and condition."""

    model: Any
    x: np.ndarray
    condition: np.ndarray | None


def examples_of(strategy, count, fact):
    """Checks a fact of `count` examples, the same in every run.

    Drawn a few at a time, since hypothesis varies an example before it draws another.
    """

    @settings(
        max_examples=min(count, TOGETHER), database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(drawn=strategy)
    def check(drawn):
        fact(drawn)

    for number in range(-(-count // TOGETHER)):
        seed(number)(check)()


def build(drawn, dtype="float64", rows=3):
    """The subject: kernels are `drawn.scale` times standard normal, shifts and scales a half."""
    random, model = np.random.default_rng(drawn.seed), drawn.make(dtype=dtype)
    if not model.built:
        model.build((None, *drawn.event))
    base = model.base.trainable_weights if isinstance(model, tfi.ResidualFlow) else []
    of_base = {id(weight) for weight in base}
    for weight in model.trainable_weights:
        values = random.normal(size=weight.shape)
        if id(weight) in of_base:  # their initial values are on the scale of normal latents
            weight.assign_add(values / 4)
        else:
            special = weight.name.startswith(PERTURBED)
            weight.assign(values * (0.5 if special else drawn.scale))
    shape = (rows, *drawn.event)
    x = random.uniform(0.1, 0.9, shape) if drawn.unit_interval else 2 * random.normal(size=shape)
    size = model.condition_size
    condition = None if size is None else random.normal(size=(rows, size)).astype(dtype)
    return Subject(model, x.astype(dtype), condition)


# -- constructors ---------------------------------------------------------------------------------


def tolerance(dtype):
    return 1e-12 if dtype == "float64" else 1e-5


def of_table(name, dtype):
    return LAYERS[name](dtype)


def act_norm(dtype):
    return layers.ActNorm(dtype=dtype)


def rescale(scale, offset, dtype):
    return layers.Rescale(scale, offset, dtype=dtype)


def whiten(size, seed, dtype):
    random = np.random.default_rng(seed)
    factor = np.tril(random.normal(size=(size, size)), -1) + np.diag(random.uniform(0.5, 2, size))
    return layers.Whiten(random.normal(size=size), factor, dtype=dtype)


def block(kind, branch, dtype):
    make = getattr(layers, kind)
    return make(branch(dtype=dtype), "exact", tolerance=tolerance(dtype), dtype=dtype)


def dense(hidden, features, activation, coefficient, rule, condition_size, dtype):
    common = {"normalization": rule, "condition_size": condition_size, "dtype": dtype}
    branch = [layers.SpectralDense(n, coefficient, activation, **common) for n in hidden]
    return [*branch, layers.SpectralDense(features, coefficient, **common)]


def concatenated(hidden, features, activation, coefficient, rule, condition_size, dtype):
    arguments = coefficient, rule, condition_size, dtype
    *inner, last = dense(hidden, features, activation, *arguments)
    return [*(layers.LipschitzConcat(layer) for layer in inner), last]


def sandwich(hidden, features, activation, coefficient, condition_size, dtype):
    return layers.LipschitzMLP(
        hidden, features, coefficient, activation, condition_size, dtype=dtype
    )


def convolutions(hidden, channels, kernel, activation, coefficient, rule, dtype):
    common = {"coefficient": coefficient, "normalization": rule, "padding": "same", "dtype": dtype}
    branch = [layers.SpectralConv2D(n, kernel, activation=activation, **common) for n in hidden]
    return [*branch, layers.SpectralConv2D(channels, 3 if not hidden else 1, **common)]


def triangular(units, activation, coefficient, rule, reverse, condition_size, dtype):
    return layers.TriangularBlock(
        units, coefficient, activation, reverse, condition_size, seed=0,
        dense={"normalization": rule}, tolerance=tolerance(dtype), dtype=dtype,
    )  # fmt: skip


def stacked(parts, dtype):
    return layers.InvertibleSequential([part(dtype=dtype) for part in parts], dtype=dtype)


def inverse(part, dtype):
    return layers.Inverse(part(dtype=dtype), dtype=dtype)


def repeated(part, times, memory, dtype):
    return layers.Repeated(part(dtype=dtype), times, memory, dtype=dtype)


def multi_scale(stages, dtype):
    made = [[layers.Squeeze(dtype=dtype), stage(dtype=dtype)] for stage in stages]
    return layers.MultiScale(made, dtype=dtype)


def flow(part, base, dtype):
    return tfi.ResidualFlow(part(dtype=dtype), base, dtype=dtype)


def recipe(make, shape, dtype, **arguments):
    return make(shape, log_det="exact", tolerance=tolerance(dtype), dtype=dtype, **arguments)


# -- strategies -----------------------------------------------------------------------------------

seeds = st.integers(0, 2**16)
coefficients = st.floats(0.1, 0.9)
rules = st.sampled_from(["power", "gram", "aol"])
condition_sizes = st.sampled_from([None, CONDITION])
memories = st.sampled_from(["store", "recompute", "invert"])
kinds = st.sampled_from(["ResidualBlock", "MonotoneBlock"])
even = st.sampled_from([2, 4, 6])  # "maxmin" pairs units


def partials(function, **strategies):
    """Strategy: the function with arguments drawn."""
    return st.builds(functools.partial, st.just(function), **strategies)


def drawn(make, event, scale=st.just(1.0), unit_interval=st.just(False)):  # noqa: B008
    """Strategy: what is made, with a seed."""
    return st.builds(Drawn, make, event, seeds, scale, unit_interval)


def combined(leaves):
    """Leaves stacked, turned around and repeated, at random."""

    def larger(inner):
        return st.one_of(
            partials(stacked, parts=st.lists(inner, min_size=1, max_size=3)),
            partials(inverse, part=inner),
            partials(repeated, part=inner, times=st.integers(1, 2), memory=memories),
        )

    return st.recursive(leaves, larger, max_leaves=3)


def blocks(size, names=ANY):
    """Blocks of vectors, of every kind."""
    sloped = [name for name in names if name in SMOOTH]
    common = {"features": st.just(size), "coefficient": coefficients}
    common["condition_size"] = condition_sizes
    several = {"hidden": st.lists(even, max_size=2), "activation": st.sampled_from(names)}
    branches = st.one_of(
        partials(dense, rule=rules, **several, **common),
        partials(concatenated, rule=rules, **several, **common),
        partials(
            sandwich, hidden=st.lists(even, min_size=1, max_size=2),
            activation=st.sampled_from(sloped), **common,
        ),
    )  # fmt: skip
    elementwise = [name for name in names if name in ELEMENTWISE]
    own = {"coefficient": coefficients, "rule": rules, "condition_size": condition_sizes}
    own |= {"activation": st.sampled_from(elementwise), "reverse": st.booleans()}
    units = st.lists(st.integers(1, 3), max_size=2)
    return st.one_of(
        partials(block, kind=kinds, branch=branches), partials(triangular, units=units, **own)
    )


def vector_layers(size, names=ANY):
    """Any layer of vectors of that size, and what it is made of."""
    closed = st.one_of(
        partials(act_norm),
        partials(rescale, scale=st.sampled_from([-2.0, 0.5]), offset=st.floats(-1, 1)),
        partials(whiten, size=st.just(size), seed=seeds),
    )
    leaves = [blocks(size, names), blocks(size, names), closed]
    if (size,) == EVENT and names == ANY:
        known = [n for n in LAYERS if n not in EVENTS and n not in ON_UNIT_INTERVAL]
        leaves.append(partials(of_table, name=st.sampled_from(known)))
    return combined(st.one_of(leaves))


def mlp_flows(size, names=SMOOTH):
    """Recipes of vectors."""
    residual = {
        "block": st.sampled_from(["residual", "monotone", "implicit"]),
        "branch": st.just("spectral"),
        "normalization": rules,
    }
    others = [
        residual,
        {**residual, "branch": st.just("lipschitz_mlp"), "normalization": st.just("power")},
        {**residual, "block": st.just("triangular")},
    ]
    common = {
        "num_blocks": st.just(2), "coefficient": coefficients,
        "hidden_units": st.lists(even, min_size=1, max_size=2), "act_norm": st.booleans(),
        "activation": st.sampled_from(names), "condition_size": condition_sizes,
        "base": st.sampled_from(BASES), "memory": memories, "seed": seeds,
    }  # fmt: skip
    return st.one_of(
        [partials(functools.partial(recipe, tfi.mlp_flow, size), **common, **own) for own in others]
    )


def vectors():
    """Layers and recipes of vectors of 1 to 4 entries."""

    def of(size):
        made = st.one_of(vector_layers(size), mlp_flows(size))
        return drawn(made, st.just((size,)), scale=st.sampled_from([1.0, 0.1, 5.0]))

    first = st.sampled_from([functools.partial(of_table, name) for name in ON_UNIT_INTERVAL])
    begun = partials(stacked, parts=st.tuples(first, vector_layers(*EVENT)))
    return st.one_of(
        st.sampled_from([3, 2, 1, 4]).flatmap(of),
        drawn(begun, st.just(EVENT), unit_interval=st.just(True)),
    )


def convolutional(channels):
    """Layers of images of so many channels, of any size."""
    branches = partials(
        convolutions, hidden=st.lists(even, max_size=1), channels=st.just(channels),
        kernel=st.sampled_from([1, 3]), activation=st.sampled_from(ANY), coefficient=coefficients,
        rule=rules,
    )  # fmt: skip
    own = partials(block, kind=kinds, branch=branches)
    return combined(st.one_of(own, own.map(lambda made: made), partials(act_norm)))


def images():
    """Entries of the table, layers, multi-scale networks and recipes of small images."""
    table = st.sampled_from(sorted(EVENTS)).flatmap(
        lambda name: drawn(st.just(functools.partial(of_table, name)), st.just(EVENTS[name]))
    )
    plain = drawn(convolutional(2), st.sampled_from([(2, 3, 2), (3, 3, 2)]))
    shape = (4, 4, 2)
    stages = st.tuples(convolutional(4)), st.tuples(convolutional(4), convolutional(8))
    scales = partials(multi_scale, stages=st.one_of(stages))
    changes = {
        "architecture": st.sampled_from(["resflow-mnist", "iresnet-mnist", "idensenet-cifar10"]),
        "blocks": st.sampled_from([(1,), (2,), (1, 1)]), "width": st.integers(1, 5),
        "kernels": st.sampled_from([(3, 1, 3), (1, 3)]), "growth": st.sampled_from([0, 2, 4]),
        "depth": st.just(1), "activation": st.sampled_from(["clipswish", *SMOOTH]),
        "coefficient": coefficients, "normalization": rules, "squeeze_first": st.booleans(),
        "factor_out": st.booleans(), "tail_blocks": st.integers(0, 1), "tail_width": even,
        "tail_growth": st.just(4), "block": st.sampled_from(["residual", "monotone"]),
        "base": st.sampled_from(BASES), "memory": memories, "seed": seeds,
    }  # fmt: skip
    recipes = partials(functools.partial(recipe, tfi.image_flow, shape), **changes)
    return st.one_of(
        table, plain, drawn(scales, st.just((4, 4, 1))), drawn(recipes, st.just(shape))
    )


def flows(size):
    """Densities of vectors: layers with any base, and recipes; of smooth activations."""
    made = partials(flow, part=vector_layers(size, SMOOTH), base=st.sampled_from(BASES))
    return drawn(st.one_of(made, mlp_flows(size)), st.just((size,)))
