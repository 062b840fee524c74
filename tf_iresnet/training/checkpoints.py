"""The checkpoint of a run: all that resuming needs, in one file that is replaced at once.

Of two such files each new one replaces the older, so that the last two are kept. A checksum inside
covers every name, dtype, shape, byte and field.

Why not what there is: Keras' `BackupAndRestore` overwrites two files, weights and counter, and a
kill between them would change the result; `tf.train.Checkpoint` writes several files that can't be
replaced in one step, and its checksums are those of single tensors; orbax needs JAX. Writing in the
background would need a second copy of all variables in memory.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from tf_iresnet.training.files import replacing
from tf_iresnet.training.workdir import RunError, Workdir

_HEADER, _ARRAY = "header.json", ".npy"  # names in the archive


@dataclasses.dataclass
class RunState:
    """The state of a run besides its variables."""

    step: int = 0  # batches that were trained on or skipped
    epoch: int = 0  # complete epochs: trained and validated
    best: float = float("inf")  # lowest validation loss so far, nats per example
    best_epoch: int = 0  # the epoch (from 1) after which `best_weights` were
    wait: int = 0  # epochs since the lowest validation loss
    elapsed: float = 0.0  # seconds spent in `fit`
    capped: bool = False  # whether the time limit ever set the learning rate or ended the run
    stopped: str = ""  # why training ended; empty until then
    data: str = ""  # digest of the training data
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    skipped: int = 0  # steps that `on_nan="skip"` left out
    rate_factor: float = 1.0  # of the learning rate, lowered by `on_nan="rollback"`
    # Whose loss wasn't finite before the last rollback, until a validation beyond it; -1 for none.
    failed_step: int = -1
    notes: list[str] = dataclasses.field(default_factory=list)  # what the report warns of
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # of metrics.csv
    # `model.weights` (averaged, if averaging is on) after `best_epoch`.
    best_weights: list[np.ndarray] = dataclasses.field(default_factory=list)


class Header(NamedTuple):
    """What a checkpoint says of itself.

    Attributes:
        written: how many checkpoints of the run were written, this one included.
        arrays: name, dtype and shape of the variable of each array.
        state: a `RunState` without its arrays.
        sha256: of the arrays and of all above.
    """

    written: int
    arrays: dict[str, list[Any]]
    state: dict[str, Any]
    sha256: str = ""


class Damaged(Exception):
    """A file that isn't as it was written."""


class Checkpoints:
    """The last two checkpoints of a run, of which the newer one that is whole counts."""

    def __init__(self, run: Workdir):
        self.run = run
        self._last: pathlib.Path | None = None  # the newest that is whole
        self._written = 0

    def save(self, model: keras.Model, state: RunState, keep_older: bool = False) -> None:
        """Writes model, optimizer, running means and `state`, one array after the other.

        With `keep_older` it replaces the one that was loaded or saved last, if the other is whole.
        A worker that doesn't write reads the arrays all the same, since all workers add up those of
        which each has a part.
        """
        if not self.run.writes:
            for variable in _variables(model).values():
                np.asarray(variable)
            return
        first, second = self.run.checkpoints
        path = second if self._last == first else first
        if keep_older and self._last is not None and _is_whole(path):
            path = self._last
        with replacing(path) as partial:
            _write(partial, model, state, self._written + 1)
        self._last, self._written = path, self._written + 1

    def load(self, model: keras.Model, older: bool = False) -> RunState:
        """Restores a built and compiled model, and returns the state; a new one without a file.

        It takes the newest, or the oldest with `older`. A damaged one is named in a line, and the
        other one used. Raises RunError if both are damaged, or if the file belongs to another
        architecture.
        """
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
        damaged: list[str] = []
        paths = self._newest_first()
        for path in reversed(paths) if older else paths:
            try:
                header = _verify(path)
            except Damaged as error:
                damaged.append(f"{path} ({error})")
                continue
            if damaged:
                print(f"Damaged: {damaged[0]}. Going on from {path} instead.", flush=True)
            state = _restore(path, header, model)
            self._last, self._written = path, max(self._written, header.written)
            return state
        if damaged:
            raise RunError(
                f"Expected a whole checkpoint of this version. Received: {', '.join(damaged)}. "
                "Delete what is damaged to train anew, or choose another --workdir."
            )
        return RunState()

    def read_state(self) -> RunState | None:
        """Returns the newest state that can be read, without its arrays; None without any."""
        for path in self._newest_first():
            with contextlib.suppress(Damaged):
                return RunState(**_read_header(path).state)
        return None

    def _newest_first(self) -> list[pathlib.Path]:
        """The files that there are; one that can't be read counts as the newest."""

        def written(path: pathlib.Path) -> float:
            try:
                return _read_header(path).written
            except Damaged:
                return float("inf")

        return sorted(filter(pathlib.Path.exists, self.run.checkpoints), key=written, reverse=True)


def restore_config(run: Workdir) -> None:
    """Writes config.json anew, from a checkpoint, if it is damaged or gone.

    Raises RunError if it is damaged and there is no checkpoint.
    """
    try:
        run.read_config()
    except RunError as error:
        state = Checkpoints(run).read_state()
        if state is not None and state.config:
            run.write_config(state.config)
            print(f"{run.config} is restored from the checkpoint.", flush=True)
        elif run.config.exists():
            raise RunError(
                f"Expected JSON in {run.config}, or a checkpoint to restore it from. Received: "
                "neither. Delete it to train anew, or choose another --workdir."
            ) from error


def _variables(model: keras.Model) -> dict[str, Any]:
    """Key → variable that training depends on, in order of the keys."""
    means = {id(v) for v in model.metrics_variables}
    # In the order in which they are written.
    groups = {
        "means": model.metrics_variables,  # of the epoch so far
        "model": [v for v in model.variables if id(v) not in means],
        "optimizer": model.optimizer.variables,
    }
    return {f"{group}/{i:05d}": v for group, found in groups.items() for i, v in enumerate(found)}


def _described(variables: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Key → name, dtype and shape; without the numbers by which Keras counts objects anywhere."""
    return {
        key: [re.sub(r"_?\d+", "", v.name), keras.backend.standardize_dtype(v.dtype), list(v.shape)]
        for key, v in variables.items()
    }


def _best(model: keras.Model) -> dict[str, Any]:
    """Key → the variable that an array of the best weights is for."""
    return {f"best/{i:05d}": v for i, v in enumerate(model.weights)}


def _write(path: pathlib.Path, model: keras.Model, state: RunState, written: int) -> None:
    variables, weights = _variables(model), _best(model) if state.best_weights else {}
    best = dict(zip(weights, state.best_weights, strict=True))
    described = _described({**variables, **weights})
    fields = {name: value for name, value in vars(state).items() if name != "best_weights"}
    header, digest = Header(written, described, fields), hashlib.sha256()
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in sorted({**variables, **best}.items()):
            array = np.asarray(value)  # of a device's memory, one at a time
            _update(digest, key, array)
            with archive.open(f"{key}{_ARRAY}", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        header = header._replace(sha256=_sealed(digest, header))
        archive.writestr(_HEADER, json.dumps(header._asdict()))


def _update(digest: Any, key: str, array: np.ndarray) -> None:
    digest.update(f"{key} {array.dtype.itemsize} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _sealed(digest: Any, header: Header) -> str:
    """The checksum of arrays that `digest` has seen, and of a header but for that."""
    digest.update(json.dumps(header._replace(sha256="")._asdict(), sort_keys=True).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Whatever goes wrong in reading a file of bytes at random: it is damaged."""
    try:
        yield
    except Damaged:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise Damaged(text or f"{type(error).__name__}, as if it were empty") from error


def _read_header(path: pathlib.Path) -> Header:
    with _reading(), zipfile.ZipFile(path) as archive:
        header = Header(**json.loads(archive.read(_HEADER)))
        RunState(**header.state)
        return header._replace(written=int(header.written))


def _read(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    with archive.open(f"{key}{_ARRAY}") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise Damaged(f"more than an array in {key}")
    return array


def _verify(path: pathlib.Path) -> Header:
    """Returns the header of a whole checkpoint; raises Damaged for any other file."""
    header, digest = _read_header(path), hashlib.sha256()
    with _reading(), zipfile.ZipFile(path) as archive:
        for key in sorted(header.arrays):
            _update(digest, key, _read(archive, key))
        if _sealed(digest, header) != header.sha256:
            raise Damaged("its checksum is another")
    return header


def _is_whole(path: pathlib.Path) -> bool:
    with contextlib.suppress(Damaged):
        return bool(_verify(path))
    return False


def _restore(path: pathlib.Path, header: Header, model: keras.Model) -> RunState:
    """Assigns the arrays of a verified checkpoint; RunError if they aren't those of the model."""
    variables, best = _variables(model), _best(model)
    found, has_best = header.arrays, any(key in header.arrays for key in best)
    if found != (wanted := _described({**variables, **best} if has_best else variables)):
        raise RunError(
            f"Expected {path} to hold the variables of this model. Received: {len(found)} arrays "
            f"where the model and its optimizer have {len(wanted)}, or other names, shapes or "
            "dtypes. Choose another --workdir."
        )
    state = RunState(**header.state)
    with zipfile.ZipFile(path) as archive:
        for key, variable in variables.items():
            variable.assign(_typed(_read(archive, key), variable))
        if has_best:
            state.best_weights = [_typed(_read(archive, k), v) for k, v in best.items()]
    return state


def _typed(array: np.ndarray, variable: Any) -> np.ndarray:
    """An array in the dtype of a variable: NumPy's files know no bfloat16, but its bytes."""
    if array.dtype.kind != "V":
        return array
    return array.view(np.dtype(keras.backend.standardize_dtype(variable.dtype)))
