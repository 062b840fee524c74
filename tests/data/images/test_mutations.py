"""Damaged files of images end in one line that names the file, or are images of the right shape."""

import functools
import gzip
import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.mutations import mutate, mutate_members, read_all

from tf_iresnet import data
from tf_iresnet.data.images import decoding

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (30, 9, 10, 3), np.uint8)
PNG = b"\x89PNG\r\n\x1a\n"


def encoded(kind):
    """Whole files of every sort: grey, colour, deep, transparent, turned, moving, in palettes."""
    image, exif, files = Image.fromarray(PIXELS[0]), Image.Exif(), []
    exif[0x0112] = 6

    def save(image, **options):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files.append(buffer.getvalue())

    for mode in ("L", "RGB"):
        save(image.convert(mode))
        save(image.convert(mode), exif=exif)
    if kind == "PNG":
        for mode in ("LA", "RGBA", "P", "1"):
            save(image.convert(mode))
        save(image, save_all=True, append_images=[image.rotate(90)])
        files.append(tf.io.encode_png(PIXELS[0].astype(np.uint16) * 257).numpy())
    else:
        save(image.convert("CMYK"))
        save(image, progressive=True)
    return files


def mutate_chunk(content, rng):
    """A PNG of which one chunk is damaged before its checksum, and its compression, is made."""
    place, chunks = len(PNG), []
    while place < len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        chunks.append((kind, content[place + 8 : place + 8 + length]))
        place += 12 + length
    parts, chosen = [PNG], rng.integers(len(chunks))
    for index, (kind, inside) in enumerate(chunks):
        if index == chosen and kind == b"IDAT":
            inside = zlib.compress(mutate(zlib.decompress(inside), rng), 1)
        elif index == chosen:
            inside = mutate(inside, rng)
        parts += [struct.pack(">I", len(inside)), kind + inside]
        parts.append(struct.pack(">I", zlib.crc32(kind + inside)))
    return b"".join(parts)


def of_images(kind, count):
    whole, rng = encoded(kind), np.random.default_rng(1)
    for k in range(count):
        inside = kind == "PNG" and k % 4
        yield (mutate_chunk if inside else mutate)(whole[rng.integers(len(whole))], rng)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("count", [100, pytest.param(30_000, marks=pytest.mark.slow)])
def test_damaged_images_end_in_one_line(kind, count, capsys):
    channels = np.random.default_rng(2)

    def read(content):
        wanted = (None, 1, 3)[channels.integers(3)]
        image, _ = decoding.decode("mine.img", content, 8, wanted)
        assert image.shape in [(8, 8, n) for n in ((1, 3) if wanted is None else (wanted,))]

    with capsys.disabled():
        assert read_all(kind, of_images(kind, count), read, named="mine.img") > 0.1


def example(image, label):
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def in_records(records, path):
    """The bytes of a TFRecord file, with the right checksums."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path.read_bytes()


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def saved(save, *arrays, **named):
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()


def of_arrays(ending, count, path):
    """Mutations of a file of images that ends so."""
    rng, labels = np.random.default_rng(3), np.arange(30) % 3
    grey, records = PIXELS[..., 0], [example(png, k % 3) for k, png in enumerate(small_images())]
    whole = {
        "ubyte": lambda: idx(grey),
        "ubyte.gz": lambda: gzip.compress(idx(grey)),
        "npy": lambda: saved(np.save, grey),
        "npz": lambda: saved(np.savez, images=PIXELS, labels=labels),
        "tfrecord": lambda: in_records(records, path),
    }[ending]()
    for k in range(count):
        if ending == "tfrecord" and k % 2:
            damaged = list(records)
            place = rng.integers(len(records))
            damaged[place] = mutate(damaged[place], rng)
            yield in_records(damaged, path)
        elif ending == "ubyte.gz" and k % 2:
            yield gzip.compress(mutate(idx(grey), rng), 1)
        elif ending == "npz" and k % 2:
            yield mutate_members(whole, rng)
        else:
            yield mutate(whole, rng)


@functools.cache
def small_images():
    return [tf.io.encode_png(image).numpy() for image in PIXELS[:12]]


ENDINGS = {"ubyte": 5000, "ubyte.gz": 5000, "npy": 5000, "npz": 5000, "tfrecord": 1500}


@pytest.mark.parametrize(
    ("ending", "count"),
    [(name, 20) for name in ENDINGS]
    + [pytest.param(*item, marks=pytest.mark.slow) for item in ENDINGS.items()],
)
def test_damaged_files_of_images_end_in_one_line(ending, count, tmp_path, capsys):
    """With checksums right inside of archives and records, too."""
    path = tmp_path / f"train-images.{ending}"
    name, options = "image_arrays", {}
    if ending == "tfrecord":
        name, options = "image_records", {"size": 8, "stream": False}

    def read(content):
        path.write_bytes(content)
        dataset = data.load(name, path=path, **options)
        assert dataset.test.shape[1:] == dataset.event_shape and np.isfinite(dataset.test).all()

    with capsys.disabled():
        read_all(ending, of_arrays(ending, count, tmp_path / "made"), read, named=str(path))
