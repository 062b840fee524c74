"""The Keras callbacks of a run: what Keras' own don't remember, or don't show.

`EarlyStopping` and `SwapEMAWeights` forget what they know when the process ends, and the latter
swaps by adding and subtracting, which moves the weights by a rounding error at each validation.
"""

import csv
import io
import math
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

import keras
import numpy as np

from tf_iresnet.training import checkpoints, schedule
from tf_iresnet.training.checkpoints import RunState
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import RunError, Workdir, write_atomically


class Pace(keras.callbacks.Callback):
    """Sets the learning rate before each step, and ends training when the time is spent.

    Args:
        state: of the run; `elapsed`, `capped` and `stopped` are kept up here.
        options: of the run.
    """

    def __init__(self, state: RunState, options: TrainingOptions):
        super().__init__()
        self.state = state
        self.options = options

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.start = time.monotonic() - self.state.elapsed
        self.step = int(self.model.optimizer.iterations)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.state.elapsed = time.monotonic() - self.start
        fraction = schedule.progress(self.step, self.state.elapsed, self.options)
        self.state.capped |= fraction > self.step / self.options.total_steps
        rate = schedule.learning_rate(self.step, fraction, self.options)
        self.model.optimizer.learning_rate = rate

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.step += 1
        self.state.elapsed = time.monotonic() - self.start
        cap = self.options.max_minutes
        if cap is not None and self.state.elapsed >= 60 * cap:
            self.state.capped = True
            self.state.stopped = f"the time was spent (max_minutes={cap:g})"
            self.model.stop_training = True


class Recorder(keras.callbacks.Callback):
    """Validates with averaged weights, remembers the best ones, stops early, writes checkpoints.

    What it knows is in `state`, which goes into each checkpoint, so that a resumed run stops at
    the same epoch with the same weights.

    Args:
        state: of the run.
        options: of the run.
        workdir: where checkpoint.npz and metrics.csv go.
    """

    def __init__(self, state: RunState, options: TrainingOptions, workdir: Workdir):
        super().__init__()
        self.state = state
        self.options = options
        self.workdir = workdir

    def on_test_begin(self, logs: dict | None = None) -> None:
        self._raw = [np.asarray(v) for v in self.model.trainable_variables]
        # Copies the moving averages into the model, and does nothing without averaging.
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def on_test_end(self, logs: dict | None = None) -> None:
        self._averaged = [np.asarray(w) for w in self.model.weights]
        for variable, value in zip(self.model.trainable_variables, self._raw, strict=True):
            variable.assign(value)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        state, logs = self.state, dict(logs or {})
        state.epoch = epoch + 1
        if logs["val_loss"] < state.best:
            state.best, state.best_epoch, state.wait = float(logs["val_loss"]), epoch + 1, 0
            state.best_weights = self._averaged
        else:
            state.wait += 1
        row = {
            "epoch": epoch + 1,
            "step": int(self.model.optimizer.iterations),
            "learning_rate": float(self.model.optimizer.learning_rate),
        }
        state.rows.append(row | {k: float(v) for k, v in logs.items() if k not in row})
        self._maybe_stop(float(logs["loss"]))
        checkpoints.save(self.workdir.checkpoint, self.model, state)
        write_metrics(self.workdir, state)

    def _maybe_stop(self, loss: float) -> None:
        state, patience = self.state, self.options.patience
        if not math.isfinite(loss):
            if not state.best_weights:
                raise RunError(
                    f"Expected a finite loss. Received: loss={loss} in epoch {state.epoch}, before "
                    "any validation. Lower config.training.learning_rate, or look at the data."
                )
            state.stopped = f"the loss was {loss} in epoch {state.epoch}"
        elif state.epoch >= self.options.epochs:
            state.stopped = state.stopped or "all epochs were done"
        elif patience is not None and state.wait >= patience:
            state.stopped = state.stopped or f"no better validation in {patience} epochs"
        if state.stopped:
            self.model.stop_training = True


def write_metrics(workdir: Workdir, state: RunState) -> None:
    """Writes metrics.csv from the rows of the run: nats and bits per dimension, to full digits."""
    if not state.rows:
        return
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(state.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(state.rows)
    write_atomically(workdir.metrics, table.getvalue())


UNITS = {"bits_per_dim": "{:.3f} bits/dim", "accuracy": "{:.1%} right"}


class ProgressBar(keras.callbacks.Callback):
    """One line: where the run is, its loss, its validation and the time that is left.

    On a terminal the line is rewritten in place; elsewhere (a log file) one is written an epoch.

    Args:
        state: of the run.
        options: of the run.
        measures: metrics to show beside the loss, keys of `UNITS`.
        stream: where to write; standard output unless given.
    """

    WIDTH = 20
    SECONDS_BETWEEN_UPDATES = 0.25

    def __init__(
        self,
        state: RunState,
        options: TrainingOptions,
        measures: Sequence[str] = (),
        stream: TextIO | None = None,
    ):
        super().__init__()
        self.state = state
        self.options = options
        self.measures = measures
        self.stream = stream or sys.stdout
        self.validation = ""

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.step = self.first = int(self.model.optimizer.iterations)
        self.shown = 0.0
        self.began: float | None = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.step += 1
        now = time.monotonic()
        if self.began is None:  # the first step is mostly tracing: no measure of speed
            self.began, self.first = now, self.step
        if self.stream.isatty() and now - self.shown > self.SECONDS_BETWEEN_UPDATES:
            self.shown = now
            self._write(self.line(logs or {}))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        self.validation = (
            f"  val {self._figures(logs, 'val_')} (best {self.state.best:.3f}, "
            f"epoch {self.state.best_epoch})"
        )
        self._write(self.line(logs))

    def on_train_end(self, logs: dict | None = None) -> None:
        if self.stream.isatty():
            self.stream.write("\n")

    def _write(self, line: str) -> None:
        if self.stream.isatty():  # cut, because only an unbroken line can be rewritten
            line = f"\r{line[: shutil.get_terminal_size().columns - 1]}\033[K"
        else:
            line = f"{line}\n"
        self.stream.write(line)
        self.stream.flush()

    def line(self, logs: dict[str, Any]) -> str:
        """Returns the line as it stands."""
        done = schedule.progress(self.step, self.state.elapsed, self.options)
        full = int(self.WIDTH * done)
        seconds = time.monotonic() - (self.began or time.monotonic())
        pace = seconds / (self.step - self.first) if self.step > self.first else 0.0
        return (
            f"epoch {self.epoch}/{self.options.epochs} "
            f"[{'=' * full}{'.' * (self.WIDTH - full)}] "
            f"step {self.step}/{self.options.total_steps}  ETA {clock_time(self._left(pace))}  "
            f"train {self._figures(logs)}{self.validation}  {1e3 * pace:.0f} ms/step"
        )

    def _figures(self, logs: dict[str, Any], prefix: str = "") -> str:
        text = f"{float(logs.get(f'{prefix}loss', math.nan)):.3f} nats"
        for name in self.measures:
            text += " " + UNITS[name].format(float(logs.get(f"{prefix}{name}", math.nan)))
        return text

    def _left(self, pace: float) -> float:
        left = pace * (self.options.total_steps - self.step)
        if self.options.max_minutes is not None:
            left = min(left, 60 * self.options.max_minutes - self.state.elapsed)
        return max(0.0, left)


def clock_time(seconds: float) -> str:
    """Returns seconds as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
