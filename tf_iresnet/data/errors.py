"""Errors that say what is wrong with a user's data, or which package is missing, and what to do."""

import contextlib
import os
from collections.abc import Iterator


class DataError(ValueError):
    """A file, folder or download that can't be used; its text says what to do about it."""


class TableError(DataError):
    """A table that can't be used; its text, one line, says where, what, and what to do about it.

    Args:
        path: the file.
        expected, received: what should be there, and what is.
        advice: a sentence.
        row: as a reader of the file would find it, "line 7" or "row 6".
        column: its name.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        expected: str,
        received: str,
        advice: str,
        row: str | None = None,
        column: str | None = None,
    ):
        self.path, self.row, self.column = str(path), row, column
        place = [str(path), row, None if column is None else f"column {column!r}"]
        where = ", ".join(part for part in place if part)
        super().__init__(f"{where}: Expected {expected}. Received: {received}. {advice}")


def file_error(path: object, expected: str, received: str, advice: str) -> DataError:
    """Returns the error "path: Expected …. Received: …. advice"."""
    return DataError(f"{path}: Expected {expected}. Received: {received}. {advice}")


@contextlib.contextmanager
def optional_import(package: str, purpose: str) -> Iterator[None]:
    """Raises an ImportError "Expected package, which purpose" that says how to install it."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"Expected {package}, which {purpose}. "
            "Install it with: pip install 'tf_iresnet[examples]'"
        ) from error
