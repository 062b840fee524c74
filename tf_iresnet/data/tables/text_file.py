"""Reads text tables with pandas, chunk by chunk, and record by record to say what is wrong."""

from itertools import islice
from typing import Any

from tf_iresnet.data.errors import TableError, optional_import
from tf_iresnet.data.tables.columns import (
    CHUNK,
    Column,
    Gatherer,
    RawTable,
    check_memory,
    unique_names,
)
from tf_iresnet.data.tables.options import WHITE_SPACE, Options
from tf_iresnet.data.tables.sniff import Dialect, sniff
from tf_iresnet.data.tables.text_source import TextSource, damaged


def read_text(source: TextSource, options: Options, notes: list[str]) -> RawTable:
    """Reads lines of cells.

    Memory: 8 bytes per number and 4 per text, of one column twice, and a chunk of 2²⁰ cells.
    """
    dialect = sniff(source, options, notes)
    names = unique_names(dialect.names, notes)
    line = dialect.header_line
    row = None if line is None else f"{source.unit} {line}"
    chosen = options.positions(source.file, names, row)
    as_text = {names.index(name) for name in options.categories or ()}
    while True:
        columns, rows = _gather(source, options, dialect, names, chosen, as_text)
        mixed = {k for k, column in zip(chosen, columns, strict=True) if column.mixed}
        if mixed <= as_text:
            break
        as_text |= mixed
    for k, column in zip(chosen, columns, strict=True):
        column.unnamed = not dialect.names[k] or dialect.names[k].startswith("Unnamed: ")

    def record(i: int) -> tuple[int, list[str]]:
        return next(islice(source.records(dialect.separator, dialect.skip), i, None))

    return RawTable(
        columns,
        place=lambda i: f"{source.unit} {record(i)[0]}",
        text=lambda i, name: record(i)[1][names.index(name)],
        notes=notes,
        rows=rows,
    )


def _gather(
    source: TextSource,
    options: Options,
    dialect: Dialect,
    names: list[str],
    chosen: list[int],
    as_text: set[int],
) -> tuple[list[Column], int]:
    """The chosen columns and the number of rows; those of `as_text` hold no numbers."""
    with optional_import("pandas", "reads tables of text"):
        import pandas as pd
    width, rows, checked = len(names), 0, False
    gatherers = [Gatherer(options, names[k], k in as_text, dialect.decimal) for k in chosen]
    with source.open() as stream:
        for _ in range(dialect.skip):
            next(stream)
        try:
            for frame in _frames(pd, stream, options, dialect, width, as_text):
                # pandas silently fills up short rows, at the end.
                if frame.shape[1] != width or (not checked and frame.iloc[:, -1].isna().any()):
                    _check_lengths(source, dialect, width)
                    checked = True
                rows += len(frame)
                check_memory(source.file, rows, len(chosen))
                for k, gatherer in zip(chosen, gatherers, strict=True):
                    gatherer.add(frame[k])
        except pd.errors.EmptyDataError:
            pass
        except pd.errors.ParserError as error:
            _check_lengths(source, dialect, width)
            advice = "Is a quotation mark left open?"
            received = " ".join(str(error).split()).rstrip(".")
            raise TableError(source.file, "lines of cells", received, advice) from error
        except (TableError, UnicodeError):
            raise
        except (ValueError, OverflowError, KeyError) as error:  # of a file that is no table
            _check_lengths(source, dialect, width)
            raise damaged(source.file, error) from error
    return [gatherer.column() for gatherer in gatherers], rows


def _frames(
    pd: Any, stream: Any, options: Options, dialect: Dialect, width: int, as_text: set[int]
) -> Any:
    """Yields data frames with columns 0, 1, …, of a bounded number of cells."""
    words = options.missing_words()
    forms = (str, str.upper, str.title, str.capitalize)
    words |= {form(word) for form in forms for word in words} | {"NaN", "<NA>", "NaT"}
    words |= set(options.na_values or ())
    with pd.read_csv(
        stream,
        sep=r"\s+" if dialect.separator == WHITE_SPACE else dialect.separator,
        decimal=dialect.decimal,
        header=None,
        dtype=dict.fromkeys(as_text, str),
        na_values=sorted(words),
        keep_default_na=False,
        skipinitialspace=True,
        low_memory=False,
        chunksize=max(CHUNK // width, 1000),
    ) as reader:
        yield from reader


def _check_lengths(source: TextSource, dialect: Dialect, width: int) -> None:
    """Raises a TableError for the first row that hasn't `width` cells."""
    above = "header" if dialect.header_line is not None else "first rows"
    for line, cells in source.records(dialect.separator, dialect.skip):
        if len(cells) != width:
            advice = "Complete the row; put cells that contain the separator in quotation marks."
            if cells[0].lstrip().startswith("#"):
                advice = "Comments may stand above the table only; delete the line."
            expected, row = f"{width} cells, as in the {above}", f"{source.unit} {line}"
            raise TableError(source.file, expected, str(len(cells)), advice, row)
