"""A user's table as a data set: read, split, and every column in the form that it has."""

import inspect
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_iresnet.data.column_evidence import find_forms, plain_forms
from tf_iresnet.data.columns import ColumnForm, usual_rows
from tf_iresnet.data.conditions import fit_condition
from tf_iresnet.data.dataset import Dataset, finite_dataset
from tf_iresnet.data.errors import TableError
from tf_iresnet.data.splits import Split, SplitSeed
from tf_iresnet.data.table_stream import Encoder, is_streamed, table_stream
from tf_iresnet.data.tables import Table, check_options, load_table
from tf_iresnet.data.tables.options import Names, Options, flag
from tf_iresnet.data.tables.repeats import group_rows
from tf_iresnet.data.tables.streamed import StreamedTable
from tf_iresnet.data.tables.table import FEWEST_ROWS

_READING = [n for n in inspect.signature(load_table).parameters if n not in ("path", "like")]
# Options of how a file is written, which other files of the same columns are taken to share.
FORMAT = ("key", "separator", "decimal", "encoding", "header", "skip_lines", "na_values")
_PARTS = ("training", "validation", "test")
_NO_TEST = (
    "There is no test part: what is measured is measured on the validation part, which chose the "
    "epoch, and is a little too good."
)


def load_table_dataset(
    path: str | os.PathLike[str],
    columns: Names = None,
    key: str | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    split_seed: SplitSeed = 0,
    steps: str = "auto",
    outliers: str = "leave_out",
    *,
    test_path: str | os.PathLike[str] | None = None,
    exclude: Names = None,
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    skip_lines: int = 0,
    missing: str = "error",
    na_values: Names = None,
    categories: Names = None,
    split_by: str | None = None,
    split_order: str | None = None,
    condition: Names = None,
    target: Names = None,
    stream: bool | None = None,
) -> Dataset:
    """Returns a user's table as a data set, in the user's units.

    Args:
        path, columns, key, exclude, separator, decimal, encoding, header, skip_lines, missing,
            na_values, categories, split_by, split_order: see `tables.load_table`.
        validation, test: fractions of the rows held out; without a test part, for `test=0`, the
            validation part takes its place, and the notes say so.
        split_seed: seed of the random split, below 2³².
        steps: "auto" finds the steps, atoms and bounds of each column in the training rows, and
            fills steps and atoms with noise, see `columns`; "none" takes all numbers for
            continuous, on which a density can grow without bound where values recur.
        outliers: "leave_out" leaves rows out that hold a cell which is an error by the evidence of
            the training rows, see `column_evidence`, and says so in the notes; "keep" keeps them.
        test_path: another table of the same columns that is the test part; `test` has no effect.
        condition: names of columns that the density of the others is given, as a list or "a,b".
        target: names of the columns that the density is of, given all others.
        stream: whether rows are read when a batch needs them, see `table_stream`, which .parquet
            files and folders of them can be; if None, folders and files of over 10⁸ cells are.
    """
    given = locals()
    for option, choices in (("steps", ("auto", "none")), ("outliers", ("leave_out", "keep"))):
        if given[option] not in choices:
            expected = f"Expected {option} to be one of {', '.join(choices)}."
            raise ValueError(f"{expected} Received: {option}={given[option]!r}.")
    table, parts, streamed, test_table = _read_parts(given)
    found = find_forms(parts.train, table.columns, table.categories, keep=outliers == "keep")
    parts, left_out = _usual_parts(table.path, parts, found.forms)
    table.check_scale(parts.train)
    event, given_columns = _roles(table, condition, target)
    notes = [*table.notes, *found.notes, *left_out]
    if test_table is not None:
        notes += [f"The test rows are those of {test_table.path}.", *test_table.notes]
        notes += _shared(parts)
    names = [", ".join(table.columns[i] for i in chosen) for chosen in (event, given_columns)]
    if given_columns:
        notes.append(f"The density is that of {names[0]}, given {names[1]}.")
    has_test = len(parts.test) > 0
    if not has_test:
        notes.append(_NO_TEST)
    forms = found.forms if steps == "auto" else plain_forms(found.forms)
    known = [table.columns[i] for i in given_columns]
    fitted = fit_condition(known, table.categories, parts.train[:, given_columns])
    chosen = tuple(forms[i] for i in event)
    encoder = Encoder(found.forms, chosen, event, given_columns, fitted)
    source, sizes = None, _sizes(parts)
    if streamed is not None:
        source = table_stream(streamed, encoder)
        sizes = _sizes(parts, source.size)
        if left_out:
            notes.append("The same goes for training rows outside of the sample.")
    if not has_test:
        parts = parts._replace(test=parts.validation)
    rows = [encoder.rows(part) for part in parts]
    points, widths, beside = (Split(*arrays) for arrays in zip(*rows, strict=True))
    upper = points.train + (widths.train if encoder.atoms else encoder.steps)
    ends = points.train.min(axis=0), upper.max(axis=0)
    return finite_dataset(
        points,
        bin_width=encoder.steps,
        cell_widths=widths if encoder.atoms else None,
        conditions=beside if given_columns else None,
        stream=source,
        name=pathlib.Path(path).stem,
        columns=tuple(form.name for form in chosen),
        ranges=np.stack(ends, axis=-1).astype(np.float32),
        forms=chosen,
        notes=tuple(notes),
        description=(*(streamed or table).describe(), sizes),
        has_test=has_test,
        condition=fitted,
    )


def _read_parts(
    given: Mapping[str, Any],
) -> tuple[Table, Split, StreamedTable | None, Table | None]:
    """The table, or the sample of one that is read in blocks; its parts; and the table of tests."""
    reading = {name: given[name] for name in _READING}
    path, test_path, streamed, test_table = given["path"], given["test_path"], None, None
    fractions = given["validation"], given["test"] if test_path is None else 0.0
    if is_streamed(path, given["stream"]):
        options = Options(**reading)
        check_options(pathlib.Path(path), ".parquet", options)
        streamed = StreamedTable(pathlib.Path(path), options, *fractions, given["split_seed"])
    table = load_table(path, **reading) if streamed is None else streamed.table
    if test_path is not None:
        form = {name: given[name] for name in FORMAT}
        form["missing"] = "drop" if given["missing"] == "drop" else "error"
        test_table = load_table(test_path, like=table, **form)
    if streamed is None:
        parts = table.split(given["split_seed"], *fractions, test_table)
    else:
        tests = streamed.parts.test if test_table is None else test_table.values
        parts = streamed.parts._replace(test=tests)
    return table, parts, streamed, test_table


def _roles(table: Table, condition: Any, target: Any) -> tuple[list[int], list[int]]:
    """Positions of the columns that the density is of, and of those that it is given."""
    if condition is not None and target is not None:
        expected = "condition or target, not both: one leaves all other columns to the other"
        raise ValueError(f"Expected {expected}. Received: {condition=}, {target=}.")
    option, asked = ("target", target) if condition is None else ("condition", condition)
    every = list(range(len(table.columns)))
    names = Options(columns=asked).columns or ()
    unknown = [name for name in names if name not in table.columns]
    if unknown:
        received = f"columns {', '.join(table.columns)}"
        advice = f"Correct the name in {flag(option)}…, or name it in {flag('columns')}… as well."
        expected = f"columns named {', '.join(map(repr, unknown))} among those that are used"
        raise TableError(table.path, expected, received, advice)
    chosen = [table.columns.index(name) for name in names]
    rest = [i for i in every if i not in chosen]
    if names and not rest:
        received = f"{option}={', '.join(names)}, which are all columns"
        raise TableError(table.path, "other columns as well", received, "Name fewer.")
    return (chosen, rest) if option == "target" and names else (rest, chosen)


def _shared(parts: Split) -> list[str]:
    """A sentence about test rows that are among the others as well, if there are such."""
    known = len(parts.train) + len(parts.validation)
    group = group_rows([column.astype(np.float64) for column in np.concatenate(parts).T])
    if group is None or not (shared := int(np.isin(group[known:], group[:known]).sum())):
        return []
    return [
        f"Of the {len(parts.test):,} test rows {shared:,} are equal to rows that the model is "
        "chosen by: what is measured on them is a little too good."
    ]


def _sizes(parts: Split, training: int | None = None) -> str:
    """How many rows each part has, as a line; `training` rows where `parts` has a sample."""
    counts = [len(parts.train) if training is None else training, *map(len, parts[1:])]
    sizes = [f"{count:,} {name}" for count, name in zip(counts, _PARTS, strict=True)]
    return f"  rows: {', '.join(sizes)}"


def _usual_parts(path: str, parts: Split, forms: Sequence[ColumnForm]) -> tuple[Split, list[str]]:
    """The parts without rows that hold a cell which is an error, and a sentence about these."""
    usual = [usual_rows(forms, part) for part in parts]
    counts = [int(np.sum(~rows)) for rows in usual]
    if not any(counts):
        return parts, []
    each = ", ".join(
        f"{count} of {len(part)} {name} rows"
        for count, part, name in zip(counts, parts, _PARTS, strict=True)
    )
    if any(len(rows) and rows.sum() < FEWEST_ROWS for rows in usual):
        expected = f"{FEWEST_ROWS} rows in each part without cells that are errors by the others"
        received = f"{each} that hold one"
        advice = "Correct them, keep them by data.outliers=keep, or change data.split_seed."
        raise TableError(path, expected, received, advice)
    kept = Split(*(part[rows] for part, rows in zip(parts, usual, strict=True)))
    return kept, [f"Left out, since they hold such a cell: {each}."]
