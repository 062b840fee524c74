"""Rows of a table as examples, and training rows that are read when a batch needs them."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from tf_iresnet.data.batches import Rows, Stream
from tf_iresnet.data.columns import ColumnForm, encode, usual_rows
from tf_iresnet.data.conditions import ConditionColumn, encode_condition
from tf_iresnet.data.errors import TableError, optional_import
from tf_iresnet.data.shuffled_blocks import ShuffledBlocks
from tf_iresnet.data.tables.streamed import StreamedTable

_MOST_CELLS = 10**8  # of a file that is held in memory, 0.8 GB


@dataclasses.dataclass(frozen=True)
class Encoder:
    """What turns rows of a table into examples.

    Args:
        forms: of all columns, by which rows with cells that are errors are left out.
        event_forms: of the columns that the density is of.
        event, given: the positions of these, and of those that the density is given.
        condition: the latter as entries of a condition.
    """

    forms: tuple[ColumnForm, ...]
    event_forms: tuple[ColumnForm, ...]
    event: list[int]
    given: list[int]
    condition: tuple[ConditionColumn, ...]

    @property
    def atoms(self) -> bool:
        """Whether the cells of a column differ in width."""
        return any(form.atoms for form in self.event_forms)

    @property
    def steps(self) -> np.ndarray:
        """Widths of the cells, float64 [event size]; of those that aren't atoms."""
        return np.array([form.step for form in self.event_forms])

    def rows(self, values: np.ndarray) -> Rows:
        """Returns lower ends of cells, float64, and what belongs to them, of rows [n, d]."""
        lower, widths = encode(self.event_forms, values[:, self.event])
        beside = encode_condition(self.condition, values[:, self.given]) if self.given else None
        return Rows(lower, widths if self.atoms else None, beside)


def table_stream(table: StreamedTable, encoder: Encoder) -> Stream:
    """Returns the training rows of a table that is read in blocks.

    All blocks are read once to count them, so that a bad cell is found before training begins;
    then in the order of `ShuffledBlocks`. Rows with cells that are errors are left out.
    """

    def values(block: int) -> np.ndarray:
        rows = table.training_values(block)
        return rows[usual_rows(encoder.forms, rows)]

    def encoded(block: int) -> Rows:
        rows = encoder.rows(values(block))
        return Rows(*(None if array is None else array.astype(np.float32) for array in rows))

    def read(blocks: Sequence[int]) -> Rows:
        parts = [encoded(block) for block in blocks]
        for block, part in zip(blocks, parts, strict=True):
            if len(part.points) != sizes[block]:
                expected = f"the rows that were there when training began, {sizes[block]:,}"
                received, advice = f"{len(part.points):,}", "Restore the files."
                raise TableError(table.shards.path, expected, received, advice)
        joined = zip(*parts, strict=True)
        return Rows(*(None if x[0] is None else np.concatenate(x) for x in joined))

    sizes = np.array([len(values(block)) for block in range(table.blocks)])
    blocks = ShuffledBlocks(sizes, read)
    return Stream(blocks.size, blocks.fetch, encoded(0))


def is_streamed(path: str | os.PathLike[str], stream: bool | None) -> bool:
    """Returns whether a table is read in blocks: as `stream` says, or as its size is.

    Raises:
        ValueError: for a file that can't be, or a folder that can only be.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        if stream is False:
            raise ValueError(f"Expected a file for stream=False. Received: {path}, a folder.")
        return True
    parquet = path.suffix.lower() == ".parquet" and path.is_file()
    if stream and not parquet and path.exists():
        expected = "Expected a .parquet file, or a folder of such, for stream=True."
        raise ValueError(f"{expected} Received: {path}.")
    if stream is not None or not parquet:
        return bool(stream) and parquet
    with optional_import("pyarrow", "reads .parquet tables"):
        import pyarrow.parquet
    try:
        metadata = pyarrow.parquet.read_metadata(path)
    except Exception:  # reading the table says what is wrong
        return False
    return metadata.num_rows * metadata.num_columns > _MOST_CELLS
