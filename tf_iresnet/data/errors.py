"""Errors that say what is wrong with a user's data, or which package is missing, and what to do."""

import contextlib
import os
import re
from collections.abc import Iterator


class DataError(ValueError):
    """Data that can't be used; the text, one line, says where, what, and what to do about it.

    Args:
        path: of the file or folder; None for a download.
        expected, received: what should be there, and what is.
        advice: a sentence.
        row: as a reader of the file would find it, "line 7" or "row 6".
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        expected: str,
        received: str,
        advice: str,
        row: str | None = None,
        column: str | None = None,
    ):
        self.path, self.row, self.column = None if path is None else str(path), row, column
        self.expected, self.received = expected, received
        place = [self.path, row, None if column is None else f"column {column!r}"]
        where = ", ".join(filter(None, place))
        message = f"Expected {expected}. Received: {received}. {advice}"
        super().__init__(f"{where}: {message}" if where else message)

    def advising(self, advice: str) -> "DataError":
        """Returns the same error with another sentence about what to do."""
        where = self.path, self.expected, self.received, advice, self.row, self.column
        return type(self)(*where)


class TableError(DataError):
    """A table that can't be used."""


# What TensorFlow puts around the sentence: nodes of a graph, {{node x}} or [[x]], and [Op:…].
_NODES = re.compile(r"\{\{[^{}]*\}\}|\[\[[^\[\]]*\]\]|\[Op:\w*\](?: name:\S*)?")


def plain_text(error: Exception) -> str:
    """Returns what an error says, in one line, without the names of TensorFlow's operations."""
    return " ".join(_NODES.sub(" ", str(error)).split())


@contextlib.contextmanager
def optional_import(package: str, purpose: str) -> Iterator[None]:
    """Raises an ImportError "Expected package, which purpose" that says how to install it."""
    try:
        yield
    except ImportError as error:
        advice = "Install it with: pip install 'tf_iresnet[examples]'"
        raise ImportError(f"Expected {package}, which {purpose}. {advice}") from error
