"""The learning rate rises to its peak, comes down to its end, and does both whatever the clock."""

import dataclasses

import numpy as np
import pytest

from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.schedule import learning_rate, progress

OPTIONS = TrainingOptions(
    epochs=10, steps_per_epoch=100, learning_rate=2e-3, warmup_steps=50, final_learning_rate=0.1
)


def test_warm_up_ends_at_the_peak_and_the_decay_takes_over():
    """Defect 15 of the field: warm-ups that never hand over to the schedule they precede."""
    rates = np.array([learning_rate(s, progress(s, 0.0, OPTIONS), OPTIONS) for s in range(1000)])
    assert 0 < rates[0] < 1e-4
    assert np.all(np.diff(rates[:50]) > 0)
    assert rates.max() == pytest.approx(2e-3, rel=0.01)
    assert np.all(np.diff(rates[50:]) < 0)
    assert learning_rate(1000, progress(1000, 0.0, OPTIONS), OPTIONS) == pytest.approx(2e-4)


def test_a_constant_rate_stays_at_its_peak():
    options = dataclasses.replace(OPTIONS, decay="constant")
    rates = [learning_rate(s, progress(s, 0.0, options), options) for s in range(1000)]
    assert np.all(np.diff(rates[:50]) > 0)
    assert set(rates[49:]) == {2e-3}


@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(200, 7), (180, 391)])
def test_a_rate_in_steps_falls_at_the_first_step_after_each_of_its_epochs(epochs, steps_per_epoch):
    """At every product of these numbers, whatever the rounding of a run's progress."""
    options = TrainingOptions(
        epochs=epochs, steps_per_epoch=steps_per_epoch, learning_rate=0.1, warmup_steps=0,
        decay="steps", decay_epochs=(60, 120, 160),
    )  # fmt: skip
    for passed, epoch in enumerate(options.decay_epochs):
        for step, power in (
            (epoch * steps_per_epoch - 1, passed),
            (epoch * steps_per_epoch, passed + 1),
        ):
            rate = learning_rate(step, progress(step, 0.0, options), options)
            assert rate == pytest.approx(0.1 * 0.2**power, rel=1e-12)


def test_without_a_cap_the_clock_changes_nothing():
    assert progress(300, 1e6, OPTIONS) == progress(300, 0.0, OPTIONS) == 0.3


@pytest.mark.parametrize("steps_a_second", [0.5, 5.0, 500.0])
def test_a_capped_run_is_annealed_to_the_end_on_any_machine(steps_a_second):
    options = TrainingOptions(epochs=10, steps_per_epoch=100, max_minutes=1.0)
    end = min(60.0, 1000 / steps_a_second)
    assert progress(int(end * steps_a_second), end, options) == pytest.approx(1.0, abs=1e-3)
    along = [progress(int(t * steps_a_second), t, options) for t in np.linspace(0, end, 50)]
    assert np.all(np.diff(along) >= 0)


@pytest.mark.parametrize("seconds", [20.0, 100.0, 169.0])
def test_a_run_that_is_done_before_its_cap_follows_its_steps_alone(seconds):
    """So its bits can be reproduced: nothing in it depends on the time."""
    options = TrainingOptions(epochs=10, steps_per_epoch=100, max_minutes=3.0)
    start_up = 10.0
    for step in range(1001):
        elapsed = start_up + seconds * step / 1000
        assert progress(step, elapsed, options) == step / 1000
