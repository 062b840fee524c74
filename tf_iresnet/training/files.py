"""Files that are never half-written: each is replaced at once, or stays as it was."""

import contextlib
import errno
import hashlib
import os
import pathlib
from collections.abc import Iterator

from tf_iresnet.data import DataError
from tf_iresnet.data.errors import plain_text

AGAIN = "Rerun the training command, which makes it again."
AWAY = "Move it away."
_CHUNK = 2**20  # bytes read at a time
PARTIAL = ".partial."  # how the name of a file begins that is still being written
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


class RunError(ValueError):
    """A mistake that the user can correct; the message is one line and says how."""


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns an OSError in the writing of `path` into a RunError: which file, why, what to do."""
    try:
        yield
    except OSError as error:
        folder = pathlib.Path(path).parent
        advice = "Run the same command again once that is mended."
        if error.errno in _FULL:
            advice = f"Free space on the disk of {folder}, then run the same command again."
        elif error.errno in _FORBIDDEN:
            advice = f"Make {folder} writable, or choose another place."
        elif error.errno == errno.EISDIR:
            advice = f"{AWAY} Then run the same command again."
        reason = error.strerror or str(error)
        raise RunError(f"Expected to write {path}. Received: {reason}. {advice}") from error


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turns any error in the reading of `path`, which should be `what`, into a RunError.

    For files whose bytes may be anything, so that anything may be raised.
    """
    try:
        yield
    except (RunError, DataError):
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {plain_text(error)}"[:300]
        raise RunError(f"Expected {path} to be {what}. Received: {found}. {AGAIN}") from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields the path of a file to write, which replaces `path` once it is whole and on the disk.

    If writing fails, `path` stays as it was, and the space that was taken is free again. Raises
    RunError where the disk is full or nothing may be written.
    """
    path = pathlib.Path(path)
    # Always the same name, so that the next write replaces what a killed process left.
    partial = path.with_name(f"{PARTIAL}{path.name}")
    with writing(path):
        try:
            yield partial
            _sync(partial)
            os.replace(partial, path)
            _sync(path.parent)  # so that the name outlasts a loss of power, too
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def _sync(path: pathlib.Path) -> None:
    """Waits until a file or a directory's entries are on the disk."""
    if os.name != "posix" and path.is_dir():
        return  # Windows has no such call for directories
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Replaces the file `path` by `content`; a reader sees the old or the new one, whole."""
    with replacing(path) as partial, open(partial, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def missing(path: pathlib.Path) -> str:
    """Returns why there is no file at a path, in words."""
    if path.is_dir():
        return "which is a directory"
    return "which is no ordinary file" if path.exists() else "which isn't there"


def sha256(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
