"""What data cost that memory doesn't hold: Parquet files and folders of images, few and many.

    python scripts/benchmark.py --suite=streams --workdir=runs

Each data set has a process of its own, on made-up data that are written once. The peak of memory
tells that it doesn't grow with the data, the examples per second how soon batches are ready.
"""

import importlib
import json
import os
import pathlib
import sys
import time
from typing import Any

import numpy as np

from comparisons import peak, table

COLUMNS = (
    table.Column("data", "{kind}", ("kind",)),
    table.Column("examples", "{examples:,}", ("examples",)),
    table.Column("before, MiB", "{before:.0f}", ("before",)),
    table.Column("peak, MiB", "{peak:.0f}", ("peak",)),
    table.Column("loading, s", "{loading:.1f}", ("loading",)),
    table.Column("per second", "{per_second:,.0f}", ("per_second",)),
    table.Column("a batch of the third epoch, s", "{resumed:.2f}", ("resumed",)),
)
SIZES = {"rows": (2_000_000, 20_000_000), "images": (100_000, 1_000_000)}
WIDTH, GROUP, FILE = 10, 50_000, 250_000  # columns; rows of a group and of a file
SIDE, FOLDER = 32, 1000  # pixels; images of a folder
BATCH = {"rows": 512, "images": 64}
HELD = 1000  # examples of each part that is held in memory


def compare(
    workdir: str | os.PathLike[str],
    sizes: dict[str, tuple[int, ...]] | None = None,
    seconds: float = 6.0,
) -> list[dict[str, Any]]:
    """Prints a JSON line per data set and a table, which is written to workdir/streams.csv.

    Args:
        workdir: where the data are written, 6 GB in 1.1 million files, in folders that are kept.
        sizes: kind → numbers of examples; `SIZES` if None.
        seconds: for which batches are counted.
    """
    root, rows = pathlib.Path(workdir), []
    for kind, numbers in (sizes or SIZES).items():
        for number in numbers:
            folder = root / f"{kind}_{number}"
            if not folder.exists():
                partial = folder.with_name(f"partial_{folder.name}")
                partial.mkdir(parents=True, exist_ok=True)
                {"rows": write_rows, "images": write_images}[kind](partial, number)
                os.replace(partial, folder)
            request = {"kind": kind, "examples": number, "folder": str(folder), "seconds": seconds}
            found = peak.in_own_process("comparisons.streams", request)
            rows.append({"kind": kind, "examples": number, **found})
            print(json.dumps({"suite": "streams", **rows[-1]}), flush=True)
    path = table.write_csv(root / "streams.csv", COLUMNS, rows)
    print(f"\n{table.text(COLUMNS, rows)}\nTable: {path}")
    return rows


def write_rows(folder: pathlib.Path, number: int) -> None:
    """Writes Parquet files of correlated columns."""
    import pyarrow
    from pyarrow import parquet

    random = np.random.default_rng(0)
    mixing = random.normal(size=(WIDTH, WIDTH))
    for first in range(0, number, FILE):
        values = random.normal(size=(min(FILE, number - first), WIDTH)) @ mixing
        columns = pyarrow.table({f"x{k}": column for k, column in enumerate(values.T)})
        parquet.write_table(columns, folder / f"{first:09}.parquet", row_group_size=GROUP)


def write_images(folder: pathlib.Path, number: int) -> None:
    """Writes PNG files of noise, which don't compress."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    for index in range(number):
        inside = folder / f"{index // FOLDER:05}"
        inside.mkdir(exist_ok=True)
        levels = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        (inside / f"{index:08}.png").write_bytes(tf.io.encode_png(levels).numpy())


def measure(kind: str, examples: int, folder: str, seconds: float) -> dict[str, float]:
    """Memory in MiB and times of a data set, in batches prepared as training does."""
    import tensorflow as tf

    data: Any = importlib.import_module("tf_iresnet.data")
    importlib.import_module("tf_iresnet.training.build")
    before, start = peak.resident("VmRSS"), time.perf_counter()
    door = {"rows": "table", "images": "image_folder"}[kind]
    held = HELD / examples
    dataset = data.load(door, path=folder, stream=True, validation=held, test=held)
    loading, size = time.perf_counter() - start, BATCH[kind]
    batch = dataset.train_batches(size, 0)

    def batches(first: int) -> Any:
        steps = tf.data.Dataset.range(first, 2**40)
        return iter(steps.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2))

    ready = batches(0)
    next(ready)
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        next(ready)
        count += 1
    start = time.perf_counter()
    next(batches(int(2.5 * dataset.training_size / size)))
    resumed = time.perf_counter() - start
    return {
        "before": before / 2**20,
        "peak": peak.resident("VmHWM") / 2**20,
        "loading": loading,
        "per_second": count * size / passed,
        "resumed": resumed,
    }


if __name__ == "__main__":
    print(json.dumps(measure(**json.load(sys.stdin))), flush=True)
    os._exit(0)  # without waiting for batches that are still being prepared
