"""What the contract doesn't cover: errors, initialisation, numerical edges of single layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.references import jacobian_log_det

import tf_iresnet as tfi
from tf_iresnet import layers


def contraction(units=2, coefficient=0.9):
    return layers.SpectralDense(units, coefficient)


def test_anchor_11_act_norm_initialises_once_and_saves_that_it_did(tmp_path):
    random = np.random.default_rng(0)
    x = (random.normal(size=(4096, 3)) * [1, 5, 0.1] + [0, -3, 7]).astype("float32")
    model = keras.Sequential([keras.Input([3]), layers.ActNorm()])
    y = model(x, training=True).numpy()
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(y.std(0), 1, rtol=2e-3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(10 * x, training=True), model(10 * x, training=True))
    np.testing.assert_allclose(loaded(x), y, rtol=1e-6)


def test_anchor_11_a_constant_feature_does_not_explode():
    layer = layers.ActNorm(min_variance=1e-4)
    layer(tf.ones((16, 2)) * [1.0, 5.0], training=True)
    np.testing.assert_allclose(np.exp(layer.log_scale), 100.0, rtol=1e-5)


def test_act_norm_of_images_is_per_channel():
    """Statistics over batch and positions; log-det H·W·Σ log s, by definition and by Jacobian."""
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 4, 5, 2)) * [0.5, 3.0] + [1.0, -2.0]
    layer = layers.ActNorm(dtype="float64")
    y = layer(x, training=True).numpy()
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-9)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, rtol=1e-9)
    few = tf.constant(x[:2])
    y, log_det = layer.forward_with_log_det(few)
    np.testing.assert_allclose(log_det, 4 * 5 * np.sum(layer.log_scale), rtol=1e-12)
    np.testing.assert_allclose(log_det, jacobian_log_det(layer, few), rtol=1e-9)
    np.testing.assert_allclose(layer.inverse(y), few, rtol=1e-12)


def test_anchor_12_logit_is_accurate_at_both_ends():
    """Against float64 closed forms at distances down to 1e-7 from 0 and 1."""
    layer = layers.Logit(0.0)
    x = np.array([[1e-7, 0.5, 1 - 2.0**-24]], np.float32)
    exact = x.astype(np.float64)
    y, log_det = layer.forward_with_log_det(x)
    np.testing.assert_allclose(y, np.log(exact) - np.log1p(-exact), rtol=1e-6)
    np.testing.assert_allclose(log_det, -np.sum(np.log(exact) + np.log1p(-exact), 1), rtol=1e-6)


def test_anchor_08_the_log_det_of_the_inverse_is_taken_at_its_own_point():
    """Where the Jacobian differs between x and y, that of the inverse map is at y, so at F⁻¹(y)."""
    layer = layers.ResidualBlock(
        [layers.SpectralDense(8, 0.95, activation="sine", dtype="float64"),
         layers.SpectralDense(2, 0.95, dtype="float64")],
        "exact", tolerance=1e-12, dtype="float64",
    )  # fmt: skip
    y = tf.constant(np.random.default_rng(0).normal(size=(5, 2)))
    layer(y)
    log_det = layer.inverse_with_log_det(y)[1]
    truth = jacobian_log_det(layer.inverse, y)
    np.testing.assert_allclose(log_det, truth, rtol=1e-8)
    at_y = -layer.forward_with_log_det(y)[1].numpy()
    assert np.max(np.abs(at_y - truth)) > 1e-3


@pytest.mark.parametrize("kind", [layers.ResidualBlock, layers.MonotoneBlock])
def test_anchor_07_a_solver_that_fails_is_reported(kind):
    """A block that lies about its bound (its vector frozen by hand) gives NaN, or raises."""

    class Liar(layers.ContractiveLayer):
        def lipschitz_bound(self):
            return 0.5

        def bind(self, condition=None, training=None):
            return layers.BoundFunction.of(lambda x: 3.0 * x)

        def compute_output_shape(self, input_shape):
            return input_shape

    def block(on_failure):
        layer = kind(Liar(), max_iterations=20, on_failure=on_failure, solver="picard")
        layer.build((None, 3))
        return layer

    def solved(layer):
        """The directions that are solved for."""
        return [layer.inverse, layer] if kind is layers.MonotoneBlock else [layer.inverse]

    y = tf.ones((2, 3))
    for on_failure, finite in {"nan": False, "keep": True}.items():
        layer = block(on_failure)
        for direction in solved(layer):
            assert np.all(np.isfinite(direction(y))) == finite
        assert not np.any(layer.inverse_with_report(y).converged)
        assert layer.inverse_with_report(y).converged.shape == (1, 2)
    for direction in solved(block("raise")):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"could not invert.*max_iterations=20"
        ):
            direction(y)


class NotInvertible(keras.layers.Layer):
    pass


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: layers.ResidualBlock([contraction(coefficient=1.0)]), "bound below 1.*bound=1.0"),
        (lambda: layers.ResidualBlock([keras.layers.ReLU()]), "bound below 1"),
        (
            lambda: layers.ResidualBlock([contraction(3)]).build((None, 2)),
            r"output shape is its input shape.*\(2,\) → \(3,\)",
        ),
        (lambda: layers.ResidualBlock([contraction()], solver="newton"), "anderson.*newton"),
        (lambda: layers.ResidualBlock([contraction()], on_failure="hope"), "'nan'.*hope"),
        (lambda: layers.InvertibleSequential([NotInvertible()]), "NotInvertible.*ResidualBlock"),
        (lambda: layers.InvertibleSequential([]), "at least one layer"),
        (lambda: layers.Repeated(layers.ActNorm(), 0), "times ≥ 1.*times=0"),
        (lambda: layers.Rescale(0.0), "not 0.*scale=0.0"),
        (lambda: layers.Rescale(np.ones(3)).build((None, 2)), r"event shape \(2,\)"),
        (lambda: layers.Logit(0.5), "alpha < 0.5.*0.5"),
        (lambda: layers.ActNorm(min_variance=0.0), "min_variance > 0"),
        (lambda: layers.ActNorm().inverse(tf.zeros((1, 2))), "no weights yet"),
        (lambda: layers.ActNorm()(tf.zeros(3)), r"\[batch, \*event\]"),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_a_logit_flow_has_no_density_outside_of_the_support(alpha, dtype):
    logit = layers.Logit(alpha, dtype=dtype)
    flow = tfi.mlp_flow(2, 1, (8,), seed=0, preprocessing=[logit], dtype=dtype)
    outside = [[-0.2, 0.5], [0.5, 1.2], [-1.0, 3.0], [0.0 if alpha == 0 else -0.06, 0.5]]
    x = np.array([[0.5, 0.5], *outside], dtype)
    distribution = flow.distribution()
    with tf.GradientTape() as tape:
        doors = [flow.log_prob(x), distribution.log_prob(x)]
        mean = tf.reduce_mean(doors[0][:1])
    for log_prob in doors:
        assert np.isfinite(log_prob[0]) and np.all(log_prob[1:] == -np.inf)
    assert all(
        np.isfinite(gradient).all() for gradient in tape.gradient(mean, flow.trainable_weights)
    )
    assert np.isnan(flow.log_prob(np.full((1, 2), np.nan))).all()
    # Where the sigmoid is rounded to an end, the other direction has its true slope.
    layer = layers.Logit(alpha, dtype=dtype)
    layer.build((None, 2))
    _, log_det = layer.inverse_with_log_det(np.array([[60.0, 0.0]]))
    expected = -60 - 2 * np.log(2) - 2 * np.log1p(-2 * alpha)
    np.testing.assert_allclose(log_det, [expected], rtol=1e-6)
