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
Config = Mapping[str, Any]  # plain: nested mappings, lists, strings, numbers


class RunError(ValueError):
    """A mistake that the user can correct; the message is one line and says how."""


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Replaces the file `path` by `content`; a reader sees the old or the new one, whole."""
    path = pathlib.Path(path)
    # Always the same name, so that the next write replaces what a killed process left.
    partial = path.with_name(f".{path.name}{PARTIAL}")
    with open(partial, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def to_plain(config: Any) -> Any:
    """Returns a config (`ConfigDict` or mapping) as its JSON reads back; RunError without one."""
    if hasattr(config, "to_dict"):
        config = config.to_dict()
    try:
        return json.loads(json.dumps(config))
    except TypeError as error:
        expected = "Expected a config of numbers, strings, lists and dictionaries."
        raise RunError(f"{expected} Received: {error}.") from error


def differences(old: Config, new: Config) -> list[str]:
    """Returns `dotted.name: old → new` for each leaf in which two configs differ."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    names = sorted(before.keys() | after.keys())
    pairs = {name: [leaves.get(name, "absent") for leaves in (before, after)] for name in names}
    return [f"{name}: {was!r} → {now!r}" for name, (was, now) in pairs.items() if was != now]


def _leaves(config: Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
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
        self.reference = self.path / "reference.npz"
        self.figures = self.path / "figures.json"
        self.report = self.path / "report.html"
        self.pictures = self.path / "pictures"
        self.tensorboard = self.path / "tensorboard"

    @contextlib.contextmanager
    def claim(self, config: Config) -> Iterator[None]:
        """Locks the directory for a run with `config`, which is written there the first time.

        Raises RunError if it belongs to another config, no run at all or a process training there.
        """
        self._check(config)
        self.path.mkdir(parents=True, exist_ok=True)
        # The system releases the lock however the process ends.
        with open(self.path / LOCK, "w") as file:
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                expected = "Expected no other process to train in this workdir."
                found = f"workdir={self.path}, in use now; wait for it or stop it."
                raise RunError(f"{expected} Received: {found}") from None
            self._check(config)
            if not self.config.exists():
                write_atomically(self.config, json.dumps(config, indent=2) + "\n")
            yield

    def finished(self, config: Config) -> dict[str, Any] | None:
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
            expected = f"Expected the workdir of a run, with {path.name} in it."
            raise RunError(f"{expected} Received: workdir={self.path} ({advice}).") from None
        except (OSError, ValueError) as error:
            raise RunError(f"Expected {path} to be readable JSON. Received: {error}.") from error

    def _check(self, config: Config) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunError(f"Expected workdir to be a directory. Received: workdir={self.path}.")
        if self.config.exists():
            if changed := differences(self.read_config(), config):
                raise RunError(
                    f"Expected the config that {self.path} was started with, to resume there. "
                    f"Received: {'; '.join(changed)}. Put these back, or choose another --workdir."
                )
            return
        foreign = [p.name for p in self.path.iterdir() if not p.name.endswith((PARTIAL, LOCK))]
        if foreign:
            raise RunError(
                "Expected a new or empty workdir, or that of a run. "
                f"Received: workdir={self.path}, which holds {min(foreign)} but no config.json; "
                "nothing was written there. Choose another --workdir."
            )
