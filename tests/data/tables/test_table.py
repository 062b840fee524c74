"""Splits, statistics and the data set that a table becomes."""

import os
import pathlib

import numpy as np
import pytest

from tf_iresnet import data
from tf_iresnet.data.tables import TableError, load_table

AWKWARD = pathlib.Path(__file__).parent / "awkward"


def save(directory, *columns):
    np.save(directory / "t.npy", np.stack(columns, axis=-1))
    return directory / "t.npy"


def noise(rows, seed=0):
    return np.random.default_rng(seed).normal(size=rows)


def test_split_uses_every_row_once_in_the_stated_parts(tmp_path):
    table = load_table(save(tmp_path, 2 * np.arange(100.0), noise(100)))
    parts = table.split(seed=3, validation=0.2, test=0.15)
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [65, 20, 15]
    rows = np.concatenate([parts.train, parts.validation, parts.test])
    assert not np.array_equal(rows, table.values)
    np.testing.assert_array_equal(rows[rows[:, 0].argsort()], table.values)
    np.testing.assert_array_equal(table.split(3, 0.2, 0.15).test, parts.test)
    assert not np.array_equal(table.split(4, 0.2, 0.15).test, parts.test)


@pytest.mark.parametrize(("validation", "test"), [(0, 0.1), (0.1, -1), (0.5, 0.5), (2, 0.1)])
def test_split_fractions_are_fractions(tmp_path, validation, test):
    table = load_table(save(tmp_path, noise(50), noise(50, 1)))
    with pytest.raises(ValueError, match=f"fractions.*Received: validation={validation}"):
        table.split(0, validation, test)


@pytest.mark.parametrize(("rows", "test"), [(8, 0.1), (40, 0.8)])
def test_split_needs_rows_for_every_part(tmp_path, rows, test):
    table = load_table(save(tmp_path, noise(rows), noise(rows, 1)))
    with pytest.raises(TableError, match=rf"t\.npy: .*{rows} rows in all\. Provide more rows"):
        table.split(0, 0.1, test)


@pytest.mark.parametrize(
    ("rows", "sizes"), [(9, [5, 2, 2]), (12, [8, 2, 2]), (50, [40, 5, 5]), (1000, [800, 100, 100])]
)
def test_parts_have_two_rows_at_least_and_the_test_part_may_be_empty(tmp_path, rows, sizes):
    table = load_table(save(tmp_path, noise(rows), noise(rows, 1)))
    assert [len(part) for part in table.split()] == sizes
    parts = table.split(test=0)
    assert [len(part) for part in parts] == [sizes[0] + sizes[2], sizes[1], 0]
    np.testing.assert_array_equal(parts.validation, table.split().validation)


def test_rows_that_occur_again_stay_in_one_part(tmp_path):
    rows = np.stack([noise(300), noise(300, 1)], axis=-1)
    np.save(tmp_path / "t.npy", np.concatenate([rows, rows[::3], rows[::6]]))
    table = load_table(tmp_path / "t.npy")
    assert "150 rows of 450 repeat" in table.notes[0]
    for seed in range(5):
        parts = table.split(seed, 0.2, 0.2)
        kinds = [{tuple(row) for row in part} for part in parts]
        assert sum(map(len, kinds)) == len(set.union(*kinds)) == 300
        assert sum(map(len, parts)) == 450
        assert 85 <= len(parts.validation) <= 90 and 85 <= len(parts.test) <= 90


def test_groups_of_a_column_stay_in_one_part(tmp_path):
    text = "".join(f"p{k % 23},{x},{k % 23}\n" for k, x in enumerate(noise(230)))
    (tmp_path / "t.csv").write_text("patient,a,number\n" + text)
    table = load_table(tmp_path / "t.csv", split_by="patient")
    assert table.columns == ("a", "number")
    parts = table.split(1, 0.2, 0.1)
    patients = [set(part[:, 1]) for part in parts]
    assert [len(part) for part in parts] == [170, 40, 20]
    assert [len(part) for part in patients] == [17, 4, 2] and len(set.union(*patients)) == 23
    with pytest.raises(TableError, match="6 rows in all in 2 groups that stay together"):
        load_table(AWKWARD / "categories.csv", split_by="city").split()


def test_identifiers_of_groups_may_be_many_texts(tmp_path):
    text = "".join(f"patient-{k // 2},{x}\n" for k, x in enumerate(noise(4000)))
    (tmp_path / "t.csv").write_text("who,a\n" + text)
    table = load_table(tmp_path / "t.csv", split_by="who")
    assert [len(part) for part in table.split()] == [3200, 400, 400]


def test_the_last_rows_by_time_are_the_test_part(tmp_path):
    days = np.random.default_rng(3).permutation(np.repeat(np.arange(100), 2))
    stamps = np.datetime64("2023-11-20") + days
    text = "".join(f"{s},{d + 0.5},{x}\n" for s, d, x in zip(stamps, days, noise(200), strict=True))
    (tmp_path / "t.csv").write_text("day,number,a\n" + text)
    table = load_table(tmp_path / "t.csv", split_order="day")
    assert table.columns == ("number", "a")
    parts = table.split(0, 0.1, 0.2)
    train, validation, test = (np.sort(part[:, 0]) - 0.5 for part in parts)
    np.testing.assert_array_equal(test, np.repeat(np.arange(80, 100), 2))
    np.testing.assert_array_equal(validation, np.repeat(np.arange(70, 80), 2))
    np.testing.assert_array_equal(train, np.repeat(np.arange(70), 2))
    assert len(table.split(0, 0.1, 0).test) == 0


def test_a_test_part_of_ones_own(tmp_path):
    table = load_table(save(tmp_path, noise(50), noise(50, 1)))
    (tmp_path / "own.csv").write_text("x1,x0\n1.5,2.5\n")
    own = load_table(tmp_path / "own.csv", like=table)
    parts = table.split(test_table=own)
    np.testing.assert_array_equal(parts.test, [[2.5, 1.5]])
    assert len(parts.train) == 45 and len(parts.validation) == 5
    other = load_table(AWKWARD / "one_column.csv")
    with pytest.raises(
        TableError, match=r"one_column\.csv: Expected the columns x0, x1.*columns a"
    ):
        table.split(test_table=other)


def test_statistics_are_those_of_the_training_rows_alone(tmp_path):
    path = save(tmp_path, 5 + 2 * noise(300), 1e3 * noise(300, 1))
    dataset = data.load("table", path=path, split_seed=1, validation=0.3, test=0.3)
    train = load_table(path).split(1, 0.3, 0.3).train
    np.testing.assert_allclose(dataset.shift, train.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(dataset.scale, train.std(axis=0), rtol=1e-6)
    assert not np.allclose(dataset.scale, np.load(path).std(axis=0), rtol=1e-3)


def test_batches_are_the_users_rows_in_the_users_units(tmp_path):
    path = save(tmp_path, 1e4 + noise(120), noise(120, 1))
    dataset = data.load("table", path=path)
    rows = load_table(path).split().train.astype(np.float32)
    epoch = dataset.train_batches(len(rows), seed=0)(0).numpy()
    np.testing.assert_array_equal(epoch[epoch[:, 1].argsort()], rows[rows[:, 1].argsort()])
    assert dataset.name == "t" and dataset.columns == ("x0", "x1")
    assert not dataset.bits_per_dim and dataset.log_prob is None


def test_column_that_is_constant_in_training(tmp_path):
    rare = np.zeros(100)
    path = save(tmp_path, noise(100), rare + (np.arange(100) == 7))
    held_out = next(s for s in range(99) if not load_table(path).split(s).train[:, 1].any())
    with pytest.raises(TableError, match=r"column 'x1': .*training rows.*0 in all.*split_seed="):
        data.load("table", path=path, split_seed=held_out)


@pytest.mark.parametrize(
    "column", [1.7e9 + noise(50), 1e39 * noise(50), 1e200 * noise(50)], ids=["time", "39", "200"]
)
def test_values_that_float32_cannot_hold(tmp_path, column):
    path = save(tmp_path, noise(50, 1), column)
    with pytest.raises(TableError, match=r"column 'x1': .*float32.*Subtract an offset"):
        data.load("table", path=path)


def test_whole_numbers_are_the_middles_of_cells(tmp_path):
    counts = np.random.default_rng(0).poisson(3, size=200)
    path = save(tmp_path, noise(200), counts, 1e6 * np.arange(200.0))
    dataset, parts = data.load("table", path=path), load_table(path).split()
    np.testing.assert_array_equal(np.rint(dataset.test[:, 1]), parts.test[:, 1])
    np.testing.assert_array_equal(dataset.test[:, 0], parts.test[:, 0].astype(np.float32))
    np.testing.assert_array_equal(dataset.bin_width, [0, 1, 1e6])
    np.testing.assert_allclose(dataset.shift[1], parts.train[:, 1].mean(), rtol=1e-6)
    np.testing.assert_allclose(dataset.scale[1] ** 2, parts.train[:, 1].var() + 1 / 12, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.csv", r"none\.csv: .*no such file\. Check the path; relative ones start in "),
        ("directory.csv", r"directory\.csv: .*a directory"),
        ("book.pdf", r"book\.pdf: .*\.csv, \.tsv, .*, \.npz or \.npy.*'\.pdf'\. Convert"),
        ("table", "table: .*no ending"),
        ("empty.npy", r"empty\.npy: .*an empty file"),
    ],
)
def test_files_that_are_no_table(tmp_path, name, message):
    (tmp_path / "directory.csv").mkdir()
    for file in ("book.pdf", "table", "empty.npy"):
        (tmp_path / file).write_bytes(b"" if file == "empty.npy" else b"x")
    with pytest.raises(TableError, match=message):
        load_table(tmp_path / name)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read every file")
def test_file_without_permission(tmp_path):
    path = save(tmp_path, noise(20), noise(20, 1))
    path.chmod(0)
    with pytest.raises(TableError, match="permission denied"):
        load_table(path)


def test_ending_in_capitals_and_key_of_other_files(tmp_path):
    (tmp_path / "T.CSV").write_text("a,b\n1,2\n3,5\n")
    assert load_table(str(tmp_path / "T.CSV")).columns == ("a", "b")
    with pytest.raises(ValueError, match=r"key only with an \.npz or \.xlsx"):
        load_table(tmp_path / "T.CSV", key="a")
