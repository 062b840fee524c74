"""CSV files as people have them: those that are read, and what is said about those that aren't."""

import re
import sys

import numpy as np
import pytest

from tf_iresnet.data.tables import TableError, load_table

ROWS = [[1.5, 20.0], [2.5, 10.0], [3.5, 30.0]]
GOOD = {
    "commas": "a,b\n1.5,20\n2.5,10\n3.5,30\n",
    "semicolons": "a;b\n1.5;20\n2.5;10\n3.5;30\n",
    "tabs": "a\tb\n1.5\t20\n2.5\t10\n3.5\t30\n",
    "byte order mark": "\ufeffa,b\n1.5,20\n2.5,10\n3.5,30\n",
    "Windows line ends": "a,b\r\n1.5,20\r\n2.5,10\r\n3.5,30\r\n",
    "spaces and blank lines": "\n a , b\n\n1.5, 20\n2.5, 10\n  \n3.5, 30\n\n\n",
    "quotation marks": '"a","b"\n"1.5",20\n2.5,"10"\n3.5,30\n',
    "no final line end": "a,b\n1.5,20\n2.5,10\n3.5,30",
    "exponents": "a,b\n.15e1,2e+1\n25E-1,10\n3.5,+30\n",
}


def write(directory, content, name="table.csv"):
    path = directory / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_reads(tmp_path, content):
    table = load_table(write(tmp_path, content))
    assert table.columns == ("a", "b") and table.values.dtype == np.float64
    np.testing.assert_array_equal(table.values, ROWS)


def test_numbers_in_the_first_line_are_no_header(tmp_path):
    table = load_table(write(tmp_path, "1.5,20\n2.5,10\n3.5,30\n"))
    assert table.columns == ("x0", "x1")
    np.testing.assert_array_equal(table.values, ROWS)


def test_truth_values_count_as_0_and_1(tmp_path):
    table = load_table(write(tmp_path, "a,b\nTrue,1.5\nFalse,2\nTrue,3\n"))
    np.testing.assert_array_equal(table.values[:, 0], [1, 0, 1])


def test_columns_are_chosen_and_ordered_and_the_rest_may_be_text(tmp_path):
    path = write(tmp_path, "city,a,,b\nParis,1.5,,20\nRome,2.5,,10\nOslo,3.5,,30\n")
    table = load_table(path, columns=["b", "a"])
    assert table.columns == ("b", "a")
    np.testing.assert_array_equal(table.values, np.array(ROWS)[:, ::-1])


def test_values_keep_the_digits_of_float64(tmp_path):
    values = np.random.default_rng(0).normal(size=[50, 2]) * [1e-5, 1e7]
    text = "\n".join(",".join(repr(float(v)) for v in row) for row in values)
    np.testing.assert_allclose(load_table(write(tmp_path, text)).values, values, rtol=1e-15)


BAD = {
    "empty file": ("", "table.csv: .*an empty file"),
    "blank lines": ("\n \n", "table.csv: .*blank lines only"),
    "a cell beyond what the csv module takes": (
        "a,b\n1,2\n" + "x" * 140_000 + ",3\n4,5\n",
        "lines of cells.*field larger than field limit",
    ),
    "header only": ("a,b\n", "table.csv: Expected rows .*zero rows"),
    "one column": ("a\n1\n2\n", "at least two columns.*only 'a'.*commas, semicolons or tabs"),
    "spaces between cells": ("a b\n1 2\n2 3\n", "at least two columns.*only 'a b'"),
    "text cell": (
        "a,b\n1,2\n2,x\n3,4\n4,y\n",
        r"line 3, column 'b': Expected a finite number\. Received: 'x' \(1 more .*Correct the cell",
    ),
    "text cell after blank lines": (
        "\n\na,b\n\n1,2\n\n2,x\n",
        "line 7, column 'b': .*Received: 'x'",
    ),
    "text column": (
        "city,a,b\nParis,1,2\nRome,2,4\n",
        r"line 2, column 'city': .*Received: 'Paris' .*Leave the column out with columns=\[…\]",
    ),
    "no header, text": ("1,2\n3,x\n", "line 2, column 'x1': .*Received: 'x'"),
    "empty cell": (
        "a,b\n1,2\n,3\n4,5\n",
        "line 3, column 'a': .*an empty cell.*Remove the row, or fill the cell in",
    ),
    "empty cell among truth values": ("a,b\nTrue,1\n,2\n", "line 3, column 'a': .*empty cell"),
    "NaN": ("a,b\n1,nan\n2,3\n", "line 2, column 'b': .*'nan'.*fill the cell in"),
    "NA": ("a,b\n1,2\n2,NA\n", "line 3, column 'b': .*'NA'.*fill the cell in"),
    "empty column": ("a,b\n1,NA\n2,NA\n", "line 2, column 'b': .*The column is empty"),
    "infinity": ("a,b\n1,2\n-inf,3\n", "line 3, column 'a': .*'-inf'.*by a finite one"),
    "overflow": ("a,b\n1,2\n2,1e999\n", "line 3, column 'b': .*'1e999'.*by a finite one"),
    "whole numbers that aren't exact": (
        "a,id\n1,7\n2,9007199254740995\n",
        r"line 3, column 'id': .*below 2\*\*53.*9007199254740995.*identifier",
    ),
    "whole numbers of no type": (
        "a,id\n1,99999999999999999999\n2,7\n",
        r"line 2, column 'id': .*below 2\*\*53.*99999999999999999999",
    ),
    "decimal commas": (
        "a;b\n1,5;2,5\n2,5;1\n",
        "line 2, column 'a': .*'1,5' .*Write decimals with a point",
    ),
    "long row": ("a,b\n1,2\n2,3,4\n", r"line 3: Expected 2 cells.*Received: 3\. Complete the row"),
    "short row": ("a,b,c\n1,2,3\n2,3\n", r"line 3: Expected 3 cells.*Received: 2\."),
    "all rows longer than the header": ("a,b\n1,2,3\n2,3,4\n", "line 2: Expected 2 cells.*: 3"),
    "all rows shorter than the header": ("a,b,c\n1,2\n2,3\n", "line 2: Expected 3 cells.*: 2"),
    "open quotation mark": ('a,b\n1,"2\n3,4\n', "Is a quotation mark left open"),
    "repeated name": (
        "a,b,a\n1,2,3\n2,3,4\n",
        "line 1, column 'a': .*same name for columns 1 and 3.*Rename",
    ),
    "index of pandas": (
        ",a,b\n0,1,2\n1,2,3\n",
        r"line 1: .*none for column 1\. .*to_csv\(index=False\)",
    ),
    "constant column": (
        "a,b\n1,5\n2,5\n3,5\n",
        r"column 'b': Expected values that differ.*5 in all 3 rows.*columns=\[…\]",
    ),
    "Latin-1": ("a,bä\n1,2\n".encode("latin-1"), "UTF-8.*byte 0xe4.*Save the file as UTF-8"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "UTF-8.*byte 0xff"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_says_what_is_wrong_where_and_what_to_do(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(TableError, match=message) as error:
        load_table(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert re.search(r"Received: .*[?.]$", str(error.value))
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]  # nothing is written


def test_line_and_column_are_attributes_too(tmp_path):
    path = write(tmp_path, "a,b\n1,2\n2,x\n")
    with pytest.raises(TableError) as error:
        load_table(path)
    assert (error.value.path, error.value.row, error.value.column) == (str(path), "line 3", "b")


def test_unknown_column_lists_the_known_ones(tmp_path):
    with pytest.raises(TableError, match=r"line 1: .*named 'c'\. Received: columns a, b\."):
        load_table(write(tmp_path, GOOD["commas"]), columns=["a", "c"])


@pytest.mark.parametrize("columns", ["a", [], ["a", "a"]])
def test_columns_are_a_list_of_different_names(tmp_path, columns):
    with pytest.raises(ValueError, match="a list of different names"):
        load_table(write(tmp_path, GOOD["commas"]), columns=columns)


def test_without_pandas_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pandas.*pip install 'tf_iresnet\[examples\]'"):
        load_table(write(tmp_path, GOOD["commas"]))
