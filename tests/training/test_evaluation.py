"""Figures against closed forms: of Gaussians, of the series' theorem, of a failing inverse."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import ResidualFlow, mlp_flow
from tf_iresnet.certify import certify
from tf_iresnet.layers import Rescale, ResidualBlock, SpectralDense
from tf_iresnet.numerics.log_det import Exact, PowerSeries
from tf_iresnet.training import evaluation

RNG = np.random.default_rng(0)
MEAN, DEVIATION = np.array([1.0, -2.0, 0.5]), np.array([0.5, 2.0, 1.5])


@pytest.fixture(scope="module")
def gaussian():
    """The flow of a normal distribution: its density and everything about it is known."""
    flow = ResidualFlow([Rescale.standardize(MEAN, DEVIATION)])
    flow.build((None, 3))
    return flow


def test_log_prob_does_not_depend_on_how_examples_are_batched(gaussian):
    points = RNG.normal(size=(23, 3)).astype("float32")
    one = evaluation.log_prob(gaussian, points, batch_size=23)
    many = evaluation.log_prob(gaussian, points, batch_size=5)
    z = (points - MEAN) / DEVIATION
    expected = -0.5 * (z**2).sum(1) - np.log(DEVIATION).sum() - 1.5 * math.log(2 * math.pi)
    assert one.shape == (23,)
    np.testing.assert_allclose(one, many, rtol=1e-6)
    np.testing.assert_allclose(one, expected, rtol=1e-5)


def test_likelihood_of_a_models_own_samples_is_its_entropy(gaussian):
    points = (MEAN + DEVIATION * RNG.normal(size=(20_000, 3))).astype("float32")
    figures = evaluation.likelihood(evaluation.log_prob(gaussian, points, 5000), 3)
    entropy = np.log(DEVIATION).sum() + 1.5 * math.log(2 * math.pi * math.e)
    error = figures["negative_log_likelihood_standard_error"]
    # −ln p of a d-dimensional normal distribution varies by d/2.
    assert error == pytest.approx(math.sqrt(1.5 / 20_000), rel=0.05)
    assert abs(figures["negative_log_likelihood"] - entropy) < 4 * error
    assert figures["bits_per_dim"] * 3 * math.log(2) == pytest.approx(
        figures["negative_log_likelihood"]
    )
    assert figures["bits_per_dim_standard_error"] == pytest.approx(error / (3 * math.log(2)))


def test_divergence_of_two_gaussians_is_the_closed_form(gaussian):
    points = RNG.normal(size=(20_000, 3)).astype("float32")
    log_p = -0.5 * (points.astype(float) ** 2).sum(1) - 1.5 * math.log(2 * math.pi)
    figures = evaluation.divergence(log_p, evaluation.log_prob(gaussian, points, 5000))
    variance = DEVIATION**2
    expected = 0.5 * np.sum((1 + MEAN**2) / variance - 1 + np.log(variance))
    error = figures["kl_divergence_standard_error"]
    assert 0 < error < 0.1
    assert abs(figures["kl_divergence"] - expected) < 4 * error


def largest(flow):
    return max(block.lipschitz for block in certify(flow).blocks)


def test_truncation_bound_holds_and_is_no_more_than_the_theorems_sum_over_the_blocks():
    flow = mlp_flow(4, num_blocks=3, hidden_units=(8,), log_det=PowerSeries(5), seed=0)
    longer = mlp_flow(4, num_blocks=3, hidden_units=(8,), log_det=PowerSeries(60), seed=0)
    points = RNG.normal(size=(20, 4)).astype("float32")
    short = evaluation.log_prob_with_error(flow, points, 8, largest(flow))
    long = evaluation.log_prob_with_error(longer, points, 8, largest(longer))
    missing = np.abs(short.value - long.value)
    theorem = 0.0
    for block in certify(flow).blocks:
        head = sum(block.lipschitz**k / k for k in range(1, 6))
        theorem -= 4 * (math.log(1 - block.lipschitz) + head)
    assert np.all(missing <= short.truncation_bound + 1e-5)
    assert np.all(short.truncation_bound > 0) and np.all(short.truncation_bound <= theorem)
    exact = mlp_flow(4, num_blocks=3, hidden_units=(8,), log_det=Exact(), seed=0)
    known = evaluation.log_prob_with_error(exact, points, 8, largest(exact))
    assert not known.truncation_bound.any() and not known.standard_error.any()


def test_reconstruction_of_a_sound_flow():
    flow = mlp_flow(3, num_blocks=3, hidden_units=(16,), seed=0)
    points = RNG.normal(size=(30, 3)).astype("float32")
    figures = evaluation.reconstruction(flow, points, batch_size=20)
    assert figures["reconstruction_error"] < 1e-4
    assert figures["sample_reconstruction_error"] < 1e-4
    assert figures["inverse_converged"] and figures["reconstructed_examples"] == 30
    assert 1 <= figures["inverse_iterations"] < 100
    by_hand = np.abs(flow.decode(flow.encode(points)) - points).max()
    assert figures["reconstruction_error"] == pytest.approx(by_hand, abs=1e-6)
    tenth = evaluation.reconstruction(flow, points, 20, deviation=[10.0, 10.0, 10.0])
    assert tenth["reconstruction_error"] == pytest.approx(figures["reconstruction_error"] / 10)
    assert tenth["error_unit"] == "standard deviations"


def test_an_inverse_that_fails_shows_in_the_figures():
    branch = [SpectralDense(8, activation="tanh"), SpectralDense(3)]
    flow = ResidualFlow([ResidualBlock(branch, max_iterations=1)])
    flow.build((None, 3))
    figures = evaluation.reconstruction(flow, RNG.normal(size=(9, 3)).astype("float32"), 5)
    assert not figures["inverse_converged"]
    assert figures["reconstruction_failures"] == 9 and figures["reconstruction_error"] is None
    assert math.isnan(figures["sample_reconstruction_error"])


def test_evaluation_is_the_same_every_time_though_its_log_det_is_estimated():
    flow = mlp_flow(3, num_blocks=2, hidden_units=(8,), log_det=PowerSeries(4), seed=0)
    points = RNG.normal(size=(20, 3)).astype("float32")
    certificate = certify(flow)
    first, second = (
        evaluation.evaluate(flow, points, certificate, batch_size=8, examples=8) for _ in range(2)
    )
    assert first == second
    assert first["truncation_bound"] > 0 and first["examples"] == 20
    other = evaluation.log_prob(flow, points, 8, seed=1)
    assert np.any(other != evaluation.log_prob(flow, points, 8, seed=0)), "the seed is used"


def test_batches_keep_one_shape():
    """And the results of all points come back, in every part of what the function returns."""
    points = np.arange(10, dtype="float32").reshape(5, 2)
    batches = []

    def function(batch):
        batches.append(batch)
        return tf.constant(batch), (batch.sum(axis=1),)

    same, (sums,) = evaluation.map_batches(function, points, 2)
    assert [(b.shape, b.dtype) for b in batches] == [((2, 2), np.float32)] * 3
    np.testing.assert_array_equal(same, points)
    np.testing.assert_array_equal(sums, points.sum(axis=1))
