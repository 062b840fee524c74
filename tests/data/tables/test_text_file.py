"""Text files: the forms that are read alike, and what is said about those that can't be read."""

import gzip
import re
import subprocess
import sys

import numpy as np
import pytest

from tf_iresnet.data.tables import TableError, load_table, text_file

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
    "blank cells": (",,\n,,\n", "table.csv: .*blank cells only"),
    "a cell beyond what the csv module takes": (
        "a,b\n1,2\n" + "x" * 140_000 + ",3\n4,5\n",
        "lines of cells.*field larger than field limit",
    ),
    "text cell": (
        "a,b\n1,2\n2,x\n3,4\n4,y\n",
        r"line 3, column 'b': Expected a finite number\. Received: 'x', .*'b' \(2\).*Correct",
    ),
    "text cell after blank lines": (
        "\n\na,b\n\n1,2\n\n2,x\n",
        "line 7, column 'b': .*Received: 'x'",
    ),
    "no header, text": ("1,2\n3,x\n", "line 2, column 'x1': .*Received: 'x'"),
    "empty cell among truth values": ("a,b\nTrue,1\n,2\n", "line 3, column 'a': .*empty cell"),
    "NA": ("a,b\n1,2\n2,NA\n", "line 3, column 'b': .*'NA'.*missing=drop, .*missing=impute"),
    "overflow": ("a,b\n1,2\n2,1e999\n", "line 3, column 'b': .*'1e999'.*by a finite one"),
    "whole numbers of no type": (
        "a,id\n1,99999999999999999999\n2,7\n",
        r"line 2, column 'id': .*below 2\*\*53.*99999999999999999999",
    ),
    "a decimal comma beyond the first lines": (
        "a;b\n" + "1;2.5\n" * 1200 + "2;1,5\n",
        r"line 1202, column 'b': .*'1,5'\. .*--config\.data\.decimal=','",
    ),
    "rows longer than the header": ("a,b\n1,2,3,4\n2,3,4,5\n", "line 2: Expected 2 cells.*: 4"),
    "rows shorter than the header": ("a,b,c\n1,2\n2,3\n", "line 2: Expected 3 cells.*: 2"),
    "only texts of which there are too many": (
        "id\nx7\nx8\nx9\ny1\n",
        r"a column of numbers or categories.*'id' holds 4 different texts.*columns=",
    ),
    "empty only": ("a,b\nNA,NA\n-,?\n", "no cell at all"),
    "a binary file": (b"a,b\n1,2\n\x00\x01,3\n" * 9, "a NUL byte"),
    "another file": (b"PK\x03\x04rest", r"one that ends in \.npz\. Rename"),
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


@pytest.mark.parametrize("columns", ["a,a", [], ["a", "a"]])
def test_columns_are_a_list_of_different_names(tmp_path, columns):
    with pytest.raises(ValueError, match="a list of different names"):
        load_table(write(tmp_path, GOOD["commas"]), columns=columns)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"separator": ";;"}, "separator to be one character"),
        ({"decimal": ";"}, "decimal to be"),
        ({"encoding": "klingon"}, "encoding to be a text encoding"),
        ({"header": 3}, "header to be True, False"),
        ({"skip_lines": -1}, "skip_lines to be a number of lines"),
        ({"missing": "mean"}, "missing to be 'error', 'drop' or 'impute'"),
        ({"split_by": "a", "split_order": "b"}, "split_by or split_order, not both"),
        ({"key": "a"}, r"key only with an \.npz or \.xlsx file"),
    ],
)
def test_options_that_are_out_of_range(tmp_path, option, message):
    path = write(tmp_path, GOOD["commas"])
    with pytest.raises(ValueError, match=message) as error:
        load_table(path, **option)
    assert not isinstance(error.value, TableError)


@pytest.mark.parametrize("option", ["columns", "exclude", "categories", "split_by", "split_order"])
def test_every_option_with_an_unknown_column_says_which_there_are(tmp_path, option):
    with pytest.raises(TableError, match=rf"named 'c'\. .*columns a, b\. .*\.{option}="):
        load_table(write(tmp_path, GOOD["commas"]), **{option: "c"})


def test_names_with_commas_are_given_in_quotation_marks(tmp_path):
    path = write(tmp_path, '"a, in m",b\n1.5,2\n2.5,5\n')
    assert load_table(path, exclude='"a, in m"').columns == ("b",)


@pytest.mark.parametrize("ending", [".csv.gz", ".tsv.gz", ".txt.gz"])
def test_compressed_text(tmp_path, ending):
    path = write(tmp_path, gzip.compress(GOOD["tabs"].encode()), "table" + ending)
    np.testing.assert_array_equal(load_table(path).values, ROWS)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TableError, match=rf"a readable {ending} file.*Save it again"):
        load_table(path)


def test_more_rows_than_a_chunk_are_put_together(tmp_path, monkeypatch):
    monkeypatch.setattr(text_file, "CHUNK", 1)  # a thousand rows are the fewest
    n = 2500
    rows = [f"{k / 8},{'ab'[k > 1400]},{k % 7 if k < 1200 else 'x'},2024-01-{k % 28 + 1:02d}"
            for k in range(n)]  # fmt: skip
    path = write(tmp_path, "number,text,mixed,day\n" + "\n".join(rows))
    table = load_table(path, columns="number,text,mixed,day")
    assert table.categories == {"text": ("a", "b"), "mixed": tuple("0123456x")}
    np.testing.assert_array_equal(table.values[:, 0], np.arange(n) / 8)
    np.testing.assert_array_equal(table.values[:, 1], np.arange(n) > 1400)
    np.testing.assert_array_equal(table.values[:, 2], [k % 7 if k < 1200 else 7 for k in range(n)])
    np.testing.assert_array_equal(table.values[:, 3], 19723 + np.arange(n) % 28)


@pytest.mark.slow
def test_a_million_rows_in_bounded_memory(tmp_path):
    path, rng = tmp_path / "table.csv", np.random.default_rng(0)
    with open(path, "w") as stream:
        stream.write("a,b,c,d,sex\n")
        for _ in range(10):
            values = rng.normal(size=[100_000, 4]).round(5)
            stream.writelines(f"{a},{b},{c},{d},{'FM'[int(a > b)]}\n" for a, b, c, d in values)
    script = (
        "import resource, sys; from tf_iresnet.data.tables import load_table; import pandas\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before = peak(); table = load_table(sys.argv[1])\n"
        "print(table.values.nbytes / 2**20, peak() - before)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True
    )
    size, used = map(float, run.stdout.split())
    assert size == pytest.approx(1e6 * 5 * 8 / 2**20) and used < 2 * size + 100


def test_without_pandas_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pandas.*pip install 'tf_iresnet\[examples\]'"):
        load_table(write(tmp_path, GOOD["commas"]))
