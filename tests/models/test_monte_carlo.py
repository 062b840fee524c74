"""Log-densities with their errors: against the exact flow, and against what was asked for."""

import numpy as np
import pytest

from tf_iresnet import log_det, mlp_flow

POINTS = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")


def flow(estimator):
    """With blocks far from the identity, whose log-determinants are worth estimating."""
    model = mlp_flow(5, num_blocks=2, hidden_units=(16,), log_det=estimator, seed=0)
    kernels = [weight for weight in model.trainable_weights if weight.name.endswith("kernel")]
    for kernel in kernels:
        kernel.assign(3 * kernel.value)
    model.store_norms()
    return model


def test_the_mean_of_draws_is_within_its_standard_error():
    exact = flow("exact").log_prob(POINTS).numpy()
    found = flow(log_det.Krylov(5)).log_prob_with_error(POINTS, seed=1, draws=200)
    score = (found.value - exact) / found.standard_error
    assert np.all(found.draws == 200)
    assert abs(score.mean()) < 3.5 / np.sqrt(len(score)) and 0.6 < score.std() < 1.5


def test_an_exact_flow_is_evaluated_once_and_has_no_error():
    found = flow("exact").log_prob_with_error(POINTS)
    assert np.all(found.draws == 1)
    assert not found.standard_error.any() and not found.truncation_bound.any()


def test_draws_go_on_for_each_example_until_its_error_is_met():
    model = flow(log_det.Krylov(5))
    found = model.log_prob_with_error(POINTS, draws=4, standard_error=0.05, max_draws=2000)
    assert np.all(found.standard_error <= 0.05)
    assert found.draws.min() >= 4 and len(set(found.draws)) > 5, "each has its own number"
    again = model.log_prob_with_error(POINTS, draws=4, standard_error=0.05, max_draws=2000)
    np.testing.assert_array_equal(found.value, again.value)
    with pytest.warns(RuntimeWarning, match="of 40 examples didn't reach.*0.0001 nats in 6 draws"):
        capped = model.log_prob_with_error(POINTS, draws=4, standard_error=1e-4, max_draws=6)
    assert np.all(capped.draws <= 6)


@pytest.mark.parametrize("estimator", [log_det.PowerSeries(3), log_det.Krylov(3)])
def test_the_truncation_bound_of_all_blocks_holds(estimator):
    short = flow(estimator).log_prob_with_error(POINTS, draws=2)
    long = flow(log_det.Krylov(5)).log_prob_with_error(POINTS, draws=2)  # exact in 5 dimensions
    missing = np.abs(short.value - long.value)
    assert np.all(missing <= short.truncation_bound + 1e-4)
    assert missing.max() > 1e-3, "something is missing, or the test shows nothing"


def test_conditions_and_several_probes():
    estimator = log_det.Krylov(5, probes=4)
    model = mlp_flow(5, 2, (16,), condition_size=3, log_det=estimator, seed=0)
    exact = mlp_flow(5, 2, (16,), condition_size=3, log_det="exact", seed=0)
    exact.set_weights(model.get_weights())
    conditions = np.random.default_rng(1).normal(size=(40, 3)).astype("float32")
    found = model.log_prob_with_error(POINTS, conditions, standard_error=0.02, max_draws=5000)
    score = (found.value - exact.log_prob(POINTS, conditions)) / np.maximum(
        found.standard_error, 1e-3
    )
    assert np.abs(score).mean() < 2


@pytest.mark.parametrize("options", [{"draws": 1}, {"draws": 10, "max_draws": 5}])
def test_bad_numbers_of_draws(options):
    with pytest.raises(ValueError, match=r"draws ≥ 2.*Received: draws="):
        flow("exact").log_prob_with_error(POINTS, **options)
