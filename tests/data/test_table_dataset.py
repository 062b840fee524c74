"""A table as a data set: every option of reading has its effect, and what was read is described."""

import numpy as np
import pandas as pd
import pytest

from tf_iresnet import data
from tf_iresnet.data.registry import load

ROWS = 60


def frame(seed=0, rows=ROWS):
    x = np.random.default_rng(seed).normal([1, 2, 3], size=(rows, 3))
    return pd.DataFrame(x, columns=["a", "b", "c"])


def written(path, table, **options):
    table.to_csv(path, **{"index": False, **options})
    return path


@pytest.fixture
def table(tmp_path):
    return written(tmp_path / "my.csv", frame())


def rows_of(dataset):
    """All rows, sorted by the first column."""
    rows = np.concatenate([dataset.training_rows(), dataset.validation, dataset.test])
    return rows[np.argsort(rows[:, 0])]


@pytest.mark.parametrize(
    ("written_as", "options"),
    [
        ({"sep": "\t"}, {"separator": "tab"}),
        ({"sep": ";", "decimal": ","}, {"separator": ";", "decimal": ","}),
        ({"encoding": "utf-16"}, {"encoding": "utf-16"}),
        ({}, {"header": True, "skip_lines": 0}),
    ],
)
def test_the_form_of_a_file_can_be_given(tmp_path, table, written_as, options):
    path = written(tmp_path / "other.csv", frame(), **written_as)
    np.testing.assert_array_equal(
        rows_of(load("table", path=path, **options)), rows_of(load("table", path=table))
    )


def test_lines_above_the_table_and_columns_without_names(tmp_path):
    text = frame().to_csv(index=False, header=False)
    (tmp_path / "my.csv").write_text("some words\n" + text)
    dataset = load("table", path=tmp_path / "my.csv", skip_lines=1, header=False)
    assert dataset.columns == ("x0", "x1", "x2")


def test_columns_are_chosen_by_a_text_of_names(table):
    assert load("table", path=table, columns="c,a").columns == ("c", "a")
    assert load("table", path=table, exclude="c,a").columns == ("b",)
    assert load("table", path=table, columns=["b", "c"]).columns == ("b", "c")


def test_missing_cells_are_dropped_or_filled_in(tmp_path):
    table = frame()
    table.loc[3, "a"] = -999.0
    path = written(tmp_path / "my.csv", table)
    with pytest.raises(data.TableError, match="missing=drop"):
        load("table", path=path, na_values="-999")
    dropped = load("table", path=path, na_values="-999", missing="drop")
    assert len(rows_of(dropped)) == ROWS - 1
    assert len(rows_of(load("table", path=path, na_values="-999", missing="impute"))) == ROWS


def test_numbers_can_be_categories(tmp_path):
    path = written(tmp_path / "my.csv", frame().assign(code=np.arange(ROWS) % 3))
    form = load("table", path=path, categories="code").forms[-1]
    assert form.texts == ("0", "1", "2")


def test_the_split_follows_a_seed_a_group_or_an_order(tmp_path):
    table = frame().assign(person=np.arange(ROWS) % 12, day=np.arange(ROWS) * 1.5)
    path = written(tmp_path / "my.csv", table)
    one, other = (load("table", path=path, split_seed=seed).test for seed in (0, 1))
    assert not np.array_equal(one, other)
    by_order = load("table", path=path, split_order="day", exclude="person")
    assert by_order.columns == ("a", "b", "c")
    np.testing.assert_allclose(np.sort(by_order.test[:, 0]), np.sort(table.a[-6:]), rtol=1e-6)
    by_group = load("table", path=path, split_by="person", exclude="day")
    whose = {np.float32(a): person for a, person in zip(table.a, table.person, strict=True)}
    people = [{whose[a] for a in part[:, 0]} for part in (by_group.validation, by_group.test)]
    assert not people[0] & people[1]


def test_the_test_part_may_be_a_file_of_its_own(tmp_path, table):
    own = written(tmp_path / "own.csv", frame(seed=1, rows=7)[["c", "a", "b"]])
    dataset = load("table", path=table, test_path=own)
    np.testing.assert_allclose(dataset.test, frame(seed=1, rows=7), rtol=1e-6)
    assert len(dataset.validation) + len(dataset.training_rows()) == ROWS
    assert sum(str(own) in line for line in dataset.notes) == 1
    assert not any("equal to rows" in line for line in dataset.notes)
    with pytest.raises(data.TableError, match=r"other\.csv.*'c'"):
        load("table", path=table, test_path=written(tmp_path / "other.csv", frame()[["a", "b"]]))


def test_test_rows_that_are_known_already_are_counted(tmp_path, table):
    rows = pd.concat([frame(seed=1, rows=7), frame().iloc[:3]])
    dataset = load("table", path=table, test_path=written(tmp_path / "own.csv", rows))
    (note,) = [line for line in dataset.notes if "equal to rows" in line]
    assert note.startswith("Of the 10 test rows 3 are equal")


def test_without_a_test_part_the_validation_part_takes_its_place_and_that_is_said(table):
    dataset = load("table", path=table, test=0)
    assert not dataset.has_test and load("table", path=table).has_test
    np.testing.assert_array_equal(dataset.test, dataset.validation)
    assert len(dataset.validation) + len(dataset.training_rows()) == ROWS
    assert any("no test part" in note for note in dataset.notes)


def test_what_was_read_is_described_with_the_sizes_of_the_parts(table):
    description = load("table", path=table, exclude="b").description
    assert description[0] == f"{table}: 60 rows, 2 columns"
    assert "  numbers: a, c" in description
    assert "  rows: 48 training, 6 validation, 6 test" in description
