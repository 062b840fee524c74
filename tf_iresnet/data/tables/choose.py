"""Which columns of a file a density is of: what is left out, what is filled in, what is wrong."""

import pathlib
import re

import numpy as np

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.tables.cells import check_cells, listed, missing_cells, plural
from tf_iresnet.data.tables.columns import Column, RawTable
from tf_iresnet.data.tables.options import Options, flag
from tf_iresnet.data.tables.remarks import note_identifiers, note_sentinels, repeated_rows
from tf_iresnet.data.tables.repeats import equal_columns
from tf_iresnet.data.tables.table import Table

_MOST_CATEGORIES = 50  # more, unless asked for, are names of rows or free text
_FEWEST_COUNTED = 5  # rows whose count is no coincidence
_FILL_SEED = 0
_WITH_UNIT = re.compile(r"[^\w\s+-]?\s*[+-]?\d[\d.,' ]*\s*[^\d\s]{0,3}")


def choose(file: pathlib.Path, raw: RawTable, options: Options) -> Table:
    """Returns the table that a density can be trained on.

    Raises:
        TableError: for cells that are wrong or missing, or if no column remains.
    """
    split_name = options.split_by or options.split_order
    split_column = next((c for c in raw.columns if c.name == split_name), None)
    columns = [c for c in raw.columns if c is not split_column]
    if not raw.rows:
        raise TableError(file, "rows of cells", "zero rows", "Is this the right file?")
    keep = _nonempty_rows(raw)
    columns = _leave_out(file, raw, columns, keep, options)
    used = columns if split_column is None else [*columns, split_column]
    if split_column is not None:
        _check_split(file, split_column, options)
    check_cells(file, raw, used, keep)
    gaps = missing_cells(used, keep)
    if gaps and options.missing == "drop":
        dropped = np.zeros(raw.rows, bool)
        for column in gaps:
            dropped |= column.missing()
        count = int((keep & dropped).sum())
        are = "is" if count == 1 else "are"
        raw.notes.append(
            f"{plural(count, 'row')} of {int(keep.sum()):,} with missing cells {are} left out "
            f"({listed(gaps)})."
        )
        keep &= ~dropped
        if not keep.any():
            received = f"missing cells in each of {raw.rows:,}, in {listed(gaps)}"
            advice = f"Leave columns out with {flag('exclude', [c.name for c in gaps])}."
            raise TableError(file, "rows without missing cells", received, advice)
    elif gaps:
        _refuse_gaps(file, raw, gaps, keep, options, split_column)
    arrays, categories = dict[str, np.ndarray](), dict[str, tuple[str, ...]]()
    for column in used:
        numbers, labels = _encode(column, keep)
        column.numbers, column.codes = np.empty(0), None  # their memory is needed
        arrays[column.name] = _fill(numbers)
        if labels:
            categories[column.name] = labels
    if gaps and options.missing == "impute":
        filled = ", ".join(f"{column.name!r} {count:,}" for column, count in gaps.items())
        raw.notes.append(
            f"Missing cells are filled in with values drawn from the same column ({filled}); "
            "what this says about dependences is invented."
        )
    split_values = arrays.pop(split_column.name) if split_column else None
    _leave_out_repeats(file, arrays, raw, options)
    return _assemble(file, arrays, categories, split_values, raw, options)


def _nonempty_rows(raw: RawTable) -> np.ndarray:
    """Whether a row has a cell that isn't missing, bool [n]."""
    usable = [c for c in raw.columns if not c.odd]
    keep = np.full(raw.rows, len(usable) < len(raw.columns) or len(usable) < 2)
    for column in usable:
        if keep.all():
            break
        keep |= ~column.missing()
    if not keep.all():
        raw.notes.append(f"{plural(int((~keep).sum()), 'row')} without a single cell: left out.")
    return keep


def _leave_out(
    file: pathlib.Path, raw: RawTable, columns: list[Column], keep: np.ndarray, options: Options
) -> list[Column]:
    """The columns that a density can be of; the others are noted, or refused if asked for."""
    asked = {*(options.columns or ()), *(options.categories or ())}
    kept, reasons, units = [], list[str](), list[Column]()
    for column in columns:
        unusable = column.odd or ("no cell at all" if column.missing().all() else "")
        reason = unusable or ("" if column.name in asked else _reason(column, keep, raw.positions))
        if not reason:
            kept.append(column)
        elif _has_units(column):
            units.append(column)
        elif unusable and column.name in asked:
            advice = f"Leave the column out with {flag('exclude', [column.name])}."
            expected = "numbers, dates or categories"
            raise TableError(file, expected, unusable, advice, column=column.name)
        else:
            reasons.append(f"{column.name!r} holds {reason}")
            raw.notes.append(f"The column {column.name!r} is left out: it holds {reason}.")
    if units:
        examples = ", ".join(f"{c.labels[0]!r} in {c.name!r}" for c in units)
        advice = (
            "Write numbers without units, signs and thousands separators, name decimal commas with "
            f"--config.data.decimal=',', or type {flag('exclude', [c.name for c in units])}."
        )
        raise TableError(file, "numbers or categories", f"texts such as {examples}", advice)
    if not kept:
        received = f"none: {'; '.join(reasons)}" if reasons else "none"
        advice = "Name those to take anyway with --config.data.columns=…."
        raise TableError(file, "a column of numbers or categories", received, advice)
    return kept


def _reason(column: Column, keep: np.ndarray, positions: np.ndarray | None) -> str:
    """What a column holds if no density is wanted of it; else an empty text."""
    if column.dates:
        ambiguous = ""
        if len(column.dates) > 1:
            ambiguous = f" (as {column.dates[0]}, though {column.dates[1]} reads them as well)"
        splits = f" to split by time, type {flag('split_order', [column.name])};"
        splits = splits if positions is None else ""  # a table read in blocks isn't in order
        days = "as days since 1970 if it is named in --config.data.columns=…"
        return f"dates or times{ambiguous};{splits} it is taken {days}"
    rows = int(keep.sum())
    if column.is_category():
        labels = len(column.labels)
        if labels > _MOST_CATEGORIES or labels > max(2, rows / 2):
            return f"{labels:,} different texts in {rows:,} rows, such as {column.labels[0]!r}"
        return ""
    numbers = column.numbers[keep]
    if rows >= _FEWEST_COUNTED or (column.unnamed and rows > 1):
        start = numbers[0]
        place = np.arange(rows) if positions is None else positions[keep] - positions[keep][0]
        if start == np.rint(start) and (numbers == start + place).all():
            return f"the numbers of the rows, from {start:g}"
    return ""


def _has_units(column: Column) -> bool:
    """Whether most texts of a column are numbers with a sign or a unit."""
    if column.dates or not (column.odd or column.is_category()) or not column.labels:
        return False
    return sum(bool(_WITH_UNIT.fullmatch(t)) for t in column.labels) > 0.8 * len(column.labels)


def _refuse_gaps(
    file: pathlib.Path,
    raw: RawTable,
    gaps: dict[Column, int],
    keep: np.ndarray,
    options: Options,
    split_column: Column | None,
) -> None:
    """Raises a TableError for missing cells, unless they are to be filled in."""
    impute = options.missing == "impute"
    if impute and split_column not in gaps:
        return
    blamed = {c: n for c, n in gaps.items() if not impute or c is split_column}
    missing = np.zeros(raw.rows, bool)
    for column in blamed:
        missing |= column.missing() & keep
    i = int(missing.argmax())
    first = next(column for column in blamed if column.missing()[i])
    text = raw.text(i, first.name).strip()
    received = (
        repr(text) if text else "an empty cell"
    ) + f", one of those missing in {listed(blamed)}"
    names = [column.name for column in blamed if column is not split_column]
    advice = f"Leave the {plural(int(missing.sum()), 'row')} out with --config.data.missing=drop"
    if not impute and not options.sampled:  # a table that is read in blocks can't be filled in
        advice += ", fill the cells in with --config.data.missing=impute"
    if names:
        advice += f", or leave out columns with {flag('exclude', names)}"
    place = raw.place(i)
    raise TableError(file, "no missing cells", received, f"{advice}.", place, first.name)


def _check_split(file: pathlib.Path, column: Column, options: Options) -> None:
    """Raises a TableError for a column that rows can't be grouped or ordered by."""
    text = "text" if options.split_order and column.is_category() else ""
    if column.odd or text:
        expected = "numbers or dates to order rows by" if text else "values to split rows by"
        advice = "Write dates as 2024-01-31, or choose another column."
        raise TableError(file, expected, column.odd or text, advice, column=column.name)


def _encode(column: Column, keep: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """The values of the kept rows, NaN where missing, and the texts of their codes."""
    if not column.is_category():
        return (column.numbers if keep.all() else column.numbers[keep]), ()
    assert column.codes is not None
    codes = column.codes[keep]
    present = np.unique(codes[codes >= 0])
    labels = sort_labels([column.labels[k] for k in present])
    place = {label: float(k) for k, label in enumerate(labels)}
    lookup = np.full(len(column.labels) + 1, np.nan)  # the last is for a missing cell
    for k in present:
        lookup[k] = place[column.labels[k]]
    return lookup[codes], labels


def sort_labels(labels: list[str]) -> tuple[str, ...]:
    """Returns texts in the order of the numbers that they are, or of the alphabet."""
    try:
        return tuple(sorted(labels, key=float))
    except ValueError:
        return tuple(sorted(labels))


def _fill(numbers: np.ndarray) -> np.ndarray:
    """Numbers with missing ones drawn, by a fixed seed, from the others."""
    missing = np.isnan(numbers)
    if not missing.any():
        return numbers
    drawn = np.random.RandomState(_FILL_SEED).choice(numbers[~missing], int(missing.sum()))
    numbers = numbers.copy()
    numbers[missing] = drawn
    return numbers


def _leave_out_repeats(
    file: pathlib.Path, arrays: dict[str, np.ndarray], raw: RawTable, options: Options
) -> None:
    """Removes columns that are constant or equal to another; TableError if asked for."""
    names = list(arrays)
    rows = len(arrays[names[0]])
    if rows < 2:
        advice = "A single row says nothing about a density."
        raise TableError(file, "at least two rows", "one row", advice)
    repeats = equal_columns([arrays[name] for name in names])
    reasons = {names[j]: f"the same as {names[k]!r}" for j, k in repeats.items()}
    for name, x in arrays.items():
        if x.min() == x.max():
            reasons[name] = f"{x[0]:g} in all {plural(rows, 'row')}"
    asked = [name for name in reasons if name in (options.columns or ())]
    constant = [name for name, why in reasons.items() if why.endswith(("row", "rows"))]
    if asked or len(constant) == len(names):
        name = (asked or constant)[0]
        advice = "A constant has no density, nor have two equal columns"
        if len(constant) < len(names):
            advice += f"; leave out {flag('exclude', asked)}"
        raise TableError(file, "values that differ", reasons[name], f"{advice}.", column=name)
    for name, why in reasons.items():
        raw.notes.append(f"The column {name!r} is left out: it holds {why}.")
        del arrays[name]


def _assemble(
    file: pathlib.Path,
    arrays: dict[str, np.ndarray],
    categories: dict[str, tuple[str, ...]],
    split_values: np.ndarray | None,
    raw: RawTable,
    options: Options,
) -> Table:
    """The table, with its groups of rows and their order; a note on repeated rows and names."""
    names = tuple(arrays)
    numbers = {name: x for name, x in arrays.items() if name not in categories}
    note_identifiers(numbers, raw.notes)
    note_sentinels(numbers, raw.notes)
    groups = None if options.sampled else repeated_rows(arrays, numbers, raw.notes)
    del numbers  # their memory is needed
    order = None
    if split_values is not None and options.split_by:
        groups = np.unique(split_values, return_inverse=True)[1]
        way = f"{options.split_by!r}: rows with the same value stay in one part"
    elif split_values is not None:
        order, way = split_values, f"{options.split_order!r}: its last rows are the test part"
    if split_values is not None:
        raw.notes.append(f"The table is split by the column {way}.")
    used = {name: labels for name, labels in categories.items() if name in arrays}
    return Table(str(file), stack(arrays), names, used, tuple(raw.notes), groups, order)


def stack(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the arrays as float64 [n, d]; they are forgotten one by one to save memory."""
    names = list(arrays)
    values = np.empty((len(arrays[names[0]]), len(names)), order="F")
    for j, name in enumerate(names):
        values[:, j] = arrays.pop(name)
    return values
