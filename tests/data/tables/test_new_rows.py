"""New rows of a table's columns: any rows are read, just those columns, with the same codes."""

import numpy as np
import pytest

from tf_iresnet.data.tables import Layout, TableError, load_table

TRAINED = Layout(("a", "sex", "b"), {"sex": ("F", "M")})


def write(directory, text, name="new.csv"):
    (directory / name).write_text(text)
    return directory / name


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a,sex,b\n1.5,M,2\n", [[1.5, 1, 2]]),  # a single row
        ("b;x;sex;a\n2;7;F;1,5\n3;7;F;2,5\n", [[1.5, 0, 2], [2.5, 0, 3]]),
        ("a,sex,b\n1,F,1\n2,F,1\n3,F,1\n4,F,1\n5,F,1\n", [[k, 0, 1] for k in range(1, 6)]),
        ("a,sex,b\n7,F,7\n7,F,7\n", [[7, 0, 7]] * 2),  # constant, equal columns and rows
        ("# new, from, today\na,sex,b\n1e300,M,-1e300\n", [[1e300, 1, -1e300]]),
    ],
)
def test_any_rows_are_read_and_nothing_is_left_out(tmp_path, text, values):
    table = load_table(write(tmp_path, text), like=TRAINED)
    assert table.columns == TRAINED.columns and table.categories == TRAINED.categories
    np.testing.assert_array_equal(table.values, values)


def test_a_table_reads_itself_as_it_was_read(tmp_path):
    path = write(tmp_path, "day,a,c\n2024-01-03,1.5,x\n2024-01-01,2.5,y\n2024-01-09,1,x\n")
    table = load_table(path, columns="c,day,a")
    np.testing.assert_array_equal(load_table(path, like=table).values, table.values)


def test_categories_of_numbers_are_the_same_in_every_file(tmp_path):
    layout = Layout(("x0", "x1"), {"x0": ("2", "10")})
    np.save(tmp_path / "a.npy", np.array([[10.0, 1.5], [2.0, 2.5]]))
    for path in (tmp_path / "a.npy", write(tmp_path, "x0,x1\n10,1.5\n2.0,2.5\n")):
        np.testing.assert_array_equal(load_table(path, like=layout).values, [[1, 1.5], [0, 2.5]])


BAD = {
    "unknown category": (
        "a,sex,b\n1,F,2\n2,X,3\n3,Y,4\n",
        r"line 3, column 'sex': Expected one of the 2 categories F, M\. Received: 'X' \(1 more",
    ),
    "missing column": (
        "a,b\n1,2\n",
        r"line 1: Expected a column named 'sex'\. .*columns a, b\. Give the table all columns",
    ),
    "other names": ("u,v,w\n1,F,2\n", "columns named 'a', 'sex', 'b'"),
    "missing cell": (
        "a,sex,b\n1,F,2\n,M,3\n",
        "line 3, column 'a': .*Fill the cells in, or remove",
    ),
    "missing category": ("a,sex,b\n1,F,2\n3,,3\n", "line 3, column 'sex': .*empty cell"),
    "text": ("a,sex,b\nx,F,2\n", "line 2, column 'a': .*'x'. Correct the cell"),
    "infinity": ("a,sex,b\n1,F,inf\n", "line 2, column 'b': .*'inf'"),
    "no rows": ("a,sex,b\n", "zero rows"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_what_the_model_cannot_take_is_named(tmp_path, text, message):
    with pytest.raises(TableError, match=message) as error:
        load_table(write(tmp_path, text), like=TRAINED)
    assert "--config" not in str(error.value)  # the flags of training don't help here


def test_rows_with_gaps_may_be_left_out_but_are_not_invented(tmp_path):
    path = write(tmp_path, "a,sex,b\n1,F,2\n,M,3\n2,M,4\n")
    table = load_table(path, like=TRAINED, missing="drop")
    np.testing.assert_array_equal(table.values, [[1, 0, 2], [2, 1, 4]])
    assert "1 row with missing cells is left out ('a' (1))" in table.notes[0]
    with pytest.raises(ValueError, match=r"like= without.*impute"):
        load_table(path, like=TRAINED, missing="impute")
    with pytest.raises(ValueError, match=r"like= without.*columns"):
        load_table(path, ["a"], like=TRAINED)
