"""A table that is read in blocks: a sample of its rows, and the training rows block by block."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.shuffled_blocks import hashed
from tf_iresnet.data.splits import Split, check_fractions, check_seed
from tf_iresnet.data.tables.choose import choose, sort_labels
from tf_iresnet.data.tables.columns import Gatherer, RawTable
from tf_iresnet.data.tables.new_rows import arrange
from tf_iresnet.data.tables.options import Options
from tf_iresnet.data.tables.parquet_file import add
from tf_iresnet.data.tables.shards import Chunk, Shards
from tf_iresnet.data.tables.table import FEWEST_ROWS, FEWEST_TRAINING_ROWS, Table

SAMPLE = 100_000  # training rows that columns are judged by
HELD_OUT = 50_000  # rows of the validation and of the test part, at most
_TRAIN, _VALIDATION, _TEST = range(3)


class StreamedTable:
    """The rows of `Shards`, a sample of them as a table, and a split by hashes.

    The sample is taken from all blocks in one pass; from then on blocks are read as new rows of the
    sample's table. A row's part is decided by the hash of its number or, by `options.split_by`, of
    a column's value.

    Args:
        path: of a .parquet file, or a folder of such.
        validation, test: fractions of the rows, as far as these are at most `HELD_OUT` rows.
        seed: of the hashes.

    Attributes:
        table: of the sample of training rows, with the texts of all categories that there are.
        parts: the sampled training rows and the held-out rows, float64 [n, d].
    """

    def __init__(
        self, path: pathlib.Path, options: Options, validation: float, test: float, seed: int
    ):
        order, impute = options.split_order is not None, options.missing == "impute"
        if order or impute:
            received = f"split_order={options.split_order!r}" if order else "missing='impute'"
            expected = "Expected neither split_order nor missing='impute' for tables that are "
            raise ValueError(f"{expected}read in blocks. Received: {received}, {path}.")
        check_fractions(validation, test)
        check_seed(seed)
        self.shards = shards = Shards(path)
        if not shards.rows:
            raise TableError(path, "rows of cells", "zero rows", "Is this the right file?")
        most = HELD_OUT / shards.rows
        self._fractions = min(validation, most), min(test, most)
        self._seed, self._key = seed, options.split_by
        self._options = dataclasses.replace(options, split_by=None, sampled=True)
        self._sample = SAMPLE / (shards.rows * (1 - sum(self._fractions)))
        raws, labels = self._gather()
        self.table = self._with_all_labels(choose(path, raws[_TRAIN], self._options), labels)
        self._layout = self.table.layout
        self._new_rows = dataclasses.replace(
            self._options,
            columns=tuple(self._layout.columns),
            exclude=None,
            categories=tuple(self._layout.categories) or None,
            new_rows=True,
        )
        held_out = [self._arrange(raw) for raw in raws[_VALIDATION:]]
        self.parts = Split(self.table.values, *held_out)
        wanted = [FEWEST_TRAINING_ROWS, FEWEST_ROWS, FEWEST_ROWS if test else 0]
        if any(len(part) < few for part, few in zip(self.parts, wanted, strict=True)):
            received = f"{', '.join(str(len(part)) for part in self.parts)} of {shards.rows:,} rows"
            expected = f"{', '.join(map(str, wanted))} rows to train, validate and test on"
            advice = "Provide more rows, or change --config.data.validation=… and test."
            raise TableError(path, expected, received, advice)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self.shards.blocks)

    def training_values(self, block: int) -> np.ndarray:
        """Returns the training rows of a block, float64 [n, d]. TableError if one is bad."""
        chosen, key = self._chosen(self._new_rows)
        gatherers = [Gatherer(self._new_rows, self.shards.columns[k]) for k in chosen]
        numbers = []
        for chunk in self.shards.read(block, chosen):
            rows = self._part(chunk, key) == _TRAIN
            numbers.append(chunk.numbers[rows])
            _add(gatherers, chunk, rows)
        return self._arrange(self._raw(gatherers, numbers, chosen))

    def describe(self) -> list[str]:
        """Returns what was read, as lines."""
        lines, shards = self.table.describe(), self.shards
        files = "one file" if len(shards.files) == 1 else f"{len(shards.files):,} files"
        columns = len(self.table.columns)
        head = f"{shards.path}: {shards.rows:,} rows of {columns:,} columns in {files}, read in "
        head += f"{self.blocks:,} blocks; judged by a sample of {len(self.parts.train):,} rows"
        return [head, *lines[1:]]

    def _chosen(self, options: Options) -> tuple[list[int], int | None]:
        """Positions of the columns to read, the last for the key, and its place among them."""
        chosen = options.positions(self.shards.path, self.shards.columns, None)
        if self._key is None:
            return chosen, None
        key = dataclasses.replace(options, columns=(self._key,), exclude=None, categories=None)
        (place,) = key.positions(self.shards.path, self.shards.columns, None)
        chosen = [k for k in chosen if k != place]
        return [*chosen, place], len(chosen)

    def _part(self, chunk: Chunk, key: int | None) -> np.ndarray:
        """The part of each row of a chunk, int [n]."""
        ends = np.cumsum(self._fractions)
        place = np.searchsorted(ends, self.shards.uniform(chunk, key, self._seed), side="right")
        return np.array([_VALIDATION, _TEST, _TRAIN])[place]

    def _gather(self) -> tuple[list[RawTable], dict[str, tuple[str, ...]]]:
        """One pass: rows of the three parts, those of training a sample; texts of categories."""
        chosen, key = self._chosen(self._options)
        used = chosen if key is None else chosen[:-1]
        names = [self.shards.columns[k] for k in used]
        sets = [[Gatherer(self._options, name) for name in names] for _ in range(3)]
        texts = [Gatherer(self._options, name) for name in names]
        numbers: list[list[np.ndarray]] = [[], [], []]
        for block in range(self.blocks):
            for chunk in self.shards.read(block, chosen):
                part = self._part(chunk, key)
                drawn = hashed(chunk.numbers, self._seed + 1) < self._sample
                for which, gatherers in enumerate(sets):
                    rows = (part == which) & (drawn | (which != _TRAIN))
                    numbers[which].append(chunk.numbers[rows])
                    _add(gatherers, chunk, rows)
                for gatherer, name, cells in zip(texts, names, chunk.cells, strict=False):
                    if _is_text(cells) or name in (self._options.categories or ()):
                        add(gatherer, cells.unique())
        raws = [self._raw(s, n, used) for s, n in zip(sets, numbers, strict=True)]
        labels = {name: g.column().labels for name, g in zip(names, texts, strict=True)}
        raws[_TRAIN].notes += self.shards.notes
        return raws, labels

    def _raw(
        self, gatherers: Sequence[Gatherer], numbers: list[np.ndarray], chosen: Sequence[int]
    ) -> RawTable:
        positions = np.concatenate([np.empty(0, np.int64), *numbers])
        columns = [gatherer.column() for gatherer in gatherers]
        for k, column in zip(chosen, columns, strict=False):
            column.unnamed = self.shards.unnamed[k]
        by_name = {column.name: column for column in columns}
        return RawTable(
            columns,
            place=lambda i: self.shards.place(int(positions[i])),
            text=lambda i, name: by_name[name].text(i),
            notes=[],
            rows=len(positions),
            positions=positions,
        )

    def _arrange(self, raw: RawTable) -> np.ndarray:
        """The rows as values of the table's columns, float64 [n, d]."""
        if not raw.rows:
            return np.empty((0, len(self._layout.columns)))
        return arrange(self.shards.path, raw, self._layout, self._new_rows).values

    def _with_all_labels(self, table: Table, labels: dict[str, tuple[str, ...]]) -> Table:
        """The sample's table with the texts of categories that only other rows have."""
        values, categories = table.values, dict(table.categories)
        for name, known in table.categories.items():
            texts = sort_labels(list({*known, *labels[name]}))
            j = table.columns.index(name)
            codes = np.array([texts.index(text) for text in known], np.float64)
            values[:, j] = codes[values[:, j].astype(int)]
            categories[name] = texts
        return dataclasses.replace(table, categories=categories)


def _add(gatherers: Sequence[Gatherer], chunk: Chunk, rows: np.ndarray) -> None:
    """Adds some rows of a chunk, bool [n], column by column."""
    if not rows.any():
        return
    for gatherer, cells in zip(gatherers, chunk.cells, strict=False):
        add(gatherer, cells if rows.all() else cells.filter(rows))


def _is_text(cells: Any) -> bool:
    return any(kind in str(cells.type) for kind in ("string", "bool", "dictionary"))
