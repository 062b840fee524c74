"""The published sets as Keras keeps them, from small stand-ins; and what is said without a copy."""

import gzip
import io
import pickle
import tarfile
import urllib.error

import keras
import numpy as np
import pytest

from tf_iresnet import data
from tf_iresnet.data.images import published

NAMES = ("mnist", "fashion_mnist", "cifar10", "cifar100")
RNG = np.random.default_rng(0)
GREY = {
    "x_train": RNG.integers(0, 256, (12, 28, 28), np.uint8),
    "y_train": RNG.integers(0, 10, 12, np.uint8),
    "x_test": RNG.integers(0, 256, (5, 28, 28), np.uint8),
    "y_test": RNG.integers(0, 10, 5, np.uint8),
}
COLOUR = RNG.integers(0, 256, (20, 3072), np.uint8)
ALL_IMAGES = {"mnist": (12, 5), "fashion_mnist": (12, 5), "cifar10": (50000, 3), "cifar100": (8, 4)}


def write_mnist(folder):
    np.savez_compressed(folder / "mnist.npz", **GREY)


def write_fashion_mnist(folder):
    (folder / "fashion-mnist").mkdir()
    for part, ours in [("train", "train"), ("t10k", "test")]:
        for kind, header, array in [("labels-idx1", 8, "y"), ("images-idx3", 16, "x")]:
            path = folder / "fashion-mnist" / f"{part}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(bytes(header) + GREY[f"{array}_{ours}"].tobytes()))


def archive(path, batches):
    """A .tar.gz of pickles: name → rows of COLOUR, key of the labels."""
    with tarfile.open(path, "w:gz") as tar:
        for name, (rows, key) in batches.items():
            content = {b"data": COLOUR[rows], key: [int(x) for x in COLOUR[rows, 0] % 10]}
            pickled = pickle.dumps(content, protocol=4)
            entry = tarfile.TarInfo(name)
            entry.size = len(pickled)
            tar.addfile(entry, io.BytesIO(pickled))


def write_cifar10(folder):
    """One image a batch, of which Keras makes the 10,000 that it expects."""
    inner = "cifar-10-batches-py"
    batches = {f"{inner}/data_batch_{i}": ([i], b"labels") for i in range(1, 6)}
    batches[f"{inner}/test_batch"] = ([10, 11, 12], b"labels")
    archive(folder / "cifar-10-batches-py-target_archive", batches)


def write_cifar100(folder):
    inner = "cifar-100-python"
    batches = {f"{inner}/train": (range(8), b"fine_labels")}
    batches[f"{inner}/test"] = (range(8, 12), b"fine_labels")
    archive(folder / "cifar-100-python-target_archive", batches)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder that Keras keeps its data sets in, empty, on a machine without a network."""
    (tmp_path / "datasets").mkdir()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))

    def no_network(*_):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
    return tmp_path / "datasets"


@pytest.fixture
def copies(cache, monkeypatch):
    """That folder with a small stand-in for every set, whose checksums are let pass."""
    monkeypatch.setattr("keras.src.utils.file_utils.validate_file", lambda *_, **__: True)
    for name in NAMES:
        globals()[f"write_{name}"](cache)
    return cache


@pytest.mark.parametrize("name", NAMES)
def test_every_set_is_read_from_the_cache_of_keras(name, copies):
    dataset = data.load(name, validation_size=2)
    grey = "mnist" in name
    assert dataset.name == name and dataset.levels == 256
    assert dataset.event_shape == dataset.image_shape == ((28, 28, 1) if grey else (32, 32, 3))
    train, test = ALL_IMAGES[name]
    labels = dataset.labels
    assert len(dataset.validation) == 2 and len(dataset.test) == test
    assert (len(labels.train), len(labels.validation), len(labels.test)) == (train - 2, 2, test)
    assert len(dataset.classes) == len(set(dataset.classes)) == (100 if name == "cifar100" else 10)
    if grey:
        originals, targets = GREY["x_test"][..., None], GREY["y_test"]
    else:
        rows = COLOUR[10:13] if name == "cifar10" else COLOUR[8:12]
        originals, targets = np.moveaxis(rows.reshape(-1, 3, 32, 32), 1, -1), rows[:, 0] % 10
    np.testing.assert_array_equal(np.floor(dataset.test), originals)
    np.testing.assert_array_equal(labels.test, targets)
    assert labels.test.dtype == np.int32
    x, label = dataset.labelled_batches(4, seed=0)(1)
    assert x.shape == (4, *dataset.event_shape) and label.shape == (4,)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_padded_digits_are_those_of_the_paper_and_say_so(name, copies):
    dataset = data.load(name, padded=True, validation_size=2)
    assert dataset.name == f"{name} padded to 32x32x3" and dataset.event_shape == (32, 32, 3)
    whole = np.floor(dataset.test)
    for channel in range(3):
        np.testing.assert_array_equal(whole[:, 2:30, 2:30, channel], GREY["x_test"])
    assert whole.sum() == 3 * GREY["x_test"].sum(dtype=int)
    assert not np.array_equal(dataset.test[..., 0], dataset.test[..., 1]), "noise of their own"


def test_validation_images_are_taken_from_training(copies):
    dataset = data.load("mnist", validation_size=4, test_size=3)
    train = np.floor(dataset.train_batches(8, seed=0)(0)).reshape(8, -1)
    validation = np.floor(dataset.validation).reshape(4, -1)
    together = {tuple(image) for image in np.concatenate([train, validation])}
    assert together == {tuple(image) for image in GREY["x_train"].reshape(12, -1)}
    assert len(dataset.test) == len(dataset.labels.test) == 3


def test_a_smaller_choice_is_part_of_a_larger_one_and_not_the_first():
    few, rest = published.choose("size", 100, 10000, 9999)
    more, _ = published.choose("size", 500, 10000, 9999)
    assert set(few) < set(more) and max(few) > 5000
    assert len(few) == 100 and set(few) | set(rest) == set(range(10000))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_size": 12}, r"validation_size to be 2 to 11 images\. Received: .*=12"),
        ({"validation_size": 1}, r"validation_size to be 2 to 11 images\. Received: .*=1"),
        ({"validation_size": 2, "test_size": 6}, r"test_size to be 2 to 5 .*test_size=6"),
        ({"validation_size": 2, "pad_crop": -1}, "pad_crop=-1"),
    ],
)
def test_sizes_out_of_range_are_refused(options, message, copies):
    with pytest.raises(ValueError, match=message):
        data.load("mnist", **options)


@pytest.mark.parametrize("name", NAMES)
def test_without_copy_and_network_the_error_says_which_file_goes_where(name, cache):
    with pytest.raises(data.DataError, match="no network") as caught:
        data.load(name)
    text = str(caught.value)
    assert text.startswith(f"Expected {name} ") and "KERAS_HOME" in text
    for file, address in published.FILES[name].items():
        path = cache / file
        assert address.rpartition("/")[2] in text
        assert (f"in {path.parent}." if name == "fashion_mnist" else f"as {path}.") in text


@pytest.mark.parametrize("name", NAMES)
def test_the_files_named_are_those_that_keras_looks_for(name, copies, monkeypatch):
    """With each of them gone, Keras goes to the network for it."""
    for file in published.FILES[name]:
        assert (copies / file).exists()
        (copies / file).rename(copies / "away")
        with pytest.raises(data.DataError, match="no network"):
            data.load(name, validation_size=2)
        (copies / "away").rename(copies / file)


def test_a_copy_that_is_not_the_published_one_is_named(cache):
    write_mnist(cache)
    with pytest.raises(data.DataError, match=r"Keras removed \S*mnist\.npz: .*as they were publ"):
        data.load("mnist")


def test_a_copy_of_another_shape_is_refused(copies):
    np.savez(copies / "mnist.npz", **{**GREY, "x_test": np.zeros((5, 8, 8), np.uint8)})
    with pytest.raises(data.DataError, match=r"shape \(28, 28, 1\)\. Received: .*8, 8, 1\)"):
        data.load("mnist", validation_size=2)


def test_channels_come_last_whatever_keras_is_set_to(copies, monkeypatch):
    monkeypatch.setattr("keras.src.backend.config._IMAGE_DATA_FORMAT", "channels_first")
    assert keras.config.image_data_format() == "channels_first"
    dataset = data.load("cifar100", validation_size=2)
    images = np.moveaxis(COLOUR[8:12].reshape(-1, 3, 32, 32), 1, -1)
    np.testing.assert_array_equal(np.floor(dataset.test), images)


def test_a_copy_of_ones_own_needs_neither_cache_nor_network(cache, tmp_path):
    np.savez(tmp_path / "mine.npz", **GREY)
    dataset = data.load("mnist", path=tmp_path / "mine.npz", validation_size=2, padded=True)
    assert dataset.name == "mnist padded to 32x32x3" and len(dataset.labels.train) == 10
    np.testing.assert_array_equal(np.floor(dataset.test[:, 2:30, 2:30, 0]), GREY["x_test"])
    np.testing.assert_array_equal(dataset.labels.test, GREY["y_test"])
    images = np.moveaxis(COLOUR.reshape(-1, 3, 32, 32), 1, -1)
    colour = {"x_train": images[:12], "x_test": images[12:]}
    labels = {"y_train": np.arange(12)[:, None], "y_test": np.arange(8)}
    np.savez(tmp_path / "colour.npz", **colour, **labels)
    dataset = data.load("cifar100", path=tmp_path / "colour.npz", validation_size=2)
    np.testing.assert_array_equal(np.floor(dataset.test), images[12:])
    for name, path, message in [
        (
            "cifar10",
            "mine.npz",
            r"\(32, 32, 3\) of cifar10 .*Received: training images \(28, 28, 1",
        ),
        ("cifar10", "colour.npz", r"labels 0 to 9\. Received: labels int64 from 0 to 11"),
    ]:
        with pytest.raises(data.DataError, match=message):
            data.load(name, path=tmp_path / path, validation_size=2)
