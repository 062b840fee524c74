"""What a text file's first lines say: separator, decimal sign, lines above the table, header."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.tables.header import Decision, decide, is_title
from tf_iresnet.data.tables.options import SINGLE, WHITE_SPACE, Options
from tf_iresnet.data.tables.text_source import TextSource, divide

_SAMPLE = 1000  # lines
_COMPARED = 200  # rows that a header is compared with
_SEPARATORS = ("\t", ";", "|", ",", WHITE_SPACE)  # where two divide as well, the first
_NAMES = {"\t": "tabs", WHITE_SPACE: "white space"}
_COMMENT = ("#", "%", "//")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
_DECIMAL_POINT = re.compile(r"[+-]?\d*\.\d+(e[+-]?\d+)?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")

Records = list[tuple[int, list[str]]]


class Dialect(NamedTuple):
    """How to read the rows of a text file: `skip` lines stand above the first of them."""

    separator: str
    decimal: str
    names: list[str]
    skip: int
    header_line: int | None


def sniff(source: TextSource, options: Options, notes: list[str]) -> Dialect:
    """Returns how to read a file, from the options and its first lines.

    Args:
        notes: gets a sentence for everything that isn't plain.
    """
    with source.readable():
        return _sniff(source, options, notes)


def _sniff(source: TextSource, options: Options, notes: list[str]) -> Dialect:
    lines, cut = source.lines(options.skip_lines + _SAMPLE)
    lines = lines[options.skip_lines :]
    top = 0  # lines that are blank or comments
    while top < len(lines) and (not lines[top].strip() or lines[top].lstrip().startswith(_COMMENT)):
        top += 1
    comments = [i for i in range(top) if lines[i].strip()]
    first = options.skip_lines + top
    if top == len(lines):
        received = "comments only" if comments else "blank lines only"
        raise TableError(source.file, "a table", received, "Is this the right file?")
    single = options.separator is None and _single_column(lines[top:])
    separator = options.separator or (SINGLE if single else _separator(lines[top:], first))
    records = [r for r in divide(lines[top:], separator, first) if any(map(str.strip, r[1]))]
    if not records:
        advice = "Is this the right file?"
        raise TableError(source.file, "a table", "blank cells only", advice)
    if cut and len(records) > 1:
        records.pop()  # its quotation may go on
    decimal = options.decimal or ("," if single else _decimal(records, separator))
    if separator not in (",", SINGLE) and options.separator is None:
        name = _NAMES.get(separator, repr(separator))
        notes.append(f"Cells are separated by {name}; if not, type --config.data.separator=….")
    if decimal == "," and options.decimal is None:
        notes.append("Decimals are written with a comma; if not, type --config.data.decimal='.'.")
    comment = None
    if comments:
        text = lines[comments[-1]].lstrip("".join(_COMMENT) + " ")
        cells = next(divide([text], separator, 0), (0, []))[1]
        comment = options.skip_lines + comments[-1] + 1, cells
    dialect = _header(source, options, records, first, comment, separator, decimal, notes)
    below = [line.strip() for line in lines[dialect.skip - options.skip_lines :]]
    if len(dialect.names) == 1 and "" in "\n".join(below).strip("\n").split("\n"):
        notes.append(f"Blank {source.unit}s aren't rows; write NA for a cell that is missing.")
    _note_top(lines, options.skip_lines, dialect, source.unit, notes)
    return dialect


def _separator(lines: Sequence[str], first: int) -> str:
    """The separator by which most records have the same number of cells, at least two."""
    best, most = SINGLE, 0
    for separator in _SEPARATORS:
        try:
            lengths = Counter(len(cells) for _, cells in divide(lines, separator, first))
        except csv.Error:
            continue
        width, score = max(lengths.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
        if width > 1 and score > most and 2 * score > lengths.total() - 1:
            best, most = separator, score
    return best


def _single_column(lines: Sequence[str]) -> bool:
    """Whether lines are one name and then numbers with decimal commas, one each."""
    cells = [line.strip().strip('"') for line in lines if line.strip()]
    return (
        len(cells) > 2
        and not any(sign in cells[0] for sign in ",;\t|")
        and all(_DECIMAL_COMMA.fullmatch(cell) for cell in cells[1:])
    )


def _decimal(records: Records, separator: str) -> str:
    """A comma if cells are numbers with one, none has a point, and they aren't thousands."""
    cells = [cell.strip() for _, row in records for cell in row]
    commas = [cell for cell in cells if _DECIMAL_COMMA.fullmatch(cell)]
    if not commas or any(_DECIMAL_POINT.fullmatch(cell) for cell in cells):
        return "."
    grouped = all(_THOUSANDS.fullmatch(cell) for cell in commas)
    return "." if separator == "," and grouped else ","


def _header(
    source: TextSource,
    options: Options,
    records: Records,
    first: int,
    comment: tuple[int, list[str]] | None,
    separator: str,
    decimal: str,
    notes: list[str],
) -> Dialect:
    """Finds the header and the first row among the records, or in the comment above them."""
    lengths = Counter(len(cells) for _, cells in records)
    width = max(lengths, key=lambda n: (lengths[n], n))
    start = next(i for i, (_, cells) in enumerate(records) if len(cells) == width)
    while start + 1 < len(records) and is_title(records[start][1], records[start + 1 :]):
        start += 1
    body = [cells for _, cells in records[start:] if len(cells) == width][:_COMPARED]
    skip = records[start - 1][0] if start else first
    # Rows that are wider or narrower than the header above them.
    above = records[start - 1] if start else None
    if above and options.header is not False and len(list(filter(str.strip, above[1]))) > 1:
        near = len(above[1]) - width in (-1, 1) or separator != WHITE_SPACE
        if near and (options.header or not decide(body, decimal).header):
            names = _match(source, above, records[start][0], body)
            return Dialect(separator, decimal, names, above[0], above[0])
    decision = decide(body, decimal)
    if options.new_rows:
        named = {" ".join(cell.split()) for cell in body[0]}
        if named.issuperset(options.columns or ()):
            decision = Decision(True, "")
    header = decision.header if options.header is None else options.header
    if comment and options.header is None and len(comment[1]) == width and not decision.header:
        line = comment[0]
        notes.append(
            f"The comment in {source.unit} {line} is taken for the header; if it isn't, type "
            f"--config.data.skip_lines={line}."
        )
        names = [" ".join(cell.split()) for cell in comment[1]]
        return Dialect(separator, decimal, names, skip, line)
    if options.header is None and decision.note:
        notes.append(f"{source.unit.capitalize()} {records[start][0]} {decision.note}")
    line = records[start][0]
    if not header:
        if options.header is None and not decision.note:
            notes.append(
                f"There is no header, so the columns are called x0, x1, …; if {source.unit} {line} "
                "is one, type --config.data.header=True."
            )
        return Dialect(separator, decimal, [f"x{i}" for i in range(width)], skip, None)
    names = [" ".join(cell.split()) for cell in body[0]]
    skip = line
    rest = [i for i in range(start + 1, len(records)) if len(records[i][1]) == width]
    units = [records[i][1] for i in rest]
    if rest and rest[0] == start + 1 and decide(units, decimal).units:
        skip = records[start + 1][0]
        texts = ", ".join(cell.strip() for cell in units[0])
        notes.append(f"{source.unit.capitalize()} {skip}, {texts!r}, is text above numbers; it is "
                     "left out.")  # fmt: skip
    return Dialect(separator, decimal, names, skip, line)


def _match(
    source: TextSource, above: tuple[int, list[str]], below: int, body: list[list[str]]
) -> list[str]:
    """Names for rows whose number of cells isn't that of the header; TableError if unclear."""
    line, header = above
    names, width = [" ".join(cell.split()) for cell in header], len(body[0])
    if len(names) == width + 1 and not names[-1]:
        return names[:-1]
    if len(names) == width - 1:
        if all(not row[-1].strip() for row in body):
            return [*names, ""]
        firsts = [row[0].strip() for row in body]
        counted = [str(k) for k in range(1, len(body) + 1)]
        text = not any(_DECIMAL_POINT.fullmatch(cell) or cell.isdigit() for cell in firsts)
        if firsts == counted or (text and len(set(firsts)) == len(firsts)):
            return ["", *names]  # names of rows, as R writes them
    expected = f"{len(names)} cells, as in the header"
    advice = (
        f"Complete the header, or if it is none leave it out with --config.data.skip_lines={line}."
    )
    raise TableError(source.file, expected, str(width), advice, f"{source.unit} {below}")


def _note_top(
    lines: list[str], skipped: int, dialect: Dialect, unit: str, notes: list[str]
) -> None:
    """Notes the lines that stand above the table and aren't used."""
    end = (dialect.header_line or dialect.skip + 1) - 1 - skipped
    unused = [i for i in range(max(0, end)) if lines[i].strip()]
    if unused:
        text = lines[unused[0]].strip()[:60]
        many = f"{len(unused)} {unit}s above the table are" if len(unused) > 1 else (
            f"{unit.capitalize()} {unused[0] + 1 + skipped} above the table is")  # fmt: skip
        notes.append(f"{many} left out: {text!r}{' …' if len(unused) > 1 else ''}.")
