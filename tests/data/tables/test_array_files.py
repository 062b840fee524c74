"""Arrays and Parquet files: what is read, and what is said about the rest."""

import datetime
import decimal
import sys

import numpy as np
import pandas as pd
import pytest

from tf_iresnet.data.tables import TableError, load_table

ROWS = np.array([[1.5, 20.0], [2.5, 10.0], [3.5, 30.0]])


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", ">f4"])
def test_npy_of_any_numeric_type(tmp_path, dtype):
    np.save(tmp_path / "a.npy", ROWS.astype(dtype))
    table = load_table(tmp_path / "a.npy")
    assert table.columns == ("x0", "x1") and table.values.dtype == np.float64
    np.testing.assert_array_equal(table.values, ROWS.astype(dtype))


def test_npy_of_truth_values_and_chosen_columns(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[True, False, True], [True, True, True], [False] * 3]))
    table = load_table(tmp_path / "a.npy", columns=["x1", "x0"])
    np.testing.assert_array_equal(table.values, [[0, 1], [1, 1], [0, 0]])
    assert table.categories == {"x1": ("False", "True"), "x0": ("False", "True")}


def test_npy_of_one_axis_is_a_column(tmp_path):
    np.save(tmp_path / "a.npy", ROWS[:, 0])
    table = load_table(tmp_path / "a.npy")
    np.testing.assert_array_equal(table.values, ROWS[:, :1])
    assert table.notes == ("The array has one axis; it is taken for one column.",)


def test_npz_takes_its_only_table_or_that_of_the_key(tmp_path):
    np.savez(tmp_path / "a.npz", table=ROWS, count=3, names=np.array([["a", "b"]]))
    np.testing.assert_array_equal(load_table(tmp_path / "a.npz").values, ROWS)
    np.savez_compressed(tmp_path / "b.npz", first=ROWS, second=2 * ROWS)
    np.testing.assert_array_equal(load_table(tmp_path / "b.npz", key="second").values, 2 * ROWS)


def test_parquet_with_whole_numbers_truth_values_and_decimals(tmp_path):
    frame = pd.DataFrame(
        {
            "a": [1.5, 2.5],
            "b": [True, False],
            "c": pd.array([3, 4], "Int32"),
            "d": [decimal.Decimal("1.25"), decimal.Decimal("2.50")],
            "text": ["x", "y"],
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    table = load_table(tmp_path / "a.parquet", columns=["d", "a", "b", "c"])
    assert table.columns == ("d", "a", "b", "c")
    np.testing.assert_array_equal(table.values, [[1.25, 1.5, 1, 3], [2.5, 2.5, 0, 4]])


def test_parquet_with_texts_dates_and_an_index(tmp_path):
    frame = pd.DataFrame(
        {
            "day": [datetime.datetime(2024, 1, k, 12) for k in (1, 2, 4, 8)],
            "sex": pd.Categorical(["F", "M", "F", "F"]),
            "a": [1.5, 2.5, 0.5, 4.5],
            "lists": [[1], [2], [3], [4]],
        },
        index=[0, 1, 2, 3],
    )
    frame.loc[[1, 0, 2, 3]].sort_index().to_parquet(tmp_path / "a.parquet", index=True)
    table = load_table(tmp_path / "a.parquet")
    assert table.columns == ("sex", "a") and table.categories == {"sex": ("F", "M")}
    np.testing.assert_array_equal(table.values[:, 0], [0, 1, 0, 0])
    left_out = [note.split("'")[1] for note in table.notes if "is left out" in note]
    assert left_out == ["day", "lists", "__index_level_0__"]
    days = load_table(tmp_path / "a.parquet", columns="day,a").values[:, 0]
    np.testing.assert_array_equal(days, [19723.5, 19724.5, 19726.5, 19730.5])


def test_header_of_an_array_that_claims_more_than_the_file_holds(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, ROWS)
    for claim in (b"(9000000000, 2), }", b"(3, 9000000000), }", b"(2147483647, 0), }"):
        content = path.read_bytes()[:128].replace(b"(3, 2), }", claim)[:127] + b"\n"
        (tmp_path / "b.npy").write_bytes(content + path.read_bytes()[128:])
        with pytest.raises(TableError, match="more than the file holds"):
            load_table(tmp_path / "b.npy")


NPY = {
    "image": (np.zeros([2, 2, 2]), r"Received: shape \(2, 2, 2\)"),
    "text": (np.array([["a", "b"]]), "real numbers.*type <U1"),
    "complex": (np.ones([3, 2], complex), "real numbers.*type complex128"),
    "objects": (np.array([[1, None]], object), "Python objects"),
    "no rows": (np.zeros([0, 3]), "zero rows"),
    "NaN": (
        np.array([[1, 2], [3, np.nan]]),
        "row 2, column 'x1': .*'nan', .*missing in 'x1'.*missing=drop",
    ),
    "infinity": (np.array([[1, 2], [-np.inf, 3]]), "row 2, column 'x0': .*'-inf'.*finite one"),
    "large": (
        np.array([[2**60, 2], [3, 5]]),
        r"row 1, column 'x0': .*2\*\*53.*1152921504606846976",
    ),
    "constant": (np.full([3, 1], 7.5), "column 'x0': .*7.5 in all 3 rows"),
}


@pytest.mark.parametrize(("array", "message"), NPY.values(), ids=NPY)
def test_npy_says_what_is_wrong(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(TableError, match=r"a\.npy.*" + message):
        load_table(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("arrays", "key", "message"),
    [
        ({"a": ROWS, "b": ROWS}, None, r"2 \(a, b\) among .*'a' .*'b' .*Name the one .*key=…"),
        ({"a": np.arange(3), "b": "text"}, None, "none among 'a' .*'b' .*as one array"),
        ({}, None, "none among no arrays at all"),
        ({"a": ROWS, "b": ROWS}, "c", r"an array 'c'\. Received: keys a, b\. Correct .*key="),
        ({"a": ROWS, "b": np.zeros([2, 2, 2])}, "b", r"an array 'b' of shape .*shape \(2, 2, 2\)"),
        ({"a": np.array([[1, None]], object)}, None, "Python objects"),
    ],
)
def test_npz_says_which_arrays_there_are(tmp_path, arrays, key, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(TableError, match=r"a\.npz.*" + message):
        load_table(tmp_path / "a.npz", key=key)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["1", "x", "2"], "row 2, column 'b': .*'x'"),
        ([1, None], "row 2, column 'b': .*an empty cell"),
        ([True, None], "row 2, column 'b': .*an empty cell"),
        ([1.0, np.inf], "row 2, column 'b': .*'inf'"),
        ([3, 2**60], r"row 2, column 'b': .*2\*\*53"),
    ],
)
def test_parquet_says_which_cell_is_wrong(tmp_path, column, message):
    pd.DataFrame({"a": range(len(column)), "b": column}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(TableError, match=r"a\.parquet, " + message):
        load_table(tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.parquet"])
@pytest.mark.parametrize("content", [b"rubbish", b"PK\x03\x04rubbish", b"\x93NUMPY", b"PAR1rub"])
def test_files_of_another_kind(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=rf"{name}: Expected a (readable )?.{name[2:]} file"):
        load_table(tmp_path / name)


def test_a_damaged_compressed_file(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, table=np.random.default_rng(0).normal(size=(100, 3)))
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 2] = b"x" * (len(content) // 2 - len(content) // 3)
    path.write_bytes(content)
    with pytest.raises(TableError, match="Save it again"):
        load_table(path)


def test_columns_that_are_named_twice_are_refused_before_the_file_is_blamed(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    with pytest.raises(ValueError, match="columns to be a list of different names") as error:
        load_table(tmp_path / "a.npy", columns=["x0", "x0"])
    assert not isinstance(error.value, TableError)


@pytest.mark.parametrize(("is_", "named"), [("npz", "npy"), ("npy", "npz")])
def test_array_under_the_other_name(tmp_path, is_, named):
    with open(tmp_path / f"a.{named}", "wb") as file:
        np.savez(file, ROWS) if is_ == "npz" else np.save(file, ROWS)
    with pytest.raises(TableError, match=rf"Rename the file to \.{is_}"):
        load_table(tmp_path / f"a.{named}")


def test_without_pyarrow_the_error_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pyarrow.*pip install 'tf_iresnet\[examples\]'"):
        load_table(tmp_path / "a.parquet")
