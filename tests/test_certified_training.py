"""Every step of a training run, under a microscope: is the model certified all the way?"""

import keras
import numpy as np
import pytest

import tf_iresnet as tfi


def train(rule, steps, look):
    """Trains a flow on eight clusters on a ring, fast enough to move norms; looks at each step."""
    random = np.random.default_rng(0)
    angle = random.integers(8, size=(steps, 64)) * np.pi / 4
    centers = np.stack([np.cos(angle), np.sin(angle)], -1)
    batches = (2 * centers + random.normal(scale=0.1, size=centers.shape)).astype("float32")
    flow = tfi.mlp_flow(2, num_blocks=2, hidden_units=(24,), seed=0, normalization=rule)
    flow.compile(optimizer=keras.optimizers.Adam(1e-2))
    losses = []
    for batch in batches:
        losses.append(flow.train_on_batch(batch)[0])
        look(flow)
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) - 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "steps"), [("gram", 500), ("aol", 500)])
def test_a_bound_from_above_is_certified_after_every_single_step(rule, steps):
    tight = []

    def look(flow):
        certificate = tfi.certify(flow)
        assert certificate.invertible and len(certificate.layers) == 4
        assert all(row.upper_bound <= row.coefficient for row in certificate.layers)
        tight.append(max(row.upper_bound / row.coefficient for row in certificate.layers))

    train(rule, steps, look)
    print(f"{rule}: largest norm / coefficient, mean over the steps: {np.mean(tight):.5f}")
    assert len(tight) == steps and np.mean(tight) > (0.99 if rule == "gram" else 0.7)


@pytest.mark.slow
def test_an_estimate_from_below_is_exceeded_by_less_than_its_tolerance_after_every_step():
    """By the training step, whose vector is of the step before, and by inference after it."""
    violations = []

    def look(flow):
        for dense in flow.layer.layers[-1].layer.layers[1].branch.layers:
            state = [(weight, weight.numpy()) for weight in dense.non_trainable_weights]
            kernels = dense.normalized_kernel(training=True), dense.normalized_kernel()
            for weight, value in state:  # of looking, nothing is left
                weight.assign(value)
            norms = [np.linalg.norm(np.asarray(k, np.float64), 2, (-2, -1)).max() for k in kernels]
            violations.append([norm / dense.coefficient - 1 for norm in norms])

    train("power", 500, look)
    training, inference = np.max(violations, 0)
    print(
        f"power: largest norm / coefficient - 1: {training:.4f} in training, {inference:.4f} after"
    )
    assert 1e-6 < inference < 0.01 and 1e-6 < training < 0.01
