"""The rows of one or many .parquet files, read in blocks: more of them than memory holds."""

import functools
import hashlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_iresnet.data.errors import TableError, optional_import
from tf_iresnet.data.folders import FolderFiles
from tf_iresnet.data.shuffled_blocks import hashed
from tf_iresnet.data.tables.columns import unique_names
from tf_iresnet.data.tables.parquet_file import read_batches
from tf_iresnet.data.tables.text_source import damaged

_BLOCK = 2**16  # rows that are read at once, at least, where row groups are smaller
_MOST_CELLS = 2**26  # of a row group, which is read as a whole


class Block(NamedTuple):
    """Row groups of a file, and the number of their first row among those of all files."""

    file: int
    groups: range
    start: int


class Chunk(NamedTuple):
    """Some rows: their numbers among those of all files, and an Arrow array of each column."""

    numbers: np.ndarray
    cells: list[Any]


class Shards:
    """The rows of a .parquet file, or of all in a folder, numbered through in the files' order.

    Args:
        path: of the file or folder; names that begin with "." or "_" are passed over, and
            links followed. The notes name other files, and folders without any.

    Raises:
        TableError: for files that aren't readable, of different columns, or of huge row groups.
        ImportError: without pyarrow.
    """

    def __init__(self, path: pathlib.Path):
        with optional_import("pyarrow", "reads .parquet tables"):
            import pyarrow.parquet  # noqa: F401
        self.path = path
        self.files, self.notes = _find(path)
        self.blocks: list[Block] = []
        self._starts = []  # of the files
        rows, names = 0, list[str]()
        for index, file in enumerate(self.files):
            self._starts.append(rows)
            content = self._open(index)
            given = list(content.schema_arrow.names)
            if not index:
                names = given
            elif given != names:
                expected = f"the columns {', '.join(names)}, as {self.files[0].name} has them"
                advice = "Write all files alike, or move it elsewhere."
                raise TableError(file, expected, ", ".join(given), advice)
            rows = self._divide(index, content.metadata, rows)
        self.columns = unique_names(names, self.notes)
        self.unnamed = [not n or n.startswith(("__index_level_", "Unnamed: ")) for n in names]
        self.rows = rows
        if any("=" in part for file in self.files for part in file.relative_to(path).parts[:-1]):
            self.notes.append("Columns that stand in names of folders, as in a=1, aren't read.")

    def _divide(self, index: int, metadata: Any, rows: int) -> int:
        """Adds the blocks of a file whose rows start at number `rows`; returns where they end."""
        first, start, count = 0, rows, metadata.num_row_groups
        for group in range(count):
            size = metadata.row_group(group).num_rows
            if size * metadata.num_columns > _MOST_CELLS:
                expected = f"row groups of at most {_MOST_CELLS:,} cells, which are read at once"
                received = f"{size:,} rows of {metadata.num_columns:,} columns"
                advice = "Write the file again with a row_group_size of 100,000."
                raise TableError(self.files[index], expected, received, advice)
            rows += size
            if rows - start >= _BLOCK or group == count - 1:
                self.blocks.append(Block(index, range(first, group + 1), start))
                first, start = group + 1, rows
        return rows

    def _open(self, index: int) -> Any:
        import pyarrow.parquet

        try:
            return pyarrow.parquet.ParquetFile(self.files[index])
        except Exception as error:  # whatever pyarrow raises for a damaged file
            raise damaged(self.files[index], error) from error

    def read(self, block: int, chosen: Sequence[int]) -> Iterator[Chunk]:
        """Yields the rows of a block some at a time, with the columns at the `chosen` positions."""
        where = self.blocks[block]
        start = where.start
        try:
            for cells in read_batches(self._open(where.file), chosen, list(where.groups)):
                yield Chunk(start + np.arange(len(cells[0])), cells)
                start += len(cells[0])
        except TableError:
            raise
        except Exception as error:
            raise damaged(self.files[where.file], error) from error

    def place(self, number: int) -> str:
        """Returns what a row is called in messages."""
        file = int(np.searchsorted(self._starts, number, side="right")) - 1
        row = f"row {number - self._starts[file] + 1}"
        return row if self.path.is_file() else f"{self.files[file].name}, {row}"

    def uniform(self, chunk: Chunk, key: int | None, seed: int) -> np.ndarray:
        """Returns a hash of each row, in [0, 1): of its number, or of the key that it has.

        Args:
            key: position of the column of keys among those of the chunk.

        Raises:
            TableError: for a row without a key.
        """
        if key is None:
            return hashed(chunk.numbers, seed)
        cells = chunk.cells[key]
        if cells.null_count:
            place = self.place(int(chunk.numbers[int(np.argmax(cells.is_null()))]))
            expected, advice = "a value to group rows by", "Fill the cells in, or remove the rows."
            raise TableError(self.path, expected, "an empty cell", advice, place)
        if str(cells.type).startswith(("int", "uint", "float", "double")):
            numbers = cells.to_numpy(zero_copy_only=False)
            if (numbers == np.rint(numbers)).all():
                return hashed(numbers.astype(np.int64), seed)
        codes = cells if hasattr(cells, "dictionary") else cells.dictionary_encode()
        hashes = [_hash_of(value, seed) for value in codes.dictionary.to_pylist()]
        return np.array(hashes)[codes.indices.to_numpy(zero_copy_only=False)]


@functools.lru_cache(maxsize=2**16)
def _hash_of(value: Any, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}:{value}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def _find(path: pathlib.Path) -> tuple[list[pathlib.Path], list[str]]:
    """The .parquet files of a folder, sorted by name, or the one file; and what isn't read."""
    if path.is_file():
        return [path], []
    found = FolderFiles(path, lambda name: name.lower().endswith(".parquet"), "._", TableError)
    files = [path / name for name in found]
    if not files:
        advice = "Name a file, or correct the path."
        raise TableError(path, "a table, or .parquet files in a folder", "none in it", advice)
    return files, found.notes(".parquet files")
