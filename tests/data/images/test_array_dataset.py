"""Images in array files: every way to write them gives the same images; all else is one line."""

import gzip
import struct

import numpy as np
import pytest

from tf_iresnet import data
from tf_iresnet.training import build
from tf_iresnet.training.workdir import RunError

RNG = np.random.default_rng(0)
IMAGES = {
    part: RNG.integers(0, 256, (n, 28, 28), np.uint8) for part, n in [("train", 40), ("test", 6)]
}
LABELS = {"train": np.arange(40, dtype=np.uint8) % 10, "test": np.arange(6, dtype=np.uint8)}


def npz(folder, images="x_{}", labels="y_{}", **more):
    arrays = {images.format(part): x for part, x in IMAGES.items()}
    arrays |= {labels.format(part): y for part, y in LABELS.items()}
    np.savez_compressed(folder / "mine.npz", **arrays, **more)
    return folder / "mine.npz"


def idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx(folder, compress):
    (folder / "mine").mkdir()
    for part, name in [("train", "train"), ("test", "t10k")]:
        for kind, array in [("images-idx3", IMAGES[part]), ("labels-idx1", LABELS[part])]:
            path = folder / "mine" / f"{name}-{kind}-ubyte"
            content = idx_bytes(array)
            path = path.with_name(path.name + ".gz") if compress else path
            path.write_bytes(gzip.compress(content) if compress else content)
    return folder / "mine"


def npy(folder):
    (folder / "mine").mkdir()
    for part in IMAGES:
        np.save(folder / "mine" / f"x_{part}.npy", IMAGES[part])
        np.save(folder / "mine" / f"y_{part}.npy", LABELS[part])
    return folder / "mine"


WAYS = {
    "Keras' names": npz,
    "plain names": lambda folder: npz(folder, "{}_images", "{}_labels"),
    "other names": lambda folder: npz(folder, "{}.data", "{}.targets"),
    "idx": lambda folder: idx(folder, False),
    "idx.gz": lambda folder: idx(folder, True),
    "npy": npy,
}


@pytest.mark.parametrize("way", WAYS)
def test_published_parts_are_read_as_they_are(way, tmp_path):
    dataset = data.load("image_arrays", path=WAYS[way](tmp_path))
    assert dataset.name == "mine" and dataset.event_shape == (28, 28, 1)
    np.testing.assert_array_equal(np.floor(dataset.test[..., 0]), IMAGES["test"])
    np.testing.assert_array_equal(dataset.labels.test, LABELS["test"])
    assert dataset.classes == tuple("0123456789")
    assert (dataset.training_size, len(dataset.validation)) == (36, 4)
    x, label = dataset.labelled_batches(36, 0)(0)
    seen = np.concatenate([x.numpy(), dataset.validation])[..., 0]
    classes = np.concatenate([label.numpy(), dataset.labels.validation])
    source = {x.tobytes(): y for x, y in zip(IMAGES["train"], LABELS["train"], strict=True)}
    found = [source.pop(x.tobytes()) for x in np.floor(seen).astype(np.uint8)]
    assert found == list(classes) and not source
    assert any("36 training, 4 validation, 6 test; drawn" in line for line in dataset.describe())


@pytest.mark.parametrize("compress", [False, True])
def test_one_idx_file_brings_its_labels_and_is_split_by_fractions(compress, tmp_path):
    folder = idx(tmp_path, compress)
    ending = ".gz" if compress else ""
    dataset = data.load(
        "image_arrays", path=folder / f"train-images-idx3-ubyte{ending}", validation=0.2, test=0.1
    )
    sizes = dataset.training_size, len(dataset.validation), len(dataset.test)
    assert sizes == (28, 8, 4) and len(dataset.labels.test) == 4


def test_colour_images_without_labels_in_one_array(tmp_path):
    images = RNG.integers(0, 256, (20, 6, 8, 3), np.uint8)
    for name, save in [("a.npy", np.save), ("a.npz", np.savez)]:
        save(tmp_path / name, images)
        dataset = data.load("image_arrays", path=str(tmp_path / name))
        assert dataset.event_shape == (6, 8, 3) and dataset.labels is None
        assert dataset.training_size == 16
    other = data.load("image_arrays", path=tmp_path / "a.npy", split_seed=1)
    assert not np.array_equal(dataset.test, other.test)


def test_classes_are_named_by_texts_and_columns_of_labels_are_flat(tmp_path):
    labels = np.array(["cat", "dog"])[np.arange(20) % 2][:, None]
    np.savez(tmp_path / "a.npz", images=IMAGES["train"][:20], labels=labels, extra=np.arange(3))
    dataset = data.load("image_arrays", path=tmp_path / "a.npz")
    assert dataset.classes == ("cat", "dog")
    assert any("extra" in note for note in dataset.notes)


def test_few_levels_are_asked_for_and_then_respected(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES["train"] % 2)
    dataset = data.load("image_arrays", path=tmp_path / "a.npy")
    assert any("levels=2" in note for note in dataset.notes)
    dataset = data.load("image_arrays", path=tmp_path / "a.npy", levels=2)
    assert dataset.levels == 2 and not dataset.notes and dataset.test.max() < 2
    with pytest.raises(data.DataError, match=r"below 100\. Received: 255\. Type .*levels=256"):
        data.load("image_arrays", path=npz(tmp_path), levels=100)


@pytest.mark.parametrize("levels", [2, 3, 256])
def test_black_images_have_two_levels_at_least(levels, tmp_path):
    np.save(tmp_path / "a.npy", IMAGES["train"] * 0)
    dataset = data.load("image_arrays", path=tmp_path / "a.npy", levels=levels)
    advice = [note for note in dataset.notes if "levels=" in note]
    assert [("levels=2," in note) for note in advice] == [True] * (levels > 2)


def test_padded_images_are_those_of_the_paper(tmp_path):
    dataset = data.load("image_arrays", path=npz(tmp_path), padded=True)
    assert dataset.event_shape == (32, 32, 3) and dataset.name == "mine padded to 32x32x3"
    np.testing.assert_array_equal(np.floor(dataset.test[:, 2:30, 2:30, 1]), IMAGES["test"])
    np.save(tmp_path / "small.npy", IMAGES["train"][:, :12, :12])
    with pytest.raises(data.DataError, match=r"28x28 pixels to pad\. Received: .*12, 12, 1"):
        data.load("image_arrays", path=tmp_path / "small.npy", padded=True)


X, Y = IMAGES["train"], LABELS["train"]
BAD = {
    "float": ({"x": X / 255}, r"uint8 .* in x\. Received: float64 .*40, 28, 28.*multiplying"),
    "flat": ({"x": X.reshape(40, -1)}, r"Received: uint8 of shape \(40, 784\)"),
    "channels first": ({"x": X.reshape(40, 1, 28, 28)}, r"numpy\.moveaxis\(images, 1, -1\)"),
    "labels alone": ({"y": Y, "y_test": Y}, r"Expected training images.*Received: y, y_test"),
    "no labels of test": ({"x": X, "y": Y, "x_test": X}, "labels for each part or for none"),
    "shapes": ({"x_train": X, "x_test": X[:, 1:]}, r"one shape\. Received: training images of"),
    "label count": ({"x": X, "y": Y[1:]}, r"texts \[40\] in y, .*uint8 of shape \(39,\)"),
    "label type": ({"x": X, "y": Y / 2}, r"whole numbers or texts .*Received: float64"),
    "twice": ({"x": X, "images": X}, r"one array of training images\. Received: x and images"),
    "unknown": ({"a": X, "b": X}, r"arrays of images\. Received: a, b\. Save images by"),
    "objects": ({"x": np.array([X, None], object)}, "Python objects"),
    "few": ({"x": X[:7]}, "6 images to train on"),
}


@pytest.mark.parametrize("case", BAD)
def test_other_arrays_are_refused_in_a_line(case, tmp_path):
    arrays, message = BAD[case]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(data.DataError, match=message) as caught:
        data.load("image_arrays", path=tmp_path / "bad.npz")
    assert str(caught.value).startswith(f"{tmp_path}/bad.npz: ") and "\n" not in str(caught.value)


FILES = {
    "cut.npz": (b"PK\x03\x04 not a zip", "whole files of arrays"),
    "cut.npy": (b"\x93NUMPY", "whole files of arrays"),
    "a.png": (b"\x89PNG", r"an \.npz or \.npy file, or idx files .*Received: '\.png'"),
    "a-idx3-ubyte": (idx_bytes(X)[:-1], r"31,360 bytes of an idx file\. Received: 31,359"),
    "long-idx3-ubyte": (idx_bytes(X) + b"1", r"31,360 bytes of an idx file\. Received: more"),
    "huge-idx3-ubyte": (struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 9), "more than the file"),
    "float-idx3": (struct.pack(">HBB3I", 0, 13, 3, 1, 1, 1) + bytes(4), "unsigned bytes"),
    "empty-idx3-ubyte": (b"", "a whole idx file"),
    "bad-idx3-ubyte.gz": (b"not compressed", "a whole idx file"),
}


@pytest.mark.parametrize("name", FILES)
def test_other_files_are_refused_in_a_line(name, tmp_path):
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(data.DataError, match=message) as caught:
        data.load("image_arrays", path=tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_no_file_and_other_folders_are_said(tmp_path):
    with pytest.raises(data.DataError, match=r"nowhere: .*Received: none.*relative ones start in"):
        data.load("image_arrays", path=tmp_path / "nowhere")
    with pytest.raises(data.DataError, match=r"idx or \.npy files .*Received: none"):
        data.load("image_arrays", path=tmp_path)
    npz(tmp_path)
    with pytest.raises(data.DataError, match=r"Received: \.npz files\. Name the file itself"):
        data.load("image_arrays", path=tmp_path)
    with pytest.raises(RunError, match=r"add --config\.data\.path=my\.npz"):
        build.make_dataset({"data": {"name": "image_arrays"}})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": 0.2}, r"test only for files without that part\. test=0\.2 for .*mine\.npz"),
        ({"validation": 0.0}, r"fractions above 0\. Received: validation=0\.0"),
        ({"validation": 1.5}, r"validation=1\.5"),
        ({"levels": 1}, r"levels to be 2 to 256\. Received: levels=1"),
    ],
)
def test_options_without_effect_or_out_of_range_are_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        data.load("image_arrays", path=npz(tmp_path), **options)
