"""Nothing in a folder is passed over silently, whichever data set reads it."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tf_iresnet import data

RNG = np.random.default_rng(0)
PNGS = [tf.io.encode_png(x).numpy() for x in RNG.integers(0, 256, (24, 8, 8, 3), np.uint8)]
NUMBERS = RNG.normal(size=[24, 30, 2])


def write_images(folder, rows):
    for i in rows:
        (folder / f"{i:02}.png").write_bytes(PNGS[i])


def write_records(folder, rows):
    with tf.io.TFRecordWriter(str(folder / f"{rows[0]:02}.tfrecord")) as writer:
        for i in rows:
            image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[PNGS[i]]))
            features = tf.train.Features(feature={"image": image})
            writer.write(tf.train.Example(features=features).SerializeToString())


def write_parquet(folder, rows):
    x, y = NUMBERS[rows].reshape(-1, 2).T
    pq.write_table(pa.table({"x": x, "y": y}), folder / f"{rows[0]:02}.parquet")


DOORS = {
    "image_folder": (write_images, {"size": 8}),
    "image_records": (write_records, {"size": 8}),
    "table": (write_parquet, {}),
}


@pytest.fixture(params=DOORS)
def door(request, tmp_path):
    """A function that loads a folder; and folders a and b of real files, in `real`."""
    write, options = DOORS[request.param]
    for name, rows in (("a", range(12)), ("b", range(12, 24))):
        folder = tmp_path / "real" / name
        folder.mkdir(parents=True)
        write(folder, rows)
    return lambda path: data.load(request.param, path=path, **options)


def refusal(door, path):
    with pytest.raises(data.DataError) as refused:
        door(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_links_to_folders_and_files_are_what_they_lead_to(door, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "a").symlink_to(tmp_path / "real" / "a")
    (linked / "b").mkdir()
    for file in (tmp_path / "real" / "b").iterdir():
        (linked / "b" / file.name).symlink_to(file)
    found, expected = door(linked), door(tmp_path / "real")
    assert found.classes == expected.classes
    np.testing.assert_array_equal(found.train_batches(9, 1)(2), expected.train_batches(9, 1)(2))
    np.testing.assert_array_equal(found.test, expected.test)
    assert found.notes == expected.notes


@pytest.mark.parametrize("name", ["c", "c.png", "c.tfrecord", "c.parquet"])
def test_a_link_to_nothing_is_refused_by_its_name(name, door, tmp_path):
    link = tmp_path / "real" / "b" / name
    link.symlink_to(tmp_path / "unmounted")
    said = refusal(door, tmp_path / "real")
    assert said.startswith(f"{link}: Expected a file or folder. Received: a link to ")
    assert f"{tmp_path / 'unmounted'} (No such file or directory). Restore what it leads" in said


@pytest.mark.parametrize("target", [".", "b", "a", "itself"])
def test_a_loop_of_links_and_a_second_way_to_a_folder_are_refused(target, door, tmp_path):
    link = tmp_path / "real" / "b" / "itself"
    link.symlink_to(tmp_path / "real" / (f"b/{target}" if target == "itself" else target))
    said = refusal(door, tmp_path / "real")
    assert said.startswith(f"{link}: Expected ")
    assert "emove the link." in said or "or remove the link" in said


def test_a_folder_that_can_not_be_read_is_refused(door, tmp_path, monkeypatch):
    scandir = os.scandir

    def forbidden(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    said = refusal(door, tmp_path / "real")
    assert said.startswith(f"{tmp_path / 'real' / 'b'}: Expected a readable folder. ")


def test_folders_without_a_file_to_read_are_named(door, tmp_path):
    (tmp_path / "real" / "c" / "within").mkdir(parents=True)
    (tmp_path / "real" / "c" / ".hidden").write_bytes(b"1")
    (tmp_path / "real" / "a" / "lost").mkdir()
    notes = [note for note in door(tmp_path / "real").notes if "in the folders" in note]
    assert [note.rpartition(": ")[2] for note in notes] == [f"{os.path.join('a', 'lost')}, c."]


@pytest.mark.parametrize("count", [2, 12])
def test_files_of_another_kind_are_named_where_files_are_told_by_their_endings(
    count, door, tmp_path
):
    for i in range(count):
        (tmp_path / "real" / "b" / f"{i:02}.json").write_bytes(b"{}")
    notes = [note for note in door(tmp_path / "real").notes if note.startswith("Not read")]
    if any((tmp_path / "real" / "b").glob("*.png")):  # photographs have all kinds of files beside
        assert notes == []
    else:
        assert f"{os.path.join('b', '00.json')}, {os.path.join('b', '01.json')}" in notes[0]
        assert notes[0].endswith(" and 2 more." if count == 12 else "01.json.")


def test_a_link_to_nothing_among_arrays_is_refused(tmp_path):
    np.save(tmp_path / "x_train.npy", np.zeros([20, 4, 4], np.uint8))
    link = tmp_path / "x_test.npy"
    link.symlink_to(tmp_path / "unmounted.npy")
    said = refusal(lambda path: data.load("image_arrays", path=path), tmp_path)
    assert said.startswith(f"{link}: Expected a file or folder. Received: a link to ")
    assert len(data.load("image_arrays", path=tmp_path / "x_train.npy").test) == 2
