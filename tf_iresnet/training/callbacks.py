"""Keras callbacks of a run.

Why not Keras' own: `EarlyStopping` and `SwapEMAWeights` lose their state when the process ends, and
the latter swaps by adding and subtracting, which rounds the weights at each validation; `CSVLogger`
appends, so a kill between checkpoint and table would repeat or cut a row; the time left of
`Progbar` ignores a time limit.
"""

import csv
import io
import math
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from tf_iresnet.numerics.tracing import uncached
from tf_iresnet.training.checkpoints import Checkpoints, RunState
from tf_iresnet.training.events import Seconds
from tf_iresnet.training.interruption import Interrupted, Signals
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.strategies import largest
from tf_iresnet.training.workdir import RunError, Workdir, write_atomically

# A workdir goes on with its config alone.
LOWER_RATE = "Lower config.training.learning_rate, or mend the data, and choose another --workdir."


def progress(step: int, elapsed: float, options: TrainingOptions) -> float:
    """Returns the fraction of a run, in [0, 1], that is done after `step` steps, `elapsed` seconds.

    It is the fraction of the steps or, if larger, one that rises from 0 to 1 in the second half of
    the time limit: a run too slow for its limit is annealed there, and a faster one follows its
    steps alone, even if tracing made its first step slow.
    """
    by_steps = step / options.total_steps
    by_time = 2 * elapsed / (60 * (options.max_minutes or math.inf)) - 1
    return min(1.0, max(by_steps, by_time))


def learning_rate(step: int, fraction: float, options: TrainingOptions) -> float:
    """Returns the learning rate of the step after `step` steps, at a `progress` of `fraction`.

    It is the peak, times a linear ramp over `warmup_steps` (not 0 at the first step), times the
    decay: a half cosine from 1 to `final_learning_rate` (SGDR, arXiv 1608.03983, equation 5),
    `decay_factor` for each of the `decay_epochs` passed, or none.
    """
    ramp = min(1.0, (step + 1) / (options.warmup_steps or 1))
    decay = 1.0
    if options.decay == "steps":
        # Half a step of tolerance, for the rounding of the fraction.
        done = (fraction * options.total_steps + 0.5) / options.epoch_steps
        decay = options.decay_factor ** sum(done >= epoch for epoch in options.decay_epochs)
    elif options.decay == "cosine":
        end = options.final_learning_rate
        decay = end + (1 - end) * 0.5 * (1 + math.cos(math.pi * fraction))
    return options.learning_rate * ramp * decay


class _RunCallback(keras.callbacks.Callback):
    def __init__(self, state: RunState, options: TrainingOptions):
        super().__init__()
        self.state = state
        self.options = options


class Schedule(_RunCallback):
    """Sets the learning rate before each step, and ends training at the time limit.

    `clock` gives the seconds that count: those on the wall, unless a subclass has another one. Of
    several workers those of the same one count for all.
    """

    clock = staticmethod(time.monotonic)

    def _now(self) -> float:
        now = self.clock()
        if self.options.max_minutes is not None:  # it decides what all workers do
            (now,) = largest(self.model.distribute_strategy, now)
        return now

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.start = self._now() - self.state.elapsed

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.state.elapsed = self._now() - self.start
        step, options = self.state.step, self.options
        fraction = progress(step, self.state.elapsed, options)
        self.state.capped |= fraction > step / options.total_steps
        rate = learning_rate(step, fraction, options) * self.state.rate_factor
        self.model.optimizer.learning_rate = uncached(rate)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.state.elapsed = self._now() - self.start
        limit = self.options.max_minutes
        if limit is not None and self.state.elapsed >= 60 * limit:
            self.state.capped = True
            self.state.stopped = f"the time was spent (max_minutes={limit:g})"
            self.model.stop_training = True


class Recorder(_RunCallback):
    """Validates with averaged weights, keeps the best, stops early, writes checkpoints.

    It does so at the end of each epoch, after `checkpoint_steps` and `checkpoint_minutes`, and for
    a signal to any of the workers, after which it raises `Interrupted` in all. A resumed run stops
    at the same epoch with the same weights: all that matters is in the state.
    """

    def __init__(
        self,
        state: RunState,
        options: TrainingOptions,
        checkpoints: Checkpoints,
        signals: Signals | None = None,
        seconds: Seconds | None = None,
    ):
        super().__init__(state, options)
        self.checkpoints = checkpoints
        self.seconds = seconds or Seconds()
        self.signals = signals or Signals()

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._saved(self.state.step)

    def _saved(self, step: int) -> None:
        self._last_step, self._last_time = step, time.monotonic()

    def save(self) -> None:
        """Writes a checkpoint; then ends the process's training if a signal asked for that."""
        signum = int(self._largest(self.signals.received)[0])
        with self.seconds.spent_on("checkpoint"):
            # After a rollback the one before it is kept until a validation beyond the failure.
            self.checkpoints.save(self.model, self.state, keep_older=self.state.failed_step >= 0)
        self._saved(self.state.step)
        if signum:
            done = f"after step {self.state.step} of {self.options.total_steps}"
            raise Interrupted(
                signum,
                f"{signal.Signals(signum).name}: stopped {done}, which is saved. The same command "
                "goes on from there.",
            )

    def _largest(self, *values: float) -> list[float]:
        return largest(self.model.distribute_strategy, *values)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.state.stopped:
            return  # by the time limit: saved with its validation
        steps, minutes = self.options.checkpoint_steps, self.options.checkpoint_minutes
        seconds, signum = self._largest(time.monotonic() - self._last_time, self.signals.received)
        due = steps is not None and self.state.step - self._last_step >= steps
        due |= minutes is not None and seconds >= 60 * minutes
        if due or signum:
            self.save()

    def on_test_begin(self, logs: dict | None = None) -> None:
        self._means = [np.asarray(v) for v in self.model.metrics_variables]
        self._raw = [np.asarray(v) for v in self.model.trainable_variables]
        # Copies the moving averages into the model, and does nothing without averaging.
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        (signum,) = self._largest(self.signals.received)
        if signum and not self.state.stopped:  # validated anew when it goes on
            self._put_back(self.model.trainable_variables, self._raw)
            self._put_back(self.model.metrics_variables, self._means)
            self.save()

    def on_test_end(self, logs: dict | None = None) -> None:
        self._averaged = [np.asarray(w) for w in self.model.weights]
        self._put_back(self.model.trainable_variables, self._raw)

    def _put_back(self, variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        state, logs = self.state, {name: float(value) for name, value in (logs or {}).items()}
        state.epoch = epoch + 1
        state.wait += 1
        if math.isfinite(logs["val_loss"]) and state.step > state.failed_step:
            state.failed_step = -1
        if better := logs["val_loss"] < state.best:
            state.best, state.wait = logs["val_loss"], 0
        if better or not math.isfinite(state.best):  # the last ones, until any is finite
            state.best_epoch, state.best_weights = state.epoch, self._averaged
        optimizer = self.model.optimizer
        row: dict[str, Any] = {"epoch": state.epoch, "step": int(optimizer.iterations.numpy())}
        row["learning_rate"] = float(optimizer.learning_rate.numpy())
        if self.options.on_nan == "skip":
            before, state.skipped = state.skipped, self._count_skipped()
            row["skipped"] = state.skipped
            if state.skipped - before == self.options.epoch_steps:  # means of nothing
                logs |= {name: math.nan for name in logs if not name.startswith("val_")}
        state.rows.append(row | {k: v for k, v in logs.items() if k not in row})
        self._stop_if_done(logs["loss"])
        write_metrics(self.checkpoints.run, state)
        self.save()

    def _count_skipped(self) -> int:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        # Keras' `iterations` stands still while gradients are accumulated.
        return self.state.step - int(optimizer._iterations.numpy())

    def _stop_if_done(self, loss: float) -> None:
        state, patience = self.state, self.options.patience
        if not math.isfinite(loss):
            if not math.isfinite(state.best):
                raise RunError(
                    f"Expected a finite loss. Received: loss={loss} in epoch {state.epoch}, before "
                    f"a finite validation. {LOWER_RATE}"
                )
            state.stopped = f"the loss was {loss} in epoch {state.epoch}"
        elif state.epoch >= self.options.epochs:
            state.stopped = state.stopped or "all epochs were done"
        elif patience is not None and state.wait >= patience:
            state.stopped = state.stopped or f"no better validation in {patience} epochs"
        self.model.stop_training |= bool(state.stopped)


def write_metrics(workdir: Workdir, state: RunState) -> None:
    """Writes the rows of the run to metrics.csv, to full digits."""
    if state.rows and workdir.writes:
        table = io.StringIO()
        writer = csv.DictWriter(table, fieldnames=list(state.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(state.rows)
        write_atomically(workdir.metrics, table.getvalue())


FORMATS = {"loss": "{:.3f} nats", "bits_per_dim": "{:.3f} bits/dim", "accuracy": "{:.1%} right"}


class ProgressBar(_RunCallback):
    """One line of progress, kept up to date on a terminal; elsewhere a line per epoch.

    `metrics`, keys of `FORMATS`, are shown beside the loss; `stream` is standard output by default.
    Training in `with bar.display:` leaves the terminal as it was, however it ends.
    """

    def __init__(
        self,
        state: RunState,
        options: TrainingOptions,
        metrics: Sequence[str] = (),
        stream: TextIO | None = None,
    ):
        super().__init__(state, options)
        self.metrics = metrics
        self.stream = stream or sys.stdout
        self.shown = 0.0
        self.validation = ""
        text = Column(no_wrap=True, overflow="ellipsis")
        self.display = Progress(
            TextColumn("epoch {task.fields[epoch]}", markup=False),
            BarColumn(20),
            TextColumn("{task.description}", markup=False, table_column=text),
            console=Console(file=self.stream, force_terminal=self.stream.isatty()),
            auto_refresh=False,
            disable=not self.stream.isatty(),
        )
        self.task = self.display.add_task("", total=1.0, epoch="")

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.first, self.began = int(self.model.optimizer.iterations.numpy()), time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        now = time.monotonic()
        if not self.shown:  # the first step is mostly tracing, and not counted in the speed
            self.on_train_begin()
        if self.stream.isatty() and now - self.shown > 0.25:  # seconds
            self._show(logs or {})
        self.shown = self.shown or now

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        best = f"(best {self.state.best:.3f}, epoch {self.state.best_epoch})"
        self.validation = f"  val {self._losses(logs or {}, 'val_')} {best}"
        self._show(logs or {})

    def _show(self, logs: dict[str, Any]) -> None:
        options, step = self.options, int(self.model.optimizer.iterations.numpy())
        self.shown = time.monotonic()
        done, steps = progress(step, self.state.elapsed, options), step - self.first
        seconds = (self.shown - self.began) / steps if steps else 0.0  # per step
        left = seconds * (options.total_steps - step)
        if options.max_minutes is not None:
            left = min(left, 60 * options.max_minutes - self.state.elapsed)
        epoch = f"{math.ceil(step / options.epoch_steps)}/{options.epochs}"
        text = (
            f"step {step}/{options.total_steps}  ETA {clock_time(max(0.0, left))}  "
            f"train {self._losses(logs)}{self.validation}  {1e3 * seconds:.0f} ms/step"
        )
        if self.stream.isatty():
            self.display.update(self.task, completed=done, description=text, epoch=epoch)
            self.display.refresh()
        else:
            print(f"epoch {epoch}  {done:.0%}  {text}", file=self.stream, flush=True)

    def _losses(self, logs: dict[str, Any], prefix: str = "") -> str:
        shown = {name: logs.get(prefix + name, math.nan) for name in ("loss", *self.metrics)}
        return " ".join(FORMATS[name].format(float(value)) for name, value in shown.items())


def clock_time(seconds: float) -> str:
    """Returns seconds as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
