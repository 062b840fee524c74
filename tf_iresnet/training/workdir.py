"""The directory of a run: its files, none of them ever half-written, and who may write there."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: a second process on one workdir goes unnoticed there
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".partial"  # ending of a file that is still being written
LOCK = ".lock"


class RunError(ValueError):
    """A mistake that the user can correct; the message is one line and says how."""


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Replaces the file `path` by `content`; a reader sees the old or the new one, whole."""
    path = pathlib.Path(path)
    # Always the same name, so that the next write replaces what a killed process left.
    partial = path.with_name(f".{path.name}{PARTIAL}")
    data = content.encode() if isinstance(content, str) else content
    with open(partial, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def to_plain(config: Any) -> Any:
    """Returns a config (`ConfigDict` or nested mapping) as its JSON reads back.

    Raises RunError for a value that JSON doesn't have.
    """
    if hasattr(config, "to_dict"):
        config = config.to_dict()
    try:
        return json.loads(json.dumps(config))
    except TypeError as error:
        raise RunError(
            f"Expected a config of numbers, strings, lists and dictionaries. Received: {error}."
        ) from error


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns `dotted.name: old → new` for each leaf in which two nested mappings differ."""
    before, after, absent = dict(_leaves(old)), dict(_leaves(new)), "absent"
    return [
        f"{name}: {before.get(name, absent)!r} → {after.get(name, absent)!r}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name, absent) != after.get(name, absent)
    ]


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        nested = isinstance(value, Mapping) and value
        yield from _leaves(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", value)]


class Workdir:
    """The paths of a run's files; `claim` makes the directory if it doesn't exist yet."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path)
        self.config = self.path / "config.json"
        self.checkpoint = self.path / "checkpoint.npz"
        self.metrics = self.path / "metrics.csv"
        self.model = self.path / "model.keras"
        self.dataset = self.path / "dataset.json"
        self.figures = self.path / "figures.json"
        self.report = self.path / "report.html"
        self.pictures = self.path / "pictures"
        self.tensorboard = self.path / "tensorboard"

    @contextlib.contextmanager
    def claim(self, config: Mapping[str, Any]) -> Iterator[None]:
        """Holds the directory for a run with `config`, which is written there the first time.

        Raises RunError if it belongs to another config, no run at all or a process training there.
        """
        self._check(config)
        self.path.mkdir(parents=True, exist_ok=True)
        with self._lock():
            self._check(config)
            if not self.config.exists():
                write_atomically(self.config, json.dumps(config, indent=2) + "\n")
            yield

    def finished(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """Returns the figures of the run if it has ended, else None; raises as `claim` does."""
        self._check(config)
        return self.read_figures() if self.figures.exists() else None

    def read_config(self) -> dict[str, Any]:
        """Returns the config of the run. Raises RunError if there is no readable one."""
        return self._read_json(self.config, "scripts/train.py makes one")

    def read_figures(self) -> dict[str, Any]:
        """Returns the final figures of the run. Raises RunError if it hasn't finished."""
        return self._read_json(self.figures, "rerun the training command to finish the run")

    def _read_json(self, path: pathlib.Path, advice: str) -> dict[str, Any]:
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            raise RunError(
                f"Expected the workdir of a run, with {path.name} in it. "
                f"Received: workdir={self.path} ({advice})."
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"Expected {path} to be readable JSON. Received: {error}.") from error

    def _check(self, config: Mapping[str, Any]) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunError(f"Expected workdir to be a directory. Received: workdir={self.path}.")
        if self.config.exists():
            changed = differences(self.read_config(), config)
            if changed:
                raise RunError(
                    f"Expected the config that {self.path} was started with, to resume there. "
                    f"Received: {'; '.join(changed)}. Put these back, or choose another --workdir."
                )
            return
        foreign = [p.name for p in self.path.iterdir() if not p.name.endswith((PARTIAL, LOCK))]
        if foreign:
            raise RunError(
                "Expected a new or empty workdir, or that of a run. "
                f"Received: workdir={self.path}, which holds {sorted(foreign)[0]} but no "
                "config.json; nothing was written there. Choose another --workdir."
            )

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Locks the directory; the system releases the lock however the process ends."""
        with open(self.path / LOCK, "w") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise RunError(
                        "Expected no other process to train in this workdir. "
                        f"Received: workdir={self.path}, in use now; wait for it or stop it."
                    ) from None
            yield
