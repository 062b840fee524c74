"""Images in TFRecord files as a data set."""

import array
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.errors import DataError, plain_text
from tf_iresnet.data.folders import FolderFiles
from tf_iresnet.data.images.encoded import check_options, encoded_dataset
from tf_iresnet.data.images.headers import JPEG, PNG
from tf_iresnet.data.splits import SplitSeed

_HEAD, _AROUND = 12, 16  # bytes of a record before its content, and around it
# Endings of what stands beside TFRecord files, whose own endings differ too much to be told by.
_NO_RECORDS = (
    ".md", ".rst", ".txt", ".json", ".jsonl", ".csv", ".tsv", ".yaml", ".yml", ".xml", ".html",
    ".pdf", ".py", ".sh", ".log", ".pbtxt", ".index", ".idx", ".crc", ".md5", ".sha256",
)  # fmt: skip
_WHOLE, _AGAIN = "a whole TFRecord file", "Write it again, and not compressed as a whole."
_LABELS = ("label", "labels", "image/class/label", "class", "y")  # what others call them


def load_image_records(
    path: str | os.PathLike[str],
    size: int = 32,
    channels: int | None = None,
    image: str | None = None,
    label: str | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    split_seed: SplitSeed = 0,
    flip: bool = False,
    pad_crop: int = 0,
    stream: bool | None = None,
) -> Dataset:
    """Returns the PNG or JPEG images of a TFRecord file, or of all in a folder, as a data set.

    Records are `tf.train.Example`s. All are read once, which checks their checksums; then each is
    read at its place, which 8 bytes of memory remember. A file that is empty, cut, or compressed as
    a whole is refused.

    Args:
        path: a file, or a folder. There all visible files are taken, sorted by name and links
            followed, but for those that end in .md, .txt, .json or as other texts do, which the
            notes name.
        image: name of the feature that holds an image; if None, the only one that does.
        label: name of the feature that holds the class as a whole number; if None, "label",
            "labels", "image/class/label", "class" or "y" if there is one.
        size, channels, validation, test, split_seed, flip, pad_crop, stream: see
            `load_image_folder`.
    """
    check_options(size, channels)
    records = Records(pathlib.Path(path), image, label)
    numbers, classes = records.labels, tuple[str, ...]()
    if numbers is not None:
        found, numbers = np.unique(numbers, return_inverse=True)
        numbers, classes = numbers.astype(np.int32), tuple(map(str, found.tolist()))
    name = pathlib.Path(path).resolve().stem
    return encoded_dataset(
        path,
        name,
        records,
        size,
        channels,
        (validation, test),
        split_seed,
        numbers,
        classes,
        flip,
        pad_crop,
        stream,
        records.notes,
    )


class Records:
    """The records of TFRecord files by number; in memory is the place of each.

    Attributes:
        labels: int64 [n]; None without.
        notes: sentences about what in the folder isn't read.
    """

    def __init__(self, path: pathlib.Path, image: str | None, label: str | None):
        self._files, self.notes = _find(path)
        self._image, self._label = image, label
        self._known = False  # whether the features have been found
        indices = [self._index(file) for file in self._files]
        self._counts = np.cumsum([0, *(len(starts) - 1 for starts, _ in indices)])
        self._starts = np.concatenate([starts for starts, _ in indices])  # and ends of files
        labels = np.concatenate([labels for _, labels in indices])
        self.labels = None if self._label is None else labels

    def __len__(self) -> int:
        return int(self._counts[-1])

    def name(self, index: int) -> str:
        """The file of a record, and its place there."""
        file = int(np.searchsorted(self._counts, index, side="right")) - 1
        return f"{self._files[file]}, record {index - self._counts[file] + 1}"

    def contents(self, index: int) -> bytes:
        """The image in a record. DataError if there is none any more."""
        file = int(np.searchsorted(self._counts, index, side="right")) - 1
        start, end = self._starts[index + file : index + file + 2].tolist()
        try:
            with open(self._files[file], "rb") as stream:
                stream.seek(start + _HEAD)
                content = stream.read(end - start - _AROUND)
        except OSError as error:
            reason = error.strerror or str(error)
            raise DataError(self._files[file], "a readable file", reason, "Restore it.") from error
        if len(content) < end - start - _AROUND:
            received = "a shorter one than before"
            raise DataError(self._files[file], "the same file", received, "Restore it.")
        name = self.name(index)
        return _value(name, _features(name, content), str(self._image), "bytes_list")

    def _index(self, file: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
        """Where the records of a file start, with its end, and their labels."""
        lengths, labels, size = array.array("q"), array.array("q"), file.stat().st_size
        if not size:
            advice = "Write it again; if no records are missing, remove it."
            raise DataError(file, "records of images", "an empty file", advice)
        try:
            for content in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
                lengths.append(len(content))
                name = f"{file}, record {len(lengths)}"
                if not self._known:
                    self._image, self._label = _choose(name, content, self._image, self._label)
                    self._known = True
                if self._label is not None:
                    features = _features(name, content)
                    labels.append(_value(name, features, self._label, "int64_list"))
        except tf.errors.OpError as error:
            raise DataError(file, _WHOLE, plain_text(error).rstrip("."), _AGAIN) from error
        ends = np.cumsum(np.array(lengths, np.int64) + _AROUND)
        if (end := int(ends[-1]) if len(ends) else 0) != size:  # TensorFlow says nothing of these
            received = f"{len(ends):,} records and {size - end} bytes of another"
            raise DataError(file, _WHOLE, received, _AGAIN)
        return np.concatenate([np.zeros(1, np.int64), ends]), np.array(labels, np.int64)


def _find(path: pathlib.Path) -> tuple[list[pathlib.Path], list[str]]:
    """A file, or those of a folder sorted by name, and sentences about what isn't taken."""
    if not path.exists():
        advice = f"Check the path; relative ones start in {pathlib.Path.cwd()}."
        raise DataError(path, "a TFRecord file, or a folder of such", "none", advice)
    if path.is_file():
        return [path], []
    found = FolderFiles(path, lambda name: not name.lower().endswith(_NO_RECORDS), hidden="._")
    files = [path / name for name in found]
    if not files:
        raise DataError(path, "TFRecord files in the folder", "none", "Correct the path.")
    return files, found.notes("TFRecord files")


def _features(name: str, content: bytes) -> Any:
    """The features of an Example by name. DataError for other records."""
    try:
        return tf.train.Example.FromString(content).features.feature
    except Exception as error:  # that of protobuf differs between its versions
        advice = "Write images by tf.train.Example."
        raise DataError(name, "a tf.train.Example", "something else", advice) from error


def _value(name: str, features: Any, feature: str, kind: str) -> Any:
    """The one value of a feature."""
    values = getattr(features[feature], kind).value if feature in features else []
    if len(values) != 1:
        known = ", ".join(sorted(features)) or "none"
        expected = f"one value of {kind.removesuffix('_list')} in the feature {feature!r}"
        received = f"{len(values)}; features: {known}"
        advice = "Name the right one by --config.data.image=… or --config.data.label=…."
        raise DataError(name, expected, received, advice)
    return values[0]


def _choose(
    name: str, content: bytes, image: str | None, label: str | None
) -> tuple[str, str | None]:
    """Names of the features of image and label, by the first record."""
    features = _features(name, content)
    if image is None:
        found = [
            key
            for key in sorted(features)
            if len(features[key].bytes_list.value) == 1
            and features[key].bytes_list.value[0].startswith((PNG, JPEG))
        ]
        if len(found) != 1:
            received = f"{', '.join(found) or 'none'} among {', '.join(sorted(features)) or 'none'}"
            advice = "Name it by --config.data.image=…; tables are read from .parquet files."
            raise DataError(name, "one feature with a PNG or JPEG image", received, advice)
        (image,) = found
    if label is None:
        known = [key for key in _LABELS if key in features]
        label = next((key for key in known if len(features[key].int64_list.value) == 1), None)
    return image, label
