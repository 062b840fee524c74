"""One table, `name → constructor`: every invertible layer passes the same tests.

A new layer is one line here.
"""

import contextlib
import functools
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.references import bound_once, jacobian_log_det

from tf_iresnet import layers, log_det

EVENT = (3,)
# Event shapes of the entries whose isn't `EVENT`.
EVENTS: dict[str, tuple[int, ...]] = {
    "act_norm_image": (2, 3, 2),
    "squeeze": (4, 2, 2),
    "reshape": (2, 6),
    "multi_scale": (4, 2, 1),
    "multi_scale_conditional": (4, 2, 1),
    "residual_image": (2, 3, 2),
}
CONDITION = 2
# Weights that start at a special value, or without a seed.
PERTURBED = ("log_scale", "shift", "condition_kernel", "log_multiplier", "bias_")


def spectral(dtype, rule="aol", **kwargs):
    """Kernels beyond the coefficient, which a formula scales: power iteration compiles slowly."""
    initializer = keras.initializers.RandomNormal(stddev=1.0, seed=1)
    options = {"kernel_initializer": initializer, "normalization": rule, **kwargs}
    if rule == "power" and dtype == "float64":  # the gradient is exact at exact singular vectors
        options |= {"tolerance": 1e-7, "max_power_iterations": 5000}
    return options


def branch(dtype, activation="sine", features=EVENT[0], **kwargs):
    common = spectral(dtype, **kwargs) | {"dtype": dtype}
    return [
        layers.SpectralDense(8, 0.8, activation=activation, **common),
        layers.SpectralDense(features, 0.8, bias_initializer="ones", **common),
    ]


def residual(dtype, estimator="exact", activation="sine", **kwargs):
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    return layers.ResidualBlock(
        branch(dtype, activation, **kwargs), estimator, tolerance=tolerance, dtype=dtype
    )


def pair(dtype, **kwargs):
    return layers.InvertibleSequential(
        [layers.ActNorm(dtype=dtype), residual(dtype, **kwargs)], dtype=dtype
    )


def residual_concat(dtype):
    hidden, last = branch(dtype, "clipswish")
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    return layers.ResidualBlock(
        [layers.LipschitzConcat(hidden), last], "exact", tolerance=tolerance, dtype=dtype
    )


def residual_image(dtype):
    common = {"coefficient": 0.8, "condition_size": CONDITION, "padding": "same", "dtype": dtype}
    common |= spectral(dtype, "power")
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    return layers.ResidualBlock(
        [
            layers.SpectralConv2D(3, 3, activation="sine", **common),
            layers.SpectralConv2D(2, 1, **common),
        ],
        "exact",
        tolerance=tolerance,
        dtype=dtype,
    )


def lipschitz_mlp(dtype, kind=layers.ResidualBlock, activation="sine", **kwargs):
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    branch = layers.LipschitzMLP((6, 5), 3, 0.9, activation, seed=1, dtype=dtype, **kwargs)
    return kind(branch, "exact", tolerance=tolerance, dtype=dtype)


def multi_scale(dtype):
    """Of images `[4, 2, 1]`: `[2, 1, 4]` in the first stage, `[2, 1, 2]` in the second."""
    first = [layers.Squeeze(dtype=dtype), layers.ActNorm(dtype=dtype)]
    return layers.MultiScale([first, residual(dtype, features=2)], dtype=dtype)


def monotone(dtype, activation="cpila", **kwargs):
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    return layers.MonotoneBlock(
        branch(dtype, activation, **kwargs), "exact", tolerance=tolerance, dtype=dtype
    )


def triangular(dtype, **kwargs):
    dense = spectral(dtype)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    return layers.TriangularBlock(
        (3, 2), 0.8, "sine", dense=dense, tolerance=tolerance, dtype=dtype, **kwargs
    )


# Data lie between 0.1 and 0.9: on both sides of where the tangents begin, and of the knots.
SPLINE = {"knots": [-1.0, 0.2, 0.5], "values": [-2.0, 0.0, 1.0], "slopes": [1.0, 0.5, 3.0]}
MARGINALS = [
    {"warp": "log", "center": 0.05, "scale": 0.4, "low": 0.3, **SPLINE},
    {"warp": "logit", "center": 0.0, "scale": 1.0, "low": 0.2, "high": 0.8},
    {"warp": "asinh", "center": 0.5, "scale": 0.1, **SPLINE},
]

LAYERS = {
    "act_norm": lambda dtype: layers.ActNorm(dtype=dtype),
    "rescale": lambda dtype: layers.Rescale([2.0, -0.5, 3.0], [1.0, 0.0, -2.0], dtype=dtype),
    "logit": lambda dtype: layers.Logit(0.01, dtype=dtype),
    "gaussianize": lambda dtype: layers.Gaussianize(MARGINALS, dtype=dtype),
    "whiten": lambda dtype: layers.Whiten(
        [0.5, 0.0, -2.0], [[2.0, 0.0, 0.0], [0.5, 0.3, 0.0], [-1.0, 0.2, 4.0]], dtype=dtype
    ),
    "residual": lambda dtype: residual(dtype, rule="power"),
    "residual_picard": lambda dtype: layers.ResidualBlock(
        branch(dtype), "exact", "picard", 1e-12 if dtype == "float64" else 1e-5, dtype=dtype
    ),
    "residual_lipswish": lambda dtype: residual(dtype, activation="lipswish"),
    "residual_cpila": lambda dtype: residual(dtype, activation="cpila"),
    "residual_conditional": lambda dtype: residual(dtype, condition_size=CONDITION),
    "sequential": lambda dtype: layers.InvertibleSequential(
        [layers.Rescale(0.5, dtype=dtype), pair(dtype)], dtype=dtype
    ),
    "repeated": lambda dtype: layers.Repeated(pair(dtype, rule="power"), 3, dtype=dtype),
    "repeated_recomputed": lambda dtype: layers.Repeated(pair(dtype), 3, "recompute", dtype=dtype),
    "repeated_inverted": lambda dtype: layers.Repeated(pair(dtype), 3, "invert", dtype=dtype),
    "inverse": lambda dtype: layers.Inverse(residual(dtype), dtype=dtype),
    "implicit": lambda dtype: layers.InvertibleSequential(
        [residual(dtype), layers.Inverse(residual(dtype), dtype=dtype)], dtype=dtype
    ),
    "act_norm_image": lambda dtype: layers.ActNorm(dtype=dtype),
    "residual_concat": residual_concat,
    "squeeze": lambda dtype: layers.Squeeze(dtype=dtype),
    "reshape": lambda dtype: layers.Reshape([3, -1], dtype=dtype),
    "multi_scale": multi_scale,
    "multi_scale_conditional": lambda dtype: layers.MultiScale(
        [layers.Squeeze(dtype=dtype), residual(dtype, features=4, condition_size=CONDITION)],
        factor_out=False,
        dtype=dtype,
    ),
    "residual_image": residual_image,
    "monotone": monotone,
    "monotone_repeated": lambda dtype: layers.Repeated(
        monotone(dtype, condition_size=CONDITION), 3, dtype=dtype
    ),
    "residual_lipschitz_mlp": lipschitz_mlp,
    "residual_lipschitz_mlp_conditional": lambda dtype: lipschitz_mlp(
        dtype, condition_size=CONDITION
    ),
    "monotone_lipschitz_mlp": lambda dtype: lipschitz_mlp(dtype, layers.MonotoneBlock, "lipswish"),
    "monotone_lipschitz_mlp_conditional": lambda dtype: lipschitz_mlp(
        dtype, layers.MonotoneBlock, "tanh", condition_size=CONDITION
    ),
    "repeated_lipschitz_mlp": lambda dtype: layers.Repeated(
        lipschitz_mlp(dtype, condition_size=CONDITION), 3, dtype=dtype
    ),
    "triangular": triangular,
    "triangular_pair": lambda dtype: layers.InvertibleSequential(
        [triangular(dtype, condition_size=CONDITION, reverse=r) for r in (False, True)], dtype=dtype
    ),
}
# Variants and compositions of what has a line of its own. Compiled, they run with the slow tests.
VARIANTS = {
    "residual_picard", "residual_lipswish", "residual_cpila", "sequential", "implicit",
    "multi_scale_conditional", "monotone_repeated", "triangular_pair",
    "residual_lipschitz_mlp_conditional", "monotone_lipschitz_mlp",
    "monotone_lipschitz_mlp_conditional", "repeated_lipschitz_mlp", "repeated_recomputed",
    "repeated_inverted",
}  # fmt: skip
# Made of others, or as long to compile: their gradients are slow tests under XLA.
COMPOSED = {
    "inverse", "multi_scale", "repeated", "residual_concat", "residual_conditional",
    "residual_lipschitz_mlp", "triangular", "residual_image",
}  # fmt: skip
names = pytest.mark.parametrize("name", LAYERS)


def cases(*fast, slow=frozenset(VARIANTS)):
    """All layers in all modes; those compiled are slow tests if not in `fast` modes or `slow`."""
    return pytest.mark.parametrize(
        ("name", "mode"),
        [
            pytest.param(n, m, marks=[pytest.mark.slow] * (m not in fast or n in slow))
            for n in LAYERS
            for m in ("graph", "xla")
        ]
        + [(n, "eager") for n in LAYERS],
    )


def build(name, dtype):
    """The layer with weights that aren't at their defaults, data and condition."""
    random = np.random.default_rng(0)
    layer, event = LAYERS[name](dtype), EVENTS.get(name, EVENT)
    layer.build((None, *event))
    for weight in layer.weights:
        if weight.name.startswith(PERTURBED):
            weight.assign(random.normal(size=weight.shape) / 2)
    x = tf.constant(random.uniform(0.1, 0.9, (4, *event)), dtype)
    condition = None
    if layer.condition_size:
        condition = tf.constant(random.normal(size=(4, CONDITION)), dtype)
    return layer, x, condition


shared = functools.cache(build)  # by tests that leave the layer as it is


@functools.cache
def in_eager_mode(name, dtype):
    """The outputs, their inverse, and the log-det by autodiff and LAPACK."""
    layer, x, condition = shared(name, dtype)
    y = layer(x, condition)
    exact = jacobian_log_det(lambda x: layer(x, condition), x)
    return y, layer.inverse(y, condition), exact


def without_none(*arguments):
    return [a for a in arguments if a is not None]


@functools.cache
def both_ways(name, dtype, mode):
    """A function of inputs and condition; compiled, one trace serves every batch size."""
    layer, *arguments = shared(name, dtype)

    def function(x, condition=None):
        share = contextlib.nullcontext() if mode == "eager" else bound_once(layer, condition)
        with share:
            y, log_det = layer.forward_with_log_det(x, condition)
            return y, log_det, *layer.inverse_with_log_det(y, condition)

    if mode == "eager":
        return function
    signature = [tf.TensorSpec([None, *a.shape[1:]], dtype) for a in without_none(*arguments)]
    return tf.function(
        function, input_signature=signature, jit_compile=mode == "xla", autograph=False
    )


@cases("graph", "xla")
def test_inverse_and_log_det(name, mode, dtype):
    _, x, condition = shared(name, dtype)
    outputs, inverse, exact = in_eager_mode(name, dtype)
    function = both_ways(name, dtype, mode)
    y, log_det, recovered, inverse_log_det = function(*without_none(x, condition))
    tolerance = {"rtol": 1e-4, "atol": 5e-5} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(outputs, y, **tolerance)
    np.testing.assert_allclose(inverse, x, **tolerance)
    np.testing.assert_allclose(recovered, x, **tolerance)
    np.testing.assert_allclose(log_det, exact, **tolerance)
    np.testing.assert_allclose(inverse_log_det, -log_det, **tolerance)
    assert log_det.shape == x.shape[:1] and log_det.dtype == x.dtype


def inner(a, b):
    """`⟨aᵢ, bᵢ⟩` of each example, `[batch]`."""
    return tf.reduce_sum(a * b, range(1, a.shape.rank))


@cases("xla", slow=VARIANTS | COMPOSED)
def test_weighted_gradients_are_those_of_finite_differences(name, mode, run_in_mode):
    """Of `Σ wᵢ(log_detᵢ + ⟨cᵢ, yᵢ⟩)`, and through the inverse, in inputs and weights together."""
    layer, x, condition = shared(name, "float64")
    random = np.random.default_rng(2)
    weights = tf.constant([1.0, -3.0, 0.1, 7.0], tf.float64)
    cotangent = tf.constant(random.normal(size=x.shape))
    latent = tf.constant(random.normal(size=layer.compute_output_shape(x.shape)))
    variables = layer.trainable_variables
    directions = [tf.constant(random.normal(size=v.shape)) for v in variables]
    points = [x, tf.identity(layer(x, condition))]
    of_points = [tf.constant(random.normal(size=point.shape)) for point in points]

    def both_values(x, y):
        with bound_once(layer, condition):
            mapped, log_det = layer.forward_with_log_det(x, condition)
            back, inverse_log_det = layer.inverse_with_log_det(y, condition)
        forward = tf.reduce_sum(weights * (log_det + inner(latent, mapped)))
        return forward, tf.reduce_sum(weights * (inverse_log_det + inner(cotangent, back)))

    def both_slopes(*points):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(points)
            values = both_values(*points)
        slopes = []
        for value, point, direction in zip(values, points, of_points, strict=True):
            gradients = tape.gradient(
                value,
                [point, *(v.value for v in variables)],
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            terms = zip(gradients, [direction, *directions], strict=True)
            slopes.append(tf.add_n([tf.reduce_sum(g * d) for g, d in terms]))
        return slopes

    analytic = run_in_mode(both_slopes, mode)(*points)
    before, step, shifted = [v.numpy() for v in variables], 1e-6, []
    for sign in (1, -1):
        for variable, value, direction in zip(variables, before, directions, strict=True):
            variable.assign(value + sign * step * direction)
        there = [p + sign * step * d for p, d in zip(points, of_points, strict=True)]
        shifted.append(np.array(both_values(*there)))
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    np.testing.assert_allclose(analytic, (shifted[0] - shifted[1]) / (2 * step), rtol=2e-6)


@names
def test_config_gives_an_equal_layer(name):
    layer, x, condition = shared(name, "float64")
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(copy)["config"] == config["config"]
    if not copy.built:
        copy.build((None, *EVENTS.get(name, EVENT)))
    copy.set_weights(layer.get_weights())
    for ours, theirs in zip(
        layer.forward_with_log_det(x, condition),
        copy.forward_with_log_det(x, condition),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in VARIANTS)) for n in LAYERS]
)
def test_same_call_same_bits_for_any_batch_size(name):
    layer, *arguments = shared(name, "float32")
    arguments = without_none(*arguments)
    forward = both_ways(name, "float32", "graph")
    before = [w.numpy() for w in layer.weights]
    y, log_det, *_ = forward(*arguments)
    for _ in range(2):
        np.testing.assert_array_equal(forward(*arguments)[1], log_det)
    few = forward(*(a[:2] for a in arguments))
    np.testing.assert_allclose(few[0], y[:2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(few[1], log_det[:2], rtol=1e-4, atol=1e-5)
    for weight, value in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)  # inference changes nothing


def test_keras_files_load_in_a_fresh_process_without_custom_objects(tmp_path):
    expected = {}
    for name in LAYERS:
        layer, x, condition = shared(name, "float32")
        inputs = [keras.Input(x.shape[1:])] + (
            [] if condition is None else [keras.Input([CONDITION])]
        )
        model = keras.Model(inputs, layer(*inputs))
        model.save(tmp_path / f"{name}.keras")
        arguments = without_none(x, condition)
        expected[name] = layer(*arguments).numpy()
        np.savez(tmp_path / f"{name}.npz", *[np.asarray(a) for a in arguments])
    program = """
        import pathlib, sys
        import numpy as np, keras
        import tf_iresnet
        for path in pathlib.Path(sys.argv[1]).glob("*.keras"):
            with np.load(path.with_suffix(".npz")) as file:
                arguments = [file[key] for key in file.files]
            model = keras.models.load_model(path)
            np.save(path.with_suffix(".npy"), model(arguments))
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        check=True,
        env=os.environ,
    )
    for name, value in expected.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), value)


ESTIMATORS = {
    "power_series": log_det.PowerSeries(60, probes=5, gradient="neumann"),
    "gaussian": log_det.PowerSeries(60, probes=5, probe="gaussian", gradient="neumann"),
    "roulette": log_det.RussianRoulette(probes=5, gradient="neumann"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_neumann_gradient_has_the_exact_mean(name):
    """Over independent probes, value and weighted gradient within 3 standard errors of `Exact`."""
    layer, x, _ = build("residual", "float64")
    weights = tf.constant([1.0, -3.0, 0.1, 7.0], tf.float64)
    variables = layer.trainable_variables
    random = np.random.default_rng(3)
    directions = [tf.constant(random.normal(size=v.shape)) for v in [x, *variables]]

    def value_and_slope(seed):
        with tf.GradientTape() as tape:
            tape.watch(x)
            log_det = layer.forward_with_log_det(x, training=True, seed=seed)[1]
            value = tf.reduce_sum(weights * log_det)
        gradients = tape.gradient(
            value,
            [x, *(v.value for v in variables)],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        terms = zip(gradients, directions, strict=True)
        return value, tf.add_n([tf.reduce_sum(g * d) for g, d in terms])

    exact = np.array(value_and_slope(tf.constant([0, 0])))
    layer.log_det = ESTIMATORS[name]
    value_and_slope = tf.function(value_and_slope, autograph=False)
    draws = np.array([value_and_slope(tf.constant([9, i])) for i in range(200)])
    error = draws.std(0, ddof=1) / np.sqrt(len(draws))
    assert np.all(error > 0)
    np.testing.assert_array_less(np.abs(draws.mean(0) - exact) / error, 3)
