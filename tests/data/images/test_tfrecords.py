"""Images in TFRecords: those of a folder of the same files; and each record that is refused."""

import numpy as np
import pytest
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.training import build
from tf_iresnet.training.workdir import RunError

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
LABELS = np.arange(30) % 3 + 5


def example(**features):
    kinds = {bytes: ("bytes_list", tf.train.BytesList), int: ("int64_list", tf.train.Int64List)}
    made = {}
    for name, value in features.items():
        kind, make = kinds[type(value)]
        made[name] = tf.train.Feature(**{kind: make(value=[value])})
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def png(image):
    return tf.io.encode_png(image).numpy()


def write(path, contents, options=""):
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for content in contents:
            writer.write(content)
    return path


@pytest.fixture
def folder(tmp_path):
    """Thirty images in three files of different sizes."""
    records = [
        example(image=png(x), label=int(y), name=b"x") for x, y in zip(PIXELS, LABELS, strict=True)
    ]
    for i, rows in enumerate((slice(0, 4), slice(4, 5), slice(5, 30))):
        write(tmp_path / "mine" / f"{i}.tfrecord", records[rows])
    return tmp_path / "mine"


@pytest.mark.parametrize("stream", [True, False])
def test_records_are_images_with_labels(stream, folder):
    dataset = data.load("image_records", path=folder, size=8, stream=stream)
    assert dataset.name == "mine" and dataset.classes == ("5", "6", "7")
    x, label = dataset.labelled_batches(24, 0)(0)
    source = {image.tobytes(): y - 5 for image, y in zip(PIXELS, LABELS, strict=True)}
    seen = np.concatenate([x, dataset.validation, dataset.test])
    classes = np.concatenate([label, dataset.labels.validation, dataset.labels.test])
    found = [source.pop(image.tobytes()) for image in np.floor(seen).astype(np.uint8)]
    assert found == list(classes) and not source


def test_batches_are_those_of_a_folder_of_the_same_images(folder, tmp_path):
    (tmp_path / "files").mkdir()
    for i, image in enumerate(PIXELS):
        (tmp_path / "files" / f"{i:02}.png").write_bytes(png(image))
    records = data.load("image_records", path=folder, size=8, stream=True)
    files = data.load("image_folder", path=tmp_path / "files", size=8)
    np.testing.assert_array_equal(records.train_batches(7, 2)(5), files.train_batches(7, 2)(5))
    np.testing.assert_array_equal(records.test, files.test)


def test_features_have_names_of_ones_own(tmp_path):
    records = [example(a=png(x), b=png(255 - x), c=int(i % 2)) for i, x in enumerate(PIXELS)]
    path = write(tmp_path / "rows.tfrecord", records)
    with pytest.raises(data.DataError, match=r"record 1: .*Received: a, b among a, b, c.*\.image="):
        data.load("image_records", path=path, size=8)
    dataset = data.load("image_records", path=path, size=8, image="b", label="c")
    assert dataset.classes == ("0", "1")
    assert np.floor(dataset.test[0]).astype(np.uint8).tobytes() in {
        (255 - x).tobytes() for x in PIXELS
    }
    assert data.load("image_records", path=path, size=8, image="a").labels is None


BAD = {
    "no Example": ([b"\xff\xff\xff"], "", r"record 1: Expected a tf\.train\.Example"),
    "numbers": ([example(a=1)], "", r"one feature with a PNG .*Received: none among a\..*parquet"),
    "none": (
        [],
        "",
        r"records of images\. Received: an empty file\. Write it again; .* remove it\.",
    ),
    "compressed": ([example(image=png(PIXELS[0]))], "GZIP", "not compressed as a whole"),
}


@pytest.mark.parametrize("case", BAD)
def test_other_records_are_refused(case, tmp_path):
    contents, options, message = BAD[case]
    path = write(tmp_path / "bad.tfrecord", contents, options)
    with pytest.raises(data.DataError, match=message) as caught:
        data.load("image_records", path=path, size=8)
    assert "bad.tfrecord" in str(caught.value) and "\n" not in str(caught.value)
    assert not any(word in str(caught.value) for word in ("{{", "[Op:", "device", ".."))


def test_a_damaged_file_and_a_record_without_label_are_named(folder):
    whole = (folder / "2.tfrecord").read_bytes()
    (folder / "2.tfrecord").write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    with pytest.raises(data.DataError, match=r"2\.tfrecord: Expected a whole TFRecord file"):
        data.load("image_records", path=folder, size=8)
    write(folder / "2.tfrecord", [example(image=png(PIXELS[0]))])
    message = r"2\.tfrecord, record 1: Expected one value .*'label'\. Received: 0; features: image"
    with pytest.raises(data.DataError, match=message):
        data.load("image_records", path=folder, size=8)


@pytest.mark.parametrize("cut", [1, 5, 11, 12, 13])
def test_a_file_that_ends_within_a_record_is_not_whole(cut, folder):
    """TensorFlow takes what is shorter than the head of a record, 12 bytes, for its end."""
    file = folder / "2.tfrecord"
    whole, first = file.read_bytes(), (folder / "1.tfrecord").read_bytes()
    file.write_bytes(first + whole[:cut])
    expected = f"1 records and {cut} bytes of another" if cut < 12 else "truncated record"
    with pytest.raises(data.DataError, match=rf"2\.tfrecord: .*TFRecord file.*: {expected}"):
        data.load("image_records", path=folder, size=8)


def test_an_empty_file_among_others_is_refused(folder):
    (folder / "3.tfrecord").write_bytes(b"")
    with pytest.raises(data.DataError, match=r"3\.tfrecord: .*Received: an empty file"):
        data.load("image_records", path=folder, size=8)


def test_a_file_that_became_shorter_while_training_is_named(folder):
    dataset = data.load("image_records", path=folder, size=8, stream=True)
    (folder / "2.tfrecord").write_bytes((folder / "2.tfrecord").read_bytes()[:60])
    message = r"2\.tfrecord: Expected the same file\. Received: a shorter .* Restore it"
    with pytest.raises(data.DataError, match=message), build.naming_unreadable_files(dataset):
        dataset.train_batches(24, 0)(0)


def test_no_file_is_said(tmp_path):
    with pytest.raises(data.DataError, match=r"nowhere: .*relative ones start in"):
        data.load("image_records", path=tmp_path / "nowhere")
    with pytest.raises(data.DataError, match=r"TFRecord files in the folder\. Received: none"):
        data.load("image_records", path=tmp_path)
    with pytest.raises(RunError, match=r"add --config\.data\.path=my/records"):
        build.make_dataset({"data": {"name": "image_records"}})
