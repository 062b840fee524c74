"""The files of a folder and of those within it, links followed: none is passed over silently."""

import os
from collections.abc import Callable, Iterator, Sequence

from tf_iresnet.data.errors import DataError

_SHOWN = 10  # names in a note


class FolderFiles:
    """The visible files below a folder, in the order of their names, links followed.

    Each folder is searched once. A second way to one, as a loop of links has it, is an error, since
    the same files would be in several parts of a split.

    Args:
        path: of the folder, which has to be one.
        accepts: whether a file is taken, by its path from the folder on.
        hidden: signs; files and folders whose names begin with one of them are passed over.
        error: what is raised.

    Attributes:
        skipped: files that weren't accepted, the first few, and `skipped_count` the number of them.
        empty: folders without an accepted file, but not those within one of them.
            These are known once all files were iterated over.

    Raises:
        DataError: in iteration, for links to nothing or to a folder that is searched as well, and
            for folders that can't be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        accepts: Callable[[str], bool],
        hidden: str = ".",
        error: type[DataError] = DataError,
    ):
        self._path, self._accepts, self._hidden, self._error = path, accepts, hidden, error
        self._searched = dict[str, str]()  # by real path
        self.skipped, self.skipped_count, self.empty = list[str](), 0, list[str]()

    def __iter__(self) -> Iterator[str]:
        """Yields the paths of files, from the folder on."""
        return self._search("")

    def notes(self, what: str) -> list[str]:
        """Returns sentences about files that weren't taken and folders that have none of `what`."""
        found = []
        if self.skipped_count:
            shown = _listed(self.skipped, self.skipped_count)
            found.append(f"Not read, as their endings aren't those of {what}: {shown}.")
        return found + self.notes_on_empty(what)

    def notes_on_empty(self, what: str) -> list[str]:
        """Returns a sentence about folders that have none of `what`, if there are such."""
        shown = _listed(self.empty[:_SHOWN], len(self.empty))
        return [f"There are no {what} in the folders: {shown}."] if self.empty else []

    def _search(self, within: str) -> Iterator[str]:
        """Yields the files of a folder within; notes it if there are none."""
        found, so_far = False, len(self.empty)
        for entry in self._entries(within):
            name = os.path.join(within, entry.name)
            if is_folder(entry, self._error):
                for file in self._search(name):
                    found = True
                    yield file
            elif not self._accepts(name):
                self.skipped_count += 1
                self.skipped += [name] if self.skipped_count <= _SHOWN else []
            elif entry.is_file():
                found = True
                yield name
        if within and not found:
            self.empty[so_far:] = [within]

    def _entries(self, within: str) -> list["os.DirEntry[str]"]:
        """What is visible in a folder within, sorted by name."""
        folder = os.path.join(self._path, within) if within else os.fspath(self._path)
        first = self._searched.setdefault(os.path.realpath(folder), folder)
        if first != folder:
            received = f"the same folder as {first}"
            raise self._error(folder, "folders that differ", received, "Remove the link.")
        return visible_entries(folder, self._hidden, self._error)


def visible_entries(
    folder: str | os.PathLike[str], hidden: str = ".", error: type[DataError] = DataError
) -> list["os.DirEntry[str]"]:
    """Returns what is in a folder, sorted by name; not what begins with one of the `hidden` signs.

    Raises:
        DataError: for a folder that can't be read.
    """
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if entry.name[0] not in hidden]
    except OSError as failure:
        reason = failure.strerror or str(failure)
        raise error(folder, "a readable folder", reason, "Change its permissions.") from failure
    return sorted(visible, key=lambda entry: entry.name)


def is_folder(entry: "os.DirEntry[str]", error: type[DataError] = DataError) -> bool:
    """Returns whether an entry, or what it links to, is a folder. DataError for a dead link."""
    if entry.is_symlink():
        try:
            entry.stat()
        except OSError as failure:
            received = f"a link to {os.readlink(entry.path)} ({failure.strerror})"
            advice = "Restore what it leads to, or remove the link."
            raise error(entry.path, "a file or folder", received, advice) from failure
    return entry.is_dir()


def _listed(names: Sequence[str], count: int) -> str:
    return ", ".join(names) + (f" and {count - len(names):,} more" if count > len(names) else "")
