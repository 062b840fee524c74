"""Reads .parquet files, batch by batch."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tf_iresnet.data.errors import TableError, optional_import
from tf_iresnet.data.tables.columns import CHUNK, Gatherer, RawTable, check_memory, unique_names
from tf_iresnet.data.tables.options import Options
from tf_iresnet.data.tables.text_source import damaged

_DAY = 86_400e6  # microseconds


def read_parquet(file: pathlib.Path, options: Options, notes: list[str]) -> RawTable:
    """Reads numbers, truth values, texts and dates."""
    with optional_import("pyarrow", "reads .parquet tables"):
        import pyarrow.parquet
    try:
        return _read(file, options, notes, pyarrow.parquet.ParquetFile(file))
    except (TableError, PermissionError, ImportError):
        raise
    except Exception as error:  # whatever pyarrow raises for a damaged file
        raise damaged(file, error) from error


def _read(file: pathlib.Path, options: Options, notes: list[str], content: Any) -> RawTable:
    given = list(content.schema_arrow.names)
    names = unique_names(given, notes)
    chosen = options.positions(file, names, None)
    check_memory(file, content.metadata.num_rows, len(chosen))
    gatherers = [Gatherer(options, names[k]) for k in chosen]
    rows = 0
    for cells in read_batches(content, chosen):
        rows += len(cells[0]) if cells else 0
        for gatherer, column in zip(gatherers, cells, strict=True):
            add(gatherer, column)
    columns = [gatherer.column() for gatherer in gatherers]
    for k, column in zip(chosen, columns, strict=True):
        column.unnamed = not given[k] or given[k].startswith(("__index_level_", "Unnamed: "))
    by_name = {column.name: column for column in columns}
    return RawTable(
        columns,
        place=lambda i: f"row {i + 1}",
        text=lambda i, name: by_name[name].text(i),
        notes=notes,
        rows=rows,
    )


def read_batches(
    content: Any, chosen: Sequence[int], groups: Sequence[int] | None = None
) -> Iterator[list[Any]]:
    """Yields some rows at a time of an open file: an Arrow array of each chosen column.

    Args:
        chosen: positions of columns.
        groups: row groups to read, all if None.
    """
    given = list(content.schema_arrow.names)
    only = [given[k] for k in chosen] if len(set(given)) == len(given) else None
    size = max(CHUNK // max(len(chosen), 1), 1000)
    for batch in content.iter_batches(size, row_groups=groups, columns=only):
        batch.validate(full=True)
        places = chosen if only is None else map(batch.schema.get_field_index, only)
        yield [batch.column(place) for place in places]


def add(gatherer: Gatherer, cells: Any) -> None:
    """Adds an Arrow array to a column."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    kind = cells.type
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        numbers = cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        gatherer.add_numbers(numbers, types.is_integer(kind))
    elif types.is_null(kind):
        gatherer.add_numbers(np.full(len(cells), np.nan), False)
    elif types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind):
        codes = cells.dictionary_encode()
        indices = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        gatherer.add_texts(indices, [str(text) for text in codes.dictionary.to_pylist()])
    elif types.is_timestamp(kind) or types.is_date(kind):
        stamps = cells.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False)
        days = stamps.cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        gatherer.add_days(days / _DAY)
    else:
        gatherer.refuse(f"cells of type {kind}")
