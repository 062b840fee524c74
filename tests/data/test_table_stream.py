"""Tables that aren't held in memory: every row in one part, epochs that are permutations."""

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.data.tables import shards, streamed
from tf_iresnet.training import build
from tf_iresnet.training.options import TrainingOptions

RNG = np.random.default_rng(0)
SIZES = [700, 400, 900]
ROWS = sum(SIZES)
# All heights differ, also in float32: they tell the rows apart.
HEIGHT = RNG.permutation(np.unique(RNG.normal(170, 10, 2 * ROWS).astype(np.float32)))[:ROWS]
HEIGHT, WEIGHT = HEIGHT.astype(np.float64), RNG.gamma(5, 12, ROWS)
KIND = np.array(["red", "green", "blue"])[RNG.integers(0, 3, ROWS)]


def write(folder, sizes=SIZES, first=0, **columns):
    """Files of so many rows each, in row groups of 64."""
    folder.mkdir(exist_ok=True)
    columns = columns or {"height": HEIGHT, "weight": WEIGHT}
    ends = np.cumsum([0, *sizes])
    for i, (start, end) in enumerate(itertools.pairwise(ends)):
        table = pa.table({name: column[start:end] for name, column in columns.items()})
        pq.write_table(table, folder / f"part-{first + i}.parquet", row_group_size=64)
    return folder


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(shards, "_BLOCK", 100)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "rows")


def batches(dataset, first, last, size=50, seed=0, **options):
    batch = dataset.train_batches(size, seed, **options)
    steps = tf.data.Dataset.range(first, last).map(batch)
    return np.concatenate(list(steps.as_numpy_iterator()))


def sorted_rows(*parts):
    rows = np.concatenate(parts)
    return rows[np.argsort(rows[:, 0])]


ALL = sorted_rows(np.stack([HEIGHT, WEIGHT], axis=-1).astype(np.float32))


def test_each_row_is_in_one_part_and_once_in_an_epoch(folder):
    dataset = data.load("table", path=folder)
    size = dataset.training_size
    assert size + len(dataset.validation) + len(dataset.test) == ROWS
    assert 150 < len(dataset.validation) < 250 and 150 < len(dataset.test) < 250
    first, second = (batches(dataset, k, k + 1, size) for k in range(2))
    for epoch in (first, second):
        np.testing.assert_array_equal(sorted_rows(epoch, dataset.validation, dataset.test), ALL)
    assert not np.array_equal(first, second)
    assert "2,000 rows of 2 columns in 3 files" in dataset.describe()[0]
    assert f"{size:,} training" in dataset.describe()[-3]


def test_a_run_that_is_resumed_sees_the_bits_it_would_have_seen(folder):
    whole = batches(data.load("table", path=folder), 0, 80)
    again = data.load("table", path=folder)
    np.testing.assert_array_equal(batches(again, 47, 80), whole[47 * 50 :])
    np.testing.assert_array_equal(again.train_batches(50, 0)(60), whole[60 * 50 : 61 * 50])
    assert not np.array_equal(batches(again, 47, 80, seed=1), whole[47 * 50 :])


def test_one_file_is_streamed_if_asked_to(tmp_path):
    (tmp_path / "rows").mkdir()
    file = write(tmp_path / "rows", [ROWS], height=HEIGHT, weight=WEIGHT) / "part-0.parquet"
    streamed_rows, held = (data.load("table", path=file, stream=s) for s in (True, None))
    assert streamed_rows.stream is not None and held.stream is None
    assert streamed_rows.columns == held.columns
    np.testing.assert_allclose(streamed_rows.shift, held.shift, rtol=0.02)


def test_statistics_are_those_of_the_sampled_training_rows(folder, monkeypatch):
    dataset = data.load("table", path=folder)
    rows = batches(dataset, 0, 1, dataset.training_size)
    np.testing.assert_array_equal(sorted_rows(dataset.training_rows()), sorted_rows(rows))
    np.testing.assert_allclose(dataset.shift, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(dataset.scale, rows.std(axis=0), rtol=1e-5)
    monkeypatch.setattr(streamed, "SAMPLE", 300)
    few = data.load("table", path=folder)
    assert 220 < len(few.training_rows()) < 380 and few.training_size == len(rows)
    np.testing.assert_array_equal(batches(few, 3, 9), batches(dataset, 3, 9))


def test_more_files_leave_held_out_rows_where_they_are(folder):
    before = data.load("table", path=folder)
    write(folder, [500], first=3, height=HEIGHT[:500] + 1, weight=WEIGHT[:500])
    after = data.load("table", path=folder)
    for part in ("validation", "test"):
        old, new = getattr(before, part), getattr(after, part)
        np.testing.assert_array_equal(new[: len(old)], old)
        assert len(new) > len(old)
    other = data.load("table", path=folder, split_seed=1)
    assert not np.array_equal(other.test[:50], after.test[:50])


def test_held_out_rows_are_so_many_at_most(folder, monkeypatch):
    monkeypatch.setattr(streamed, "HELD_OUT", 40)
    dataset = data.load("table", path=folder)
    assert 20 < len(dataset.validation) < 60 and 20 < len(dataset.test) < 60
    assert dataset.training_size == ROWS - len(dataset.validation) - len(dataset.test)


@pytest.mark.parametrize("texts", [True, False])
def test_rows_of_one_key_stay_in_one_part(texts, tmp_path):
    key = RNG.integers(0, 100, ROWS)
    names = np.array([f"patient {k}" for k in key]) if texts else key
    write(tmp_path / "rows", who=names, height=HEIGHT, weight=WEIGHT)
    dataset = data.load("table", path=tmp_path / "rows", split_by="who", validation=0.3)
    assert dataset.columns == ("height", "weight")
    owner = dict(zip(HEIGHT.astype(np.float32).tolist(), key.tolist(), strict=True))
    train = batches(dataset, 0, 1, dataset.training_size)
    parts = [{owner[x] for x in part[:, 0].tolist()} for part in (train, *dataset_parts(dataset))]
    assert sum(map(len, parts)) == len(set(key.tolist()))
    assert all(parts)


def dataset_parts(dataset):
    return dataset.validation, dataset.test


def test_categories_that_the_sample_has_not_are_known(tmp_path, monkeypatch):
    monkeypatch.setattr(streamed, "SAMPLE", 100)
    kind = KIND.astype(object)
    kind[[1700, 1990]] = "a rare one"
    write(tmp_path / "rows", kind=kind, height=HEIGHT)
    dataset = data.load("table", path=tmp_path / "rows")
    (form,) = [form for form in dataset.forms if form.texts]
    assert form.texts == ("a rare one", "blue", "green", "red")
    train = batches(dataset, 0, 1, dataset.training_size)
    rows = np.concatenate([train, *dataset_parts(dataset)])
    found = dict(zip(rows[:, 1].tolist(), form.decode(rows[:, 0]).tolist(), strict=True))
    texts = [form.texts[int(found[x])] for x in HEIGHT.astype(np.float32).tolist()]
    assert texts == kind.tolist()


def test_numbers_of_rows_are_no_column_though_only_some_are_looked_at(tmp_path):
    write(tmp_path / "rows", row=np.arange(ROWS) + 5, height=HEIGHT, weight=WEIGHT)
    dataset = data.load("table", path=tmp_path / "rows")
    assert dataset.columns == ("height", "weight")
    assert any("the numbers of the rows" in note for note in dataset.notes)


def test_conditions_and_atoms_come_with_their_rows(tmp_path):
    rain = np.where(RNG.random(ROWS) < 0.5, 0.0, RNG.gamma(2, 3, ROWS))
    write(tmp_path / "rows", rain=rain, height=HEIGHT, kind=KIND)
    dataset = data.load("table", path=tmp_path / "rows", target="rain")
    assert dataset.condition_size == 4
    x, given = dataset.labelled_batches(200, 0)(3)
    form, column = dataset.forms[0], dataset.condition[0]
    heights = (given.numpy()[:, 0] * column.deviation + column.mean).round(2)
    drops = {round(float(h), 2): r for h, r in zip(HEIGHT, rain, strict=True)}
    unique = np.unique(HEIGHT.round(2), return_counts=True)
    alone = set(unique[0][unique[1] == 1].tolist())
    rows = [i for i, h in enumerate(heights.tolist()) if round(h, 2) in alone & drops.keys()]
    assert len(rows) > 20 and form.atoms == (0.0,)
    expected = [drops[round(float(heights[i]), 2)] for i in rows]
    np.testing.assert_allclose(form.decode(x.numpy()[rows, 0]), expected, atol=1e-4)


def test_pipelines_share_each_batch_noise_included(tmp_path):
    write(tmp_path / "rows", kind=KIND, height=HEIGHT)
    dataset = data.load("table", path=tmp_path / "rows")
    whole = batches(dataset, 5, 6, 48)
    parts = [batches(dataset, 5, 6, 48, pipeline=(k, 3)) for k in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_missing_cells_are_refused_by_file_and_row_or_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(streamed, "SAMPLE", 100)
    weight = WEIGHT.copy()
    weight[1450] = np.nan
    write(tmp_path / "rows", height=HEIGHT, weight=weight)
    with pytest.raises(data.TableError, match=r"part-2\.parquet, row 351, column 'weight': .*miss"):
        data.load("table", path=tmp_path / "rows")
    dataset = data.load("table", path=tmp_path / "rows", missing="drop")
    assert dataset.training_size + sum(map(len, dataset_parts(dataset))) == ROWS - 1


def test_what_streams_can_not_do_is_not_advised(tmp_path):
    """Neither filling cells in nor the order of time."""
    days = pa.array(np.datetime64("2024-01-01") + np.arange(200) % 50)
    values = np.random.default_rng(0).normal(size=(2, 200))
    for name, x in (
        ("whole", values[0]),
        ("gaps", np.where(np.arange(200) == 70, np.nan, values[0])),
    ):
        (tmp_path / name).mkdir()
        table = pa.table({"day": days, "x": pa.array(x, from_pandas=True), "y": values[1]})
        pq.write_table(table, tmp_path / name / "a.parquet")
    with pytest.raises(data.DataError, match=r"no missing cells.*missing=drop, or leave out"):
        data.load("table", path=tmp_path / "gaps")
    (said,) = [n for n in data.load("table", path=tmp_path / "whole").describe() if "'day'" in n]
    assert "dates or times; it is taken as days" in said and "split_order" not in said


def test_rows_with_errors_are_left_out_everywhere(tmp_path, monkeypatch):
    weight = WEIGHT.copy()
    weight[RNG.permutation(ROWS)[:60]] = -999.0
    write(tmp_path / "rows", height=HEIGHT, weight=weight)
    monkeypatch.setattr(streamed, "SAMPLE", 500)
    dataset = data.load("table", path=tmp_path / "rows")
    train = batches(dataset, 0, 1, dataset.training_size)
    assert train[:, 1].min() > 0 and all(part[:, 1].min() > 0 for part in dataset_parts(dataset))
    assert dataset.training_size + sum(map(len, dataset_parts(dataset))) == ROWS - 60


def test_files_that_do_not_fit_are_refused_by_name(folder, monkeypatch):
    write(folder, [100], first=3, height=HEIGHT[:100], mass=WEIGHT[:100])
    with pytest.raises(data.TableError, match=r"part-3\.parquet: .*height, weight, as part-0"):
        data.load("table", path=folder)
    (folder / "part-3.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(data.TableError, match=r"part-3\.parquet: Expected a readable \.parquet"):
        data.load("table", path=folder)
    (folder / "part-3.parquet").unlink()
    monkeypatch.setattr(shards, "_MOST_CELLS", 100)
    with pytest.raises(data.TableError, match=r"part-0\.parquet: .*at most 100 cells.*_group_size"):
        data.load("table", path=folder)
    (folder / "empty").mkdir()
    with pytest.raises(data.TableError, match=r"\.parquet files in a folder\. Received: none"):
        data.load("table", path=folder / "empty")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": "impute"}, r"nor missing='impute' .*blocks\. Received: missing='impute'"),
        ({"split_order": "height"}, r"neither split_order .*Received: split_order='height'"),
        ({"stream": False}, r"a file for stream=False\. Received: .*a folder"),
        ({"validation": 0.0}, r"fractions .*validation=0\.0"),
        ({"columns": "size"}, r"a column named 'size'\. Received: columns height, weight"),
        ({"separator": ","}, r"separator only with text files\. Received: separator=','"),
        ({"split_by": "who"}, r"a column named 'who'\. Received: columns height, weight"),
    ],
)
def test_what_streams_can_not_do_is_refused(options, message, folder):
    with pytest.raises(ValueError, match=message):
        data.load("table", path=folder, **options)


def test_other_kinds_of_files_are_not_streamed(tmp_path):
    np.save(tmp_path / "rows.npy", ALL)
    with pytest.raises(ValueError, match=r"a \.parquet file, .*for stream=True\. Received: .*npy"):
        data.load("table", path=tmp_path / "rows.npy", stream=True)


def test_a_file_that_is_lost_while_training_is_named(folder):
    dataset = data.load("table", path=folder)
    (folder / "part-1.parquet").unlink()
    with pytest.raises(tf.errors.OpError):
        batches(dataset, 0, 1)
    with pytest.raises(data.TableError, match=r"part-1\.parquet: Expected a readable"):
        build.fingerprint(dataset, TrainingOptions())
