"""The checkpoint of a run: all that resuming needs, in one file that is written in one go.

Keras' `BackupAndRestore` overwrites two files, weights and counter: a kill during or between these
writes would change the result. It also leaves out the state of early stopping.
"""

import dataclasses
import io
import json
import pathlib
import zipfile
from typing import Any

import keras
import numpy as np

from tf_iresnet.training.workdir import RunError, write_atomically


@dataclasses.dataclass
class RunState:
    """The state of a run besides its variables."""

    epoch: int = 0  # complete epochs
    best: float = float("inf")  # lowest validation loss so far, nats per example
    best_epoch: int = 0  # the epoch (from 1) after which it was measured
    wait: int = 0  # epochs since then
    elapsed: float = 0.0  # seconds spent in `fit`
    capped: bool = False  # whether the time limit ever set the learning rate or ended the run
    stopped: str = ""  # why training ended; empty until then
    data: str = ""  # digest of the training data
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # of metrics.csv
    # `model.weights` (averaged, if averaging is on) after `best_epoch`.
    best_weights: list[np.ndarray] = dataclasses.field(default_factory=list)


def _variables(model: keras.Model) -> dict[str, Any]:
    """Key → variable that training depends on: weights, seeds and optimizer, but not metrics."""
    metrics = {id(v) for v in model.metrics_variables}
    own = [v for v in model.variables if id(v) not in metrics]
    groups = {"model": own, "optimizer": model.optimizer.variables}
    return {f"{group}/{i:05d}": v for group, found in groups.items() for i, v in enumerate(found)}


def save(path: pathlib.Path, model: keras.Model, state: RunState) -> None:
    """Writes model, optimizer and `state`; a reader of `path` never sees half of them."""
    arrays = {key: np.asarray(v) for key, v in _variables(model).items()}
    arrays |= {f"best/{i:05d}": value for i, value in enumerate(state.best_weights)}
    fields = {k: v for k, v in vars(state).items() if k != "best_weights"}
    arrays["state"] = np.frombuffer(json.dumps(fields).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())


def load(path: pathlib.Path, model: keras.Model) -> RunState:
    """Restores a built and compiled model, and returns the state; a new one if there is no file.

    Raises RunError if the file is unreadable or belongs to another architecture.
    """
    model.optimizer.build(model.trainable_variables)
    if not path.exists():
        return RunState()
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        state = RunState(**json.loads(arrays.pop("state").tobytes()))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise RunError(
            f"Expected {path} to be a checkpoint of this version. Received: {error}. "
            "Delete it to train anew, or choose another --workdir."
        ) from error
    state.best_weights = [arrays.pop(k) for k in sorted(arrays) if k.startswith("best/")]
    wanted = _variables(model)
    if {k: tuple(v.shape) for k, v in wanted.items()} != {k: v.shape for k, v in arrays.items()}:
        raise RunError(
            f"Expected {path} to hold the variables of this model. Received: {len(arrays)} arrays "
            f"where the model and its optimizer have {len(wanted)}, or other shapes. "
            "Choose another --workdir."
        )
    for key, variable in wanted.items():
        variable.assign(arrays[key])
    return state
