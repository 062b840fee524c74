"""Tables as people have them, in awkward/, each with what must be read, noted or refused.

All notes are given, so that nothing is guessed silently and nothing plain is commented on.
"""

import pathlib
import re
from typing import NamedTuple

import numpy as np
import pytest

from tf_iresnet.data.tables import TableError, load_table

FOLDER = pathlib.Path(__file__).parent / "awkward"
SEMICOLONS = r"separated by ';'; if not, type --config\.data\.separator="
SPACES = "separated by white space; if not"
COMMAS = r"Decimals are written with a comma; if not, type --config\.data\.decimal='\.'"
NO_HEADER = r"no header, .* x0, x1, …; if line 1 is one, type --config\.data\.header=True"
AB = [[1.5, 20.5], [2.5, 10.25]]


class Read(NamedTuple):
    """What a table is read as: columns, number of rows, the first two, categories and notes."""

    columns: str
    rows: int
    first: list[list[float]]
    notes: tuple[str, ...]
    categories: dict[str, str]


def plain(*notes, columns="a b", rows=6, first=AB, **categories):
    """Six rows of a and b, unless said otherwise."""
    return Read(columns, rows, first, notes, categories)


YEARS = (
    r"Line 1 \(2019, 2020.*\) is taken for the header, since its whole numbers are unlike those "
    r"below; if it is a row, type --config\.data\.header=False"
)
TABLES = {
    # Separators and decimal signs
    "semicolons_decimal_commas.csv": plain(SEMICOLONS, COMMAS),
    "decimal_commas_without_header.csv": plain(SEMICOLONS, COMMAS, NO_HEADER, columns="x0 x1"),
    "quoted_decimal_commas.csv": plain(COMMAS),
    "one_column_decimal_commas.csv": plain(COMMAS, columns="a", first=[[1.5], [2.5]]),
    "tabs.tsv": plain(r"separated by tabs; if not, type --config\.data\.separator="),
    "pipes.txt": plain(r"separated by '\|'"),
    "white_space.txt": plain(SPACES),
    "one_column.csv": plain(columns="a", first=[[1.5], [2.5]]),
    "one_column_with_blank_lines.csv": plain(
        "Blank lines aren't rows; write NA", columns="a", first=[[1.5], [2.5]]
    ),
    "one_column_of_sentences.csv": plain(
        "4 rows of 6 repeat", columns="said", first=[[1], [0]], said="no|yes, please"
    ),
    "mixed_decimal_signs.csv": r"'1,5' in 'a'\. .*name decimal commas with .*decimal=','",
    "thousands.csv": r"'1,250' in 'a'\. Write numbers without .*thousands separators.*exclude=a",
    # Encodings and line ends
    "latin1.csv": plain("read as cp1252; .*--config.data.encoding=", columns="größe b"),
    "utf16.csv": plain("read as utf-16;", columns="größe b"),
    "utf16_without_mark.csv": plain("read as utf-16-le;"),
    "byte_order_mark.csv": plain(),
    "old_mac_line_ends.csv": plain(),
    "quoted_line_ends.csv": plain(
        columns="a note b", rows=4, first=[[1.5, 1, 20.5], [2.5, 0, 10.25]], note="one|two lines"
    ),
    "open_quotation.csv": "lines of cells.*Is a quotation mark left open",
    # Lines above the table
    "comments.csv": plain("2 lines above the table are left out: '# produced by a device' …"),
    "comment_as_wide_as_the_table.csv": plain(
        "Line 1 above the table is left out",
        columns="name city",
        rows=4,
        first=[[1, 0], [0, 1]],
        name="Ann|Bob",
        city="Oslo|Rome",
    ),
    "numpy_savetxt.txt": plain(
        SPACES, r"comment in line 1 is taken for the header; .*skip_lines=1"
    ),
    "title.csv": plain("Line 1 above the table is left out: 'Report Q1'"),
    "title_among_separators.csv": plain(
        "2 lines above the table are left out: 'Report Q1,,' …",
        columns="a b c",
        first=[[1.5, 20.5, 30.75], [2.5, 10.25, 25.625]],
    ),
    "comments_only.csv": "comments only",
    "comment_between_rows.csv": r"line 8: Expected 2 cells, .*Comments may stand above the table",
    # Headers
    "years.csv": plain(YEARS, columns="2019 2020"),
    "years_above_whole_numbers.csv": plain(
        YEARS, columns="2019 2020 2021", rows=7, first=[[7, 5, 3], [3, 10, 6]]
    ),
    "pandas_header_of_numbers.csv": plain(
        r"Line 1 \(, 0, 1\) is taken for the header",
        "Column 1 has no name; it is called 'x0'",
        "'x0' is left out: it holds the numbers of the rows, from 0",
        columns="0 1",
    ),
    "no_header.csv": plain(NO_HEADER, columns="x0 x1"),
    "no_header_with_text.csv": plain(
        r"Line 1 \(north, 1\.5\) is taken for a row, .*type --config\.data\.header=True",
        columns="x0 x1",
        first=[[0, 1.5], [1, 2.5]],
        x0="north|south",
    ),
    "first_row_with_text.csv": "line 1, column 'x1': .*'abc'",
    "units.csv": plain(
        r"Line 2, '\(mm\), \(kg\)', is text above numbers; it is left out", columns="length mass"
    ),
    "names_twice.csv": plain(
        r"Column 3 is a second 'a'; it is called 'a\.1'",
        columns="a b a.1",
        first=[[1.5, 20.5, 30.75], [2.5, 10.25, 25.625]],
    ),
    "name_blank.csv": plain(
        "Column 2 has no name; it is called 'x1'",
        columns="a x1 b",
        first=[[1.5, 30.75, 20.5], [2.5, 25.625, 10.25]],
    ),
    "header_too_short.csv": r"line 2: Expected 2 cells, as in the header\. Received: 4",
    "header_only.csv": "zero rows",
    # Columns of which no density is wanted
    "unnamed.csv": plain("'Unnamed: 0' is left out: it holds the numbers of the rows, from 0"),
    "row_names_of_r.txt": plain(SPACES, "Column 1 has no name", "'x0' is left out: .*from 1"),
    "index_in_r_style_short.csv": plain(
        "Column 1 has no name", "'x0' is left out: .*from 1", rows=2, first=[[2, 3], [3, 4]]
    ),
    "trailing_commas.csv": plain("Column 3 has no name", "'x2' is left out: it holds no cell"),
    "counting.csv": plain("'key' is left out: it holds the numbers of the rows, from 1001"),
    "dates.csv": plain(r"'day' is left out: it holds dates .*--config\.data\.split_order=day"),
    "dates_in_two_ways.csv": plain(r"dates .*\(as %d/%m/%Y, though %m/%d/%Y reads them as well\)"),
    "times.csv": plain("'clock' is left out: it holds dates or times"),
    "constant.csv": plain("'unit' is left out: it holds 7 in all 6 rows"),
    "all_constant.csv": "column 'a': Expected values that differ.*1 in all 6 rows",
    "column_twice.csv": plain("'copy' is left out: it holds the same as 'a'"),
    "empty_column.csv": plain("'note' is left out: it holds no cell at all"),
    "free_text.csv": plain("'remark' is left out: .*6 different texts in 6 rows, such as 'late'"),
    "identifier_by_name.csv": plain(
        r"'customer_id' may be an identifier; --config\.data\.exclude=customer_id leaves it out",
        columns="customer_id a",
        rows=24,
        first=[[0, 0], [7919, 4.625]],
    ),
    # Rows
    "rows_twice.csv": plain(
        "2 rows of 8 repeat another one; .*equal rows stay in one part", rows=8
    ),
    "coarse_rows.csv": plain(
        "18 rows of 24 repeat .*as coarse values do", rows=24, first=[[0, 0], [1, 1]]
    ),
    "empty_rows.csv": plain("2 rows without a single cell: left out"),
    "one_row.csv": "at least two rows",
    "long_row.csv": r"line 3: Expected 2 cells, as in the header\. Received: 3",
    "short_row.csv": r"line 3: Expected 3 cells, as in the header\. Received: 2",
    # Categories
    "truth.csv": plain(
        columns="a ok sold", first=[[1.5, 1, 1], [2.5, 0, 0]], ok="False|True", sold="no|yes"
    ),
    "categories.csv": plain(
        columns="sex a city", first=[[0, 1.5, 0], [1, 2.5, 1]], sex="F|M", city="Oslo|Rome"
    ),
    "categories_with_digits.csv": plain(
        columns="class a", first=[[0, 1.5], [1, 2.5]], **{"class": "1A|2|3B"}
    ),
    # Cells
    "codes.csv": plain(columns="code a", first=[[1, 1.5], [2, 2.5]]),
    "gaps.csv": (
        r"line 2, column 'b': Expected no missing cells\. .*'a' \(2\), 'b' \(1\)\. "
        r"Leave the 3 rows out with --config\.data\.missing=drop, .*missing=impute, "
        r".*--config\.data\.exclude=a,b\."
    ),
    "sentinel.csv": plain(r"-999 stands far outside .*a, b; .*na_values=-999", rows=8),
    "units_in_cells.csv": r"'\$20\.500' in 'price', '1\.5%' in 'share'.*exclude=price,share",
    "bad_cells.csv": (
        r"line 3, column 'b': Expected a finite number\. Received: 'x', .*'a' \(1\), 'b' \(2\)\. "
        r"Correct the cell; .*--config\.data\.na_values=x; .*--config\.data\.exclude=a,b"
    ),
    "infinity.csv": r"line 3, column 'a': .*'inf', .*'b' \(1\)\. Remove the row, replace",
    "identifiers.csv": r"line 2, column 'code': .*below 2\*\*53.*9007199254740995.*exclude=code",
}
OPTIONS = [
    ("gaps.csv", {"missing": "drop"}, 2, [[2.5, 2.25, 4.5]], ["3 rows of 5 with missing cells"]),
    ("gaps.csv", {"exclude": "a,b"}, 5, [[2.5]], []),
    ("gaps.csv", {"missing": "drop", "exclude": "a"}, 4, None, ["1 row of 5 .* cells is left out"]),
    ("gaps.csv", {"missing": "impute"}, 5, None, [r"drawn from the same column \('a' 2, 'b' 1\)"]),
    ("sentinel.csv", {"na_values": "-999", "missing": "drop"}, 6, [[1.5, 20.5]], ["2 rows of 8"]),
    ("bad_cells.csv", {"columns": ["c"]}, 6, [[3]], []),
    ("bad_cells.csv", {"na_values": "x,y,oops", "missing": "drop"}, 3, None, ["3 rows of 6"]),
    ("years.csv", {"header": False}, 7, [[2019, 2020]], []),
    ("no_header.csv", {"header": True}, 5, AB[1:], []),
    ("title.csv", {"skip_lines": 2}, 6, AB, []),
    ("semicolons_decimal_commas.csv", {"separator": ";", "decimal": ","}, 6, AB, []),
    ("tabs.tsv", {"separator": "tab"}, 6, AB, []),
    ("latin1.csv", {"encoding": "latin-1"}, 6, AB, []),
    ("dates.csv", {"columns": "day,a"}, 6, [[19723, 1.5], [19726, 2.5]], []),
    ("counting.csv", {"columns": "key,a"}, 6, [[1001, 1.5]], []),
    ("free_text.csv", {"columns": "remark,a"}, 6, [[2, 1.5]], []),
    ("codes.csv", {"categories": "code"}, 6, [[0, 1.5], [1, 2.5]], []),
    ("dates.csv", {"split_order": "day"}, 6, AB, ["'day': its last rows are the test part"]),
    ("categories.csv", {"split_by": "city"}, 6, None, ["'city': rows with the same value"]),
]


@pytest.mark.parametrize("name", TABLES)
def test_is_read_noted_or_refused(name):
    expected = TABLES[name]
    if isinstance(expected, str):
        with pytest.raises(TableError, match=expected) as error:
            load_table(FOLDER / name)
        assert "\n" not in str(error.value) and name in str(error.value)
        return
    table = load_table(FOLDER / name)
    assert table.columns == tuple(expected.columns.split())
    assert table.values.shape == (expected.rows, len(table.columns))
    np.testing.assert_array_equal(table.values[:2], expected.first)
    found = {column: "|".join(labels) for column, labels in table.categories.items()}
    assert found == expected.categories
    assert len(table.notes) == len(expected.notes), table.notes
    for note, pattern in zip(table.notes, expected.notes, strict=True):
        assert re.search(pattern, note) and note.endswith(".") and "\n" not in note


def test_every_file_of_the_folder_has_its_fact():
    assert {path.name for path in FOLDER.iterdir()} == set(TABLES) and len(TABLES) >= 40


@pytest.mark.parametrize(("name", "options", "rows", "first", "notes"), OPTIONS)
def test_options_that_messages_name_have_their_effect(name, options, rows, first, notes):
    table = load_table(FOLDER / name, **options)
    assert len(table.values) == rows
    if first is not None:
        np.testing.assert_array_equal(table.values[: len(first)], first)
    for pattern in notes:
        assert sum(bool(re.search(pattern, note)) for note in table.notes) == 1, table.notes


def test_description_says_rows_kinds_and_notes():
    lines = load_table(FOLDER / "categories.csv", exclude="city").describe()
    assert lines[0].endswith("categories.csv: 6 rows, 2 columns")
    assert lines[1:] == ["  numbers: a", "  2 categories: sex (F, M)"]
