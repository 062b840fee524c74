"""Monotone blocks beyond the contract: their definition, how steep they get, and failures."""

import numpy as np
import pytest
import tensorflow as tf
from support.references import PRECISE, points, seeded_branch

from tf_iresnet import certify, layers, log_det


def scaling(factor, **kwargs):
    """A block of `g(w) = factor·w`."""
    dense = layers.SpectralDense(
        3, 0.9, kernel_initializer=lambda shape, dtype: factor * tf.eye(3, dtype=dtype),
        dtype="float64",
    )  # fmt: skip
    return layers.MonotoneBlock([dense], tolerance=1e-12, dtype="float64", **kwargs)


def block(coefficient=0.9, size=3, estimator="exact", **kwargs):
    branch = seeded_branch(size, 16, coefficient, "cpila", **PRECISE)
    return layers.MonotoneBlock(branch, estimator, **{"tolerance": 1e-12, **kwargs})


@pytest.mark.parametrize("factor", [-0.9, -0.5, 0.0, 0.5, 0.9])
def test_a_linear_branch_gives_the_closed_form(factor):
    """`g = c·I`: slope `(1 − c)/(1 + c)` in every direction, 19 or 1/19 at the ends."""
    layer, x = scaling(factor), points(5, 3)
    y, value = layer.forward_with_log_det(x)
    slope = (1 - factor) / (1 + factor)
    np.testing.assert_allclose(y, slope * x, rtol=1e-10)
    np.testing.assert_allclose(value, np.full(5, 3 * np.log(slope)), rtol=1e-10, atol=1e-12)


def test_outputs_satisfy_both_equations():
    """`g(w) = (x − y)/√2` at `w = (x + y)/√2`: the graph of `g` turned by 45°."""
    layer, x = block(), points(50, 3)
    y = layer(x)
    w = (x + y) / np.sqrt(2)
    np.testing.assert_allclose(layer.branch.bind()(w), (x - y) / np.sqrt(2), atol=1e-11)


def test_it_is_monotone_and_lipschitz_both_ways():
    """`⟨Δx, Δy⟩ > 0` and `(1 − L)/(1 + L) ≤ ‖Δy‖/‖Δx‖ ≤ (1 + L)/(1 − L)` for pairs of points."""
    layer, x, other = block(), points(500, 3), points(500, 3, seed=1)
    dx, dy = (x - other).numpy(), (layer(x) - layer(other)).numpy()
    assert np.all(np.sum(dx * dy, 1) > 0)
    stretch = np.linalg.norm(dy, axis=1) / np.linalg.norm(dx, axis=1)
    most = (1 + layer.lipschitz) / (1 - layer.lipschitz)
    assert np.all(stretch < most) and np.all(stretch > 1 / most)


def test_the_certified_error_is_one_on_the_inverse_itself():
    layer, x = block(tolerance=1e-3), points(100, 3)
    layer(x)
    exact = block(tolerance=1e-13)
    exact.build((None, 3))
    exact.set_weights(layer.get_weights())
    for value, reference in ((layer(x), exact(x)), (layer.inverse(x), exact.inverse(x))):
        assert np.max(np.linalg.norm(value - reference, axis=1)) <= 1e-3
    solution = layer.inverse_with_report(x)
    error = np.linalg.norm(solution.value - exact.inverse(x), axis=1)
    assert np.all(error <= solution.certified_error[0].numpy() + 1e-12)
    assert np.all(solution.certified_error <= 1e-3) and np.all(solution.converged)


def test_it_is_certified():
    layer = block(coefficient=0.9)
    layer.build((None, 3))
    (certificate,) = certify(layer).blocks
    assert certificate.lipschitz == pytest.approx(0.9**2, rel=1e-3) and certificate.certified


@pytest.mark.parametrize("mode", ["graph", pytest.param("xla", marks=pytest.mark.slow)])
def test_gradients_in_training_have_the_exact_mean(mode, run_in_mode):
    """Those of three repeated blocks' loss, over seeds of the noisy log-determinant."""
    layer, x = layers.Repeated(block(0.7, 6), 3), points(4, 6)
    layer.build(x.shape)

    def step(seed):
        with tf.GradientTape() as tape:
            y, value = layer.forward_with_log_det(x, training=True, seed=seed)
            loss = tf.reduce_mean(tf.reduce_sum(y**2, 1) / 2 - value)
        gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
        return tf.concat([tf.reshape(g, [-1]) for g in gradients], 0)

    exact = np.asarray(run_in_mode(step, mode)(tf.constant([0, 0])))
    layer.layer.log_det = log_det.RussianRoulette()
    noisy = run_in_mode(step, mode)
    draws = np.array([noisy(tf.constant([0, index])) for index in range(100)])
    along = draws @ exact / (exact @ exact)
    error = along.std(ddof=1) / np.sqrt(len(along))
    assert 1e-6 < error < 0.1 and abs(along.mean() - 1) < 3 * error


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match=r"bound below 1.*bound=1\.0"):
        layers.MonotoneBlock([layers.SpectralDense(2, 1.0)])
    with pytest.raises(ValueError, match="constrained"):
        layers.MonotoneBlock([layers.SpectralDense(2, 0.9)], constrained=False)
