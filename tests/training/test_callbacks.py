"""Averaged weights are validated and kept, early stopping survives a restart, rates follow a plan.

These hold for any Keras model; a small regression stands in for a flow here.
"""

import csv
import dataclasses
import io
import os
import signal

import keras
import numpy as np
import pytest
from support.regression import OPTIONS, X, Y, make, make_model, train

from tf_iresnet.training.callbacks import ProgressBar, clock_time, learning_rate, progress
from tf_iresnet.training.checkpoints import Checkpoints, RunState
from tf_iresnet.training.interruption import Interrupted, Signals
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import RunError, Workdir


class Average(keras.callbacks.Callback):
    """The moving average of the weights by its definition, apart from the optimizer's own."""

    def __init__(self):
        super().__init__()
        self.average = None
        self.at_epoch_end = []

    def on_train_batch_end(self, batch, logs=None):
        weights, m = self.model.get_weights(), OPTIONS.ema_momentum
        self.average = self.average or weights
        self.average = [m * a + (1 - m) * w for a, w in zip(self.average, weights, strict=True)]

    def on_epoch_end(self, epoch, logs=None):
        self.at_epoch_end.append(self.average)


class RawWeights(keras.callbacks.Callback):
    """The weights just before and just after validation."""

    def __init__(self):
        super().__init__()
        self.pairs = []

    def on_train_batch_end(self, batch, logs=None):
        self.before = self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        self.pairs.append((self.before, self.model.get_weights()))


def test_best_weights_are_the_moving_average_and_validation_uses_them(tmp_path):
    average = Average()
    model, state = train(tmp_path, extra=[average])
    expected = average.at_epoch_end[state.best_epoch - 1]
    for ours, theirs in zip(state.best_weights, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    model.set_weights(state.best_weights)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(state.best, rel=1e-5)


def test_validation_does_not_move_the_weights_by_a_single_bit(tmp_path):
    raw = RawWeights()
    train(tmp_path, extra=[raw])
    assert len(raw.pairs) == 3
    for before, after in raw.pairs:
        for a, b in zip(before, after, strict=True):
            np.testing.assert_array_equal(a, b)


def test_early_stopping_keeps_the_best_and_remembers_its_patience_over_a_restart(tmp_path):
    """A rate that grows past all use makes validation worse from some epoch on."""
    options = TrainingOptions(
        epochs=30, steps_per_epoch=4, learning_rate=3.0, warmup_steps=60, patience=3
    )
    _, whole = train(make(tmp_path / "whole"), options)
    losses = [row["val_loss"] for row in whole.rows]
    assert whole.stopped == "no better validation in 3 epochs"
    assert whole.epoch == whole.best_epoch + 3 < 30
    assert whole.best == min(losses) == losses[whole.best_epoch - 1]

    class Cut(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == whole.epoch - 1:  # two of the three epochs of patience are gone
                raise KeyboardInterrupt

    cut = make(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        train(cut, options, extra=[Cut()])
    _, resumed = train(cut, options)
    assert (resumed.epoch, resumed.best_epoch, resumed.stopped) == (
        whole.epoch, whole.best_epoch, whole.stopped,
    )  # fmt: skip
    for a, b in zip(resumed.best_weights, whole.best_weights, strict=True):
        np.testing.assert_array_equal(a, b)
    tables = [(tmp_path / run / "metrics.csv").read_bytes() for run in ("cut", "whole")]
    assert tables[0] == tables[1]


class Send(keras.callbacks.Callback):
    """Sends this process a signal after a training step, or a validation step, of an epoch."""

    def __init__(self, number, epoch, batch, event="on_train_batch_end"):
        super().__init__()
        self.number, self.place = number, (epoch, batch)
        setattr(self, event, self.send)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def send(self, batch, logs=None):
        if (self.epoch, batch) == self.place:
            os.kill(os.getpid(), self.number)


def ended(model, state):
    """All that is the same at the end of a run, however often it was interrupted."""
    arrays = [np.asarray(v) for v in (*model.weights, *model.optimizer.variables)]
    fields = {k: v for k, v in vars(state).items() if k not in ("elapsed", "best_weights")}
    return [a.tobytes() for a in (*arrays, *state.best_weights)], fields


@pytest.mark.parametrize(
    ("number", "place", "step"),
    [
        (signal.SIGTERM, (1, 1), 6),
        (signal.SIGINT, (0, 0), 1),
        (signal.SIGTERM, (1, 3), 8),
        (signal.SIGTERM, (1, 2, "on_test_batch_end"), 8),
        (signal.SIGINT, (2, 3, "on_test_batch_end"), 12),
    ],
)
def test_after_a_signal_the_step_is_finished_and_saved_and_nothing_is_lost(
    number, place, step, tmp_path, capsys
):
    """In the middle of an epoch or of a validation; the table has the means of whole epochs."""
    whole = ended(*train(make(tmp_path / "whole")))
    before = signal.getsignal(number)
    with (
        pytest.raises(Interrupted, match=rf"after step {step} of 12.* same command") as error,
        Signals() as signals,
    ):
        train(make(tmp_path / "cut"), extra=[Send(number, *place)], signals=signals)
    assert error.value.status == 128 + number
    assert signal.getsignal(number) is before
    assert "once more to stop at once" in capsys.readouterr().out
    assert ended(*train(tmp_path / "cut")) == whole
    tables = [(tmp_path / run / "metrics.csv").read_bytes() for run in ("cut", "whole")]
    assert tables[0] == tables[1]


class Kill(keras.callbacks.Callback):
    """Ends training without any notice after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if self.left < 0:
            raise ConnectionResetError


@pytest.mark.parametrize("limits", [{"checkpoint_steps": 3}, {"checkpoint_minutes": 1e-9}])
def test_checkpoints_by_steps_and_by_minutes_lose_no_more_than_these(limits, tmp_path):
    """Killed every fifth step, on and on, a run ends as one that wasn't."""
    whole = ended(*train(make(tmp_path / "whole")))
    options, path, kills = dataclasses.replace(OPTIONS, **limits), make(tmp_path / "cut"), 0
    while True:
        try:
            found = ended(*train(path, options, extra=[Kill(5)]))
            break
        except ConnectionResetError:
            kills += 1
    assert found == whole
    assert kills == 2


def test_a_validation_that_is_never_finite_keeps_the_last_weights(tmp_path):
    class Lost(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = [np.nan, np.inf, np.nan][epoch]

    model, state = train(tmp_path, extra=[Lost()])
    assert state.stopped == "all epochs were done"
    assert (state.best, state.best_epoch) == (np.inf, 3)
    for kept, weight in zip(state.best_weights, model.weights, strict=True):
        assert kept.shape == weight.shape and np.isfinite(kept).all()
    again = Checkpoints(Workdir(tmp_path)).load(make_model())
    assert again.step == 12 and again.best == np.inf and np.isnan(again.rows[0]["val_loss"])


def test_metrics_are_written_to_their_last_digit(tmp_path):
    _, state = train(tmp_path)
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [4, 8, 12]
    assert [float(row["val_loss"]) for row in rows] == [row["val_loss"] for row in state.rows]


def test_the_time_limit_ends_training_between_two_steps(tmp_path):
    options = TrainingOptions(epochs=10_000, steps_per_epoch=4, max_minutes=1 / 60)
    model, state = train(tmp_path, options)
    assert state.stopped == "the time was spent (max_minutes=0.0166667)"
    assert state.capped and state.epoch < 10_000
    assert 1.0 <= state.elapsed < 10.0
    peak = options.learning_rate
    assert float(model.optimizer.learning_rate) < 0.1 * peak, "a capped run is annealed, too"


def test_a_loss_that_is_lost_keeps_the_best_weights_or_says_what_to_do(tmp_path):
    class Poison(keras.callbacks.Callback):
        def __init__(self, epoch):
            super().__init__()
            self.epoch = epoch

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == self.epoch:
                self.model.weights[0].assign(np.full((3, 4), np.nan))

    _, state = train(make(tmp_path / "late"), extra=[Poison(epoch=2)])
    assert state.stopped == "the loss was nan in epoch 3"
    assert all(np.isfinite(w).all() for w in state.best_weights)
    with pytest.raises(RunError, match=r"loss=nan in epoch 1.*learning_rate"):
        train(make(tmp_path / "early"), extra=[Poison(epoch=0)])


class Terminal(io.StringIO):
    def isatty(self):
        return True


def told(stream):
    """What a run of three epochs writes to a stream."""
    bar = ProgressBar(RunState(best=1.25, best_epoch=2), OPTIONS, stream=stream)
    with bar.display:
        make_model().fit(
            X, Y, batch_size=8, epochs=3, validation_data=(X, Y), verbose=0, callbacks=[bar]
        )  # fmt: skip
    return stream.getvalue()


def test_a_log_file_gets_a_line_per_epoch_with_place_loss_validation_and_time_left():
    text = told(io.StringIO())
    lines = text.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("epoch 2/3  67%  step 8/12  ETA 0:0")
    assert "val " in lines[1] and "(best 1.250, epoch 2)" in lines[1] and "nats" in lines[1]
    assert "\r" not in text and "\033" not in text


def test_a_terminal_gets_one_line_that_is_rewritten_and_its_cursor_back(monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "xterm")
    text = told(Terminal())
    assert "epoch 3/3" in text and "step 12/12" in text and "(best 1.250, epoch 2)" in text
    assert text.count("\n") == 1 and "\033[2K" in text
    assert text.rindex("\033[?25h") > text.rindex("\033[?25l"), "hidden, and shown again"


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "0:05"), (185, "3:05"), (7325, "2:02:05")])
def test_times_are_written_as_clocks_write_them(seconds, text):
    assert clock_time(seconds) == text


SCHEDULE = TrainingOptions(
    epochs=10, steps_per_epoch=100, learning_rate=2e-3, warmup_steps=50, final_learning_rate=0.1
)


def test_warm_up_ends_at_the_peak_and_the_decay_takes_over():
    """At the peak, and the decay comes down to the final rate."""
    rates = np.array([learning_rate(s, progress(s, 0.0, SCHEDULE), SCHEDULE) for s in range(1000)])
    assert 0 < rates[0] < 1e-4
    assert np.all(np.diff(rates[:50]) > 0)
    assert rates.max() == pytest.approx(2e-3, rel=0.01)
    assert np.all(np.diff(rates[50:]) < 0)
    assert learning_rate(1000, progress(1000, 0.0, SCHEDULE), SCHEDULE) == pytest.approx(2e-4)


def test_a_constant_rate_stays_at_its_peak():
    options = dataclasses.replace(SCHEDULE, decay="constant")
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


def test_without_a_time_limit_the_time_changes_nothing():
    assert progress(300, 1e6, SCHEDULE) == progress(300, 0.0, SCHEDULE) == 0.3


@pytest.mark.parametrize("steps_a_second", [0.5, 5.0, 500.0])
def test_a_run_at_its_time_limit_is_annealed_to_the_end_on_any_machine(steps_a_second):
    options = TrainingOptions(epochs=10, steps_per_epoch=100, max_minutes=1.0)
    end = min(60.0, 1000 / steps_a_second)
    assert progress(int(end * steps_a_second), end, options) == pytest.approx(1.0, abs=1e-3)
    along = [progress(int(t * steps_a_second), t, options) for t in np.linspace(0, end, 50)]
    assert np.all(np.diff(along) >= 0)


@pytest.mark.parametrize("seconds", [20.0, 100.0, 169.0])
def test_a_run_that_is_done_before_its_time_limit_follows_its_steps_alone(seconds):
    """So its bits can be reproduced: nothing in it depends on the time."""
    options = TrainingOptions(epochs=10, steps_per_epoch=100, max_minutes=3.0)
    start_up = 10.0
    for step in range(1001):
        elapsed = start_up + seconds * step / 1000
        assert progress(step, elapsed, options) == step / 1000
