"""Leading shapes, event shapes and dtypes of a bijector, and its errors."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats
from support.closed_form_layers import (
    CONDITION,
    MATRIX,
    OFFSET,
    SEED,
    Affine,
    Flatten,
    X,
    affine,
    built,
    closed_form,
    flow,
    standard_normal,
)

import tf_iresnet as tfi
from tf_iresnet.bijectors import InvertibleBijector

tfb, tfd = tfp.bijectors, tfp.distributions


@pytest.mark.parametrize("leading", [(), (3,), (0,), (2, 3), (2, 1, 3)])
def test_any_leading_shape(leading, mode, run_in_mode):
    layer = affine()
    x = np.random.default_rng(1).normal(size=(*leading, 2))
    distribution, bijector = flow(layer), InvertibleBijector(layer)

    def values(x):
        y = bijector.forward(x)
        return distribution.log_prob(x), y, bijector.inverse(tf.identity(y))

    log_prob, y, recovered = run_in_mode(values, mode)(tf.constant(x))
    assert log_prob.shape == leading and y.shape == x.shape
    np.testing.assert_allclose(log_prob, np.reshape(closed_form(layer, x), leading), rtol=1e-12)
    np.testing.assert_allclose(recovered, x, rtol=1e-10)


@pytest.mark.parametrize("signature", [[None, 2], [None, None, 2], None])
def test_unknown_leading_shapes_keep_what_is_known(signature):
    layer = affine()
    distribution = flow(layer)
    spec = tf.TensorSpec(signature, tf.float64)
    log_prob = tf.function(distribution.log_prob, input_signature=[spec])
    x = X if signature == [None, 2] else X[None]
    np.testing.assert_allclose(
        log_prob(tf.constant(x)), np.reshape(closed_form(layer, X), x.shape[:-1]), rtol=1e-12
    )
    if signature is not None:
        static = log_prob.get_concrete_function().output_shapes
        assert static.as_list() == signature[:-1]


@pytest.mark.parametrize(
    ("leading", "condition_leading", "result"),
    [((3,), (), (3,)), ((4, 3), (3,), (4, 3)), ((), (3,), (3,)), ((4, 1), (1, 3), (4, 3))],
)
def test_condition_broadcasts_over_the_leading_shape(leading, condition_leading, result):
    layer = affine(condition_size=2)
    rng = np.random.default_rng(2)
    x, condition = rng.normal(size=(*leading, 2)), rng.normal(size=(*condition_leading, 2))
    bijector = InvertibleBijector(layer)
    y = bijector.forward(x, condition=condition)
    np.testing.assert_allclose(y, x @ MATRIX.T + OFFSET + condition, rtol=1e-12)
    assert bijector.forward_log_det_jacobian(x, condition=condition).shape == result
    recovered = bijector.inverse(tf.identity(y), condition=condition)
    np.testing.assert_allclose(recovered, np.broadcast_to(x, (*result, 2)), rtol=1e-10)


def test_other_event_shape_on_the_latent_side(mode, run_in_mode):
    bijector = InvertibleBijector(built(Flatten(dtype="float64"), (2, 2)))
    assert bijector.forward_event_shape([2, 2]) == [4]
    assert bijector.inverse_event_shape([7, 4]) == [7, 2, 2]
    np.testing.assert_array_equal(bijector.forward_event_shape_tensor([7, 2, 2]), [7, 4])
    np.testing.assert_array_equal(bijector.inverse_event_shape_tensor([4]), [2, 2])
    distribution = tfb.Invert(bijector)(standard_normal(event_shape=(4,)))
    assert distribution.event_shape == (2, 2)
    x = np.random.default_rng(3).normal(size=(3, 5, 2, 2))
    log_prob, samples = run_in_mode(
        lambda x: (distribution.log_prob(x), distribution.sample((3, 2), seed=SEED)), mode
    )(tf.constant(x))
    expected = stats.norm(scale=0.5).logpdf(x).sum((-2, -1))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    assert samples.shape == (3, 2, 2, 2)


def test_arrays_are_converted_and_other_dtypes_are_refused_with_advice():
    bijector = InvertibleBijector(affine())
    np.testing.assert_allclose(
        bijector.forward(X.astype("float32")), X @ MATRIX.T + OFFSET, rtol=1e-6
    )
    x = tf.constant(X, tf.float32)
    for method in (
        bijector.forward,
        bijector.inverse,
        bijector.forward_log_det_jacobian,
        bijector.inverse_log_det_jacobian,
        flow(affine()).log_prob,
    ):
        with pytest.raises(TypeError, match=r"dtype=float32.*tf\.cast\(value, tf\.float64\)"):
            method(x)


ERRORS = {
    "unbuilt": (lambda: InvertibleBijector(Affine()), ValueError, "built InvertibleLayer.*Affine"),
    "model": (
        lambda: InvertibleBijector(tfi.ResidualFlow(Affine())),
        ValueError,
        r"InvertibleLayer.*ResidualFlow.*model\.layer",
    ),
    "event": (lambda: InvertibleBijector(affine()).forward(X[:, :1]), ValueError, r"\[..., 2\]"),
    "scalar": (lambda: InvertibleBijector(affine()).inverse(0.5), ValueError, r"\[..., 2\]"),
    "no condition": (
        lambda: flow(affine(condition_size=2)).log_prob(X),
        ValueError,
        r"\[..., 2\].*condition=None.*bijector_kwargs",
    ),
    "superfluous condition": (
        lambda: flow(affine(), condition=CONDITION).log_prob(X),
        ValueError,
        "condition to be None",
    ),
    "wide condition": (
        lambda: flow(affine(condition_size=2), condition=np.ones(3)).log_prob(X),
        ValueError,
        r"\(3,\)",
    ),
    "unknown argument": (
        lambda: flow(affine()).log_prob(X, bijector_kwargs={"temperature": 1}),
        TypeError,
        "temperature",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_expected(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        call()


class Failing(Affine):
    def pull(self, bound, y, how=None):
        return super().pull(bound, y, how)._replace(value=y * np.nan)


@pytest.mark.parametrize("where", ["eager", "graph"])
def test_validate_args_makes_a_failed_inverse_an_error(where, run_in_mode):
    layer = built(Failing(dtype="float64"))
    y = tf.constant(X)
    assert np.isnan(InvertibleBijector(layer).inverse(y)).all()
    inverse = run_in_mode(InvertibleBijector(layer, validate_args=True).inverse, where)
    with pytest.raises(tf.errors.InvalidArgumentError, match="could not invert"):
        inverse(y)
