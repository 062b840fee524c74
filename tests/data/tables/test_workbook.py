"""Spreadsheets are read as other tables are, and damaged or empty ones are refused."""

import datetime
import sys

import numpy as np
import openpyxl
import pytest

from tf_iresnet.data.tables import TableError, load_table

ROWS = [("a", "b"), (1.5, 20), (2.5, 10), (0.1, 30)]


def save(directory, **sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(directory / "t.xlsx")
    return directory / "t.xlsx"


def test_numbers_keep_their_digits(tmp_path):
    table = load_table(save(tmp_path, Sheet1=ROWS))
    assert table.columns == ("a", "b") and table.notes == ()
    np.testing.assert_array_equal(table.values, ROWS[1:])


def test_the_first_sheet_with_cells_or_that_of_the_key(tmp_path):
    path = save(tmp_path, Empty=[], First=ROWS, Second=[("c",), (1,), (3,)])
    table = load_table(path)
    assert table.columns == ("a", "b")
    assert table.notes == (
        "The sheet 'First' is read, not Empty, Second; choose with --config.data.key=….",
    )
    np.testing.assert_array_equal(load_table(path, key="Second").values, [[1], [3]])
    with pytest.raises(TableError, match=r"a sheet 'Third'.*sheets Empty, First, Second"):
        load_table(path, key="Third")


def test_titles_dates_texts_truth_values_and_gaps(tmp_path):
    rows = [["Report, “2024”"], [], ["day", "sex", "ok", "a", "note", "b"]]
    for k, sex in enumerate("FMFFM"):
        day = datetime.datetime(2024, 1, 2 * k + 1)
        rows.append([day, sex, k % 2 == 0, k / 4, f"line\nend {k}", [None, 1.5][k > 0]])
    path = save(tmp_path, Sheet1=rows)
    with pytest.raises(TableError, match=r"row 4, column 'b': .*an empty cell, .*'b' \(1\)"):
        load_table(path)
    table = load_table(path, exclude="b")
    assert table.columns == ("sex", "ok", "a")
    assert table.categories == {"sex": ("F", "M"), "ok": ("False", "True")}
    np.testing.assert_array_equal(table.values[:, 1], [1, 0, 1, 0, 1])
    assert [note.split("'")[1] for note in table.notes] == ["Report, “2024”", "day", "note"]
    days = load_table(path, columns=["day", "a"]).values[:, 0]
    np.testing.assert_array_equal(days, 19723 + 2 * np.arange(5))


def test_bad_cells_are_named_by_the_row_of_the_sheet(tmp_path):
    path = save(tmp_path, Sheet1=[[], ("a", "b"), (1.5, 2), (None,), (2.5, "#DIV/0!"), (3, 4)])
    with pytest.raises(TableError, match=r"row 5, column 'b': .*'#DIV/0!'"):
        load_table(path)


def test_books_without_cells_and_other_files(tmp_path):
    with pytest.raises(TableError, match=r"a sheet with cells.*empty sheets only"):
        load_table(save(tmp_path, Sheet1=[], Sheet2=[]))
    (tmp_path / "t.xlsx").write_bytes(b"x")
    with pytest.raises(TableError, match=r"a readable \.xlsx file.*Save it again"):
        load_table(tmp_path / "t.xlsx")
    np.savez(tmp_path / "t.npz", np.eye(2))
    (tmp_path / "t.npz").rename(tmp_path / "t.xlsx")
    with pytest.raises(TableError, match=r"Rename the file to \.npz"):
        load_table(tmp_path / "t.xlsx")


def test_without_openpyxl_the_error_names_the_extra(tmp_path, monkeypatch):
    path = save(tmp_path, Sheet1=ROWS)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ImportError, match=r"openpyxl.*pip install 'tf_iresnet\[examples\]'"):
        load_table(path)
