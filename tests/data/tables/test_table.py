"""Splits, statistics and the data set that a table becomes."""

import os

import numpy as np
import pytest

from tf_iresnet import data
from tf_iresnet.data.tables import TableError, load_table


def save(directory, *columns):
    np.save(directory / "t.npy", np.stack(columns, axis=-1))
    return directory / "t.npy"


def noise(rows, seed=0):
    return np.random.default_rng(seed).normal(size=rows)


def test_split_uses_every_row_once_in_the_stated_parts(tmp_path):
    table = load_table(save(tmp_path, np.arange(100.0), noise(100)))
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


@pytest.mark.parametrize(("rows", "test"), [(9, 0.1), (50, 0.01), (50, 0.8)])
def test_split_needs_rows_for_every_part(tmp_path, rows, test):
    table = load_table(save(tmp_path, noise(rows), noise(rows, 1)))
    with pytest.raises(TableError, match=rf"t\.npy: .*{rows} rows in all\. Provide more rows"):
        table.split(0, 0.1, test)


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
    with pytest.raises(TableError, match=r"column 'x1': .*training rows.*0 in all.*another seed"):
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
        ("book.xlsx", r"book\.xlsx: .*\.csv, \.npz, \.npy or \.parquet.*'\.xlsx'\. Convert"),
        ("table", "table: .*no ending"),
        ("empty.npy", r"empty\.npy: .*an empty file"),
    ],
)
def test_files_that_are_no_table(tmp_path, name, message):
    (tmp_path / "directory.csv").mkdir()
    for file in ("book.xlsx", "table", "empty.npy"):
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
    with pytest.raises(ValueError, match=r"key only with an \.npz"):
        load_table(tmp_path / "T.CSV", key="a")
