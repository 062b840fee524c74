"""Streams take as much memory for four times the data: measured in processes of their own."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

MEASURE = """
import itertools, sys
import tensorflow as tf
from tf_iresnet import data
from tf_iresnet.data.images import encoded

encoded.SAMPLE = 200
dataset = data.load(sys.argv[1], path=sys.argv[2], stream=True, **eval(sys.argv[3]))
steps = tf.data.Dataset.range(10**9).map(dataset.train_batches(512, 0)).prefetch(2)
epochs = dataset.training_size // 512 + 2
for batch in itertools.islice(steps, epochs):
    pass
(peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(dataset.training_size, int(peak.split()[1]) / 1024)
"""


def peak(name, path, **options):
    """Training size, and the most memory in MiB that loading and one epoch took."""
    command = [sys.executable, "-c", MEASURE, name, str(path), repr(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    size, mebibytes = done.stdout.split()[-2:]
    return int(size), float(mebibytes)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is Linux' own")
def test_four_times_the_rows_take_no_more_memory(tmp_path):
    """0.6 and 2.4 million rows of ten columns: as float64 46 and 183 MiB."""
    rows = np.random.default_rng(0).normal(size=(600_000, 10))
    for folder, files in (("few", 1), ("many", 4)):
        (tmp_path / folder).mkdir()
        for i in range(files):
            table = pa.table({f"x{j}": rows[:, j] + i for j in range(10)})
            pq.write_table(table, tmp_path / folder / f"{i}.parquet", row_group_size=100_000)
    few, many = (peak("table", tmp_path / folder) for folder in ("few", "many"))
    assert many[0] > 3.9 * few[0]
    assert many[1] < few[1] + 40


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is Linux' own")
@pytest.mark.parametrize("name", ["image_folder", "image_records"])
def test_four_times_the_images_take_no_more_memory(name, tmp_path):
    """2,000 and 8,000 images of 64×64 pixels, 23 and 94 MiB, of which 80 are held out twice."""
    noise = np.random.default_rng(0).integers(0, 256, (100, 64, 64, 3), np.uint8)
    files = [tf.io.encode_png(image).numpy() for image in noise]
    for folder, count in (("few", 2000), ("many", 8000)):
        (tmp_path / folder).mkdir()
        if name == "image_folder":
            for i in range(count):
                (tmp_path / folder / f"{i}.png").write_bytes(files[i % 100])
            continue
        with tf.io.TFRecordWriter(str(tmp_path / folder / "rows.tfrecord")) as writer:
            for i in range(count):
                image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[files[i % 100]]))
                features = tf.train.Features(feature={"image": image})
                writer.write(tf.train.Example(features=features).SerializeToString())
    few, many = (
        peak(name, tmp_path / folder, size=64, validation=80 / count, test=80 / count)
        for folder, count in (("few", 2000), ("many", 8000))
    )
    assert (few[0], many[0]) == (1840, 7840)
    assert many[1] < few[1] + 25
