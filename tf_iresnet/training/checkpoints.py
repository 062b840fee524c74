"""All that a run needs to go on as if it had never stopped, in one file written in one go.

Keras' `BackupAndRestore` writes its weights and its counter as two files, over the old ones, and
leaves out what early stopping remembers; a kill between the two writes, or during one, would be
seen in the result.
"""

import dataclasses
import io
import json
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_iresnet.training.workdir import RunError, write_atomically


@dataclasses.dataclass
class RunState:
    """Where a run is, besides its variables.

    Args:
        epoch: complete epochs.
        best: the lowest validation loss so far, in nats per example.
        best_epoch: the epoch (from 1) it was seen after.
        wait: epochs since then.
        elapsed: seconds spent in `fit`.
        capped: whether the clock ever set the learning rate or ended the run.
        stopped: why training ended; empty while it hasn't.
        data: digest of the data it is trained on.
        rows: of metrics.csv, one an epoch.
        best_weights: `model.weights` (averaged, if averaging is on) after `best_epoch`.
    """

    epoch: int = 0
    best: float = float("inf")
    best_epoch: int = 0
    wait: int = 0
    elapsed: float = 0.0
    capped: bool = False
    stopped: str = ""
    data: str = ""
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    best_weights: list[np.ndarray] = dataclasses.field(default_factory=list)


def _variables(model: keras.Model) -> dict[str, Sequence[Any]]:
    """The variables that set how training goes on: weights and seeds, but not metrics."""
    metrics = {id(v) for v in model.metrics_variables}
    return {
        "model": [v for v in model.variables if id(v) not in metrics],
        "optimizer": model.optimizer.variables,
    }


def save(path: pathlib.Path, model: keras.Model, state: RunState) -> None:
    """Writes model, optimizer and `state` to `path`, which is at no moment half a file."""
    arrays = {
        f"{group}/{i:05d}": np.asarray(v)
        for group, variables in _variables(model).items()
        for i, v in enumerate(variables)
    }
    arrays |= {f"best/{i:05d}": value for i, value in enumerate(state.best_weights)}
    fields = {k: v for k, v in vars(state).items() if k != "best_weights"}
    arrays["state"] = np.frombuffer(json.dumps(fields).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())


def load(path: pathlib.Path, model: keras.Model) -> RunState:
    """Reads into a built and compiled model what `save` wrote. Without a file: a new run's state.

    Raises:
        RunError: if the file is unreadable or belongs to another architecture.
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
    wanted = {
        f"{group}/{i:05d}": v
        for group, variables in _variables(model).items()
        for i, v in enumerate(variables)
    }
    if {k: tuple(v.shape) for k, v in wanted.items()} != {k: v.shape for k, v in arrays.items()}:
        raise RunError(
            f"Expected {path} to hold the variables of this model. Received: "
            f"{len(arrays)} arrays where the model and its optimizer have {len(wanted)}, or other "
            "shapes. Choose another --workdir."
        )
    for key, variable in wanted.items():
        variable.assign(arrays[key])
    return state
