"""The directory of a run: its files, none of them ever half-written, and who may write there."""

import contextlib
import json
import os
import pathlib
import socket
from collections.abc import Iterator, Mapping
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: a second process on one workdir goes unnoticed there
    fcntl = None  # type: ignore[assignment]

from tf_iresnet.training.files import (
    AGAIN,
    AWAY,
    PARTIAL,
    RunError,
    missing,
    sha256,
    write_atomically,
    writing,
)

LOCK = ".lock"
Config = Mapping[str, Any]  # plain: nested mappings, lists, strings, numbers


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
    """The paths of a run's files; `claim` makes the directory if it doesn't exist yet.

    Args:
        writes: False for one of several workers that isn't the chief: it reads what the chief
            writes, and claims nothing.
    """

    def __init__(self, path: str | os.PathLike[str], writes: bool = True):
        self.path = pathlib.Path(path)
        self.writes = writes
        self.config = self.path / "config.json"
        # Of the last two, in turns: writing one leaves the other as it is.
        self.checkpoints = (self.path / "checkpoint.npz", self.path / "checkpoint2.npz")
        self.metrics = self.path / "metrics.csv"
        self.model = self.path / "model.keras"
        self.dataset = self.path / "dataset.json"
        self.reference = self.path / "reference.npz"
        self.figures = self.path / "figures.json"
        self.report = self.path / "report.html"
        self.pictures = self.path / "pictures"
        self.tensorboard = self.path / "tensorboard"
        self.manifest = self.path / "manifest.json"

    @contextlib.contextmanager
    def claim(self, config: Config) -> Iterator[None]:
        """Locks the directory for a run with `config`, which is written there the first time.

        Raises RunError if it belongs to another config, no run at all or a process training there.
        """
        if not self.writes:
            yield
            return
        self._check(config)
        with writing(self.path / LOCK):
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / LOCK).touch()
        # The system releases the lock however the process ends.
        with open(self.path / LOCK, "r+", errors="replace") as file:
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                expected = "Expected no other process to train in this workdir."
                owner = file.read(100).strip() or "another process"
                found = f"workdir={self.path}, in use now by {owner}; wait for it or stop it."
                raise RunError(f"{expected} Received: {found}") from None
            with contextlib.suppress(OSError):  # of a full disk: only a name, for the line above
                os.ftruncate(file.fileno(), 0)
                os.write(file.fileno(), f"process {os.getpid()} of {socket.gethostname()}".encode())
            self._check(config)
            if not self.config.exists():
                self.write_config(config)
            yield

    def write_config(self, config: Config) -> None:
        """Writes the config of the run."""
        write_atomically(self.config, json.dumps(config, indent=2) + "\n")

    def seal(self) -> None:
        """Marks the run as finished, and notes the checksum of everything that was made."""
        made = [self.config, self.metrics, self.model, self.dataset, self.reference]
        made += [self.figures, self.report, *sorted(self.pictures.glob("*.png"))]
        sums = {str(p.relative_to(self.path)): sha256(p) for p in made if p.exists()}
        write_atomically(self.manifest, json.dumps(sums, indent=2) + "\n")

    def finished(self, config: Config) -> dict[str, Any] | None:
        """Returns the figures of the run if it has ended, else None; raises as `claim` does.

        Of a run whose files are damaged or gone it says so, and returns None: whoever trains it
        again makes them from the checkpoint.
        """
        self._check(config)
        if not self.manifest.exists():
            return None
        try:
            for name in self._sums():
                self.check(self.path / name)
            return self.read_figures()
        except RunError as error:
            print(f"{error} It is being made again.", flush=True)
            return None

    def check(self, path: pathlib.Path) -> pathlib.Path:
        """Returns the path of a file that the run has made.

        Raises RunError if it isn't there, or differs from what was written.
        """
        if not self.manifest.exists():
            return path
        name = str(path.relative_to(self.path))
        known = self._sums().get(name)
        if known is None:
            return path
        found = sha256(path) if path.is_file() else None
        if found != known:
            state = f"a file {'whose checksum is another: damaged' if found else missing(path)}"
            state, advice = ("a directory", f"{AWAY} {AGAIN}") if path.is_dir() else (state, AGAIN)
            raise RunError(f"Expected {path} as training left it. Received: {state}. {advice}")
        return path

    def _sums(self) -> dict[str, str]:
        sums = self.read_json(self.manifest, AGAIN)
        if not all(isinstance(text, str) for pair in sums.items() for text in pair):
            raise RunError(f"Expected checksums in {self.manifest}. Received: others.")
        return sums

    def read_config(self) -> dict[str, Any]:
        """Returns the config of the run. Raises RunError if there is no readable one."""
        return self.read_json(self.config, AGAIN)

    def read_figures(self) -> dict[str, Any]:
        """Returns the final figures of the run. Raises RunError if it hasn't finished."""
        return self.read_json(self.figures, "Rerun the training command to finish the run.")

    def read_json(self, path: pathlib.Path, advice: str) -> dict[str, Any]:
        """Returns what a file of JSON holds; RunError with `advice` without a readable one."""
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            expected = f"Expected the workdir of a run, with {path.name} in it."
            raise RunError(f"{expected} Received: workdir={self.path} without. {advice}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"Expected JSON in {path}. Received: {error}. {advice}") from error
        if not isinstance(content, dict):
            found = type(content).__name__
            raise RunError(f"Expected names and values in {path}. Received: {found}. {advice}")
        return content

    def _check(self, config: Config) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunError(f"Expected workdir to be a directory. Received: workdir={self.path}.")
        if self.config.exists():
            if changed := differences(self.read_config(), config):
                raise RunError(
                    f"Expected the config that {self.path} was started with, to resume there. "
                    f"Received: {'; '.join(changed)}. Put these back, or choose another --workdir. "
                    "(A config.json that is damaged may be deleted: the checkpoint has another.)"
                )
            return
        foreign = [p.name for p in self.path.iterdir() if not p.name.startswith((PARTIAL, LOCK))]
        if foreign:
            raise RunError(
                "Expected a new or empty workdir, or that of a run. "
                f"Received: workdir={self.path}, which holds {min(foreign)} but no config.json; "
                "nothing was written there. Choose another --workdir."
            )
