"""Damaged files end in one line that names the file, whatever was damaged, and soon."""

import functools
import io
import pathlib

import numpy as np
import pandas as pd
import pytest
from support.mutations import mutate, mutate_members, read_all

from tf_iresnet.data.tables import load_table

FOLDER = pathlib.Path(__file__).parent / "awkward"
MUTATIONS = 2500  # of each kind of file


def frame():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=[2, 12]).round(3)
    days = pd.date_range("2024-01-01", periods=12)
    return pd.DataFrame({"a": a, "n": [3, None] * 6, "sex": list("FM") * 6, "day": days, "b": b})


def seeds(kind):
    """Whole files to be damaged."""
    table = frame()
    buffer = io.BytesIO()
    if kind == "csv":
        return [path.read_bytes() for path in sorted(FOLDER.glob("*.csv"))]
    if kind == "npy":
        np.save(buffer, table[["a", "b"]].to_numpy())
    elif kind == "npz":
        np.savez(buffer, table=table[["a", "b"]].to_numpy(), other=np.arange(3))
        compressed = io.BytesIO()
        np.savez_compressed(compressed, table=np.zeros([100, 3]))
        return [buffer.getvalue(), compressed.getvalue()]
    elif kind == "parquet":
        table.to_parquet(buffer)
        plain = io.BytesIO()
        table[["a", "sex"]].to_parquet(plain, compression=None)
        return [buffer.getvalue(), plain.getvalue()]
    else:
        table.to_excel(buffer, index=False)
        return [buffer.getvalue()]
    return [buffer.getvalue()]


KINDS = {"csv": 2500, "npy": 2500, "npz": 2500, "parquet": 2500, "xlsx": 2500}  # mutations


@pytest.mark.parametrize(
    ("kind", "count"),
    [("csv", 20), *(pytest.param(*item, marks=pytest.mark.slow) for item in KINDS.items())],
)
def test_damaged_files_end_in_one_line(tmp_path, kind, count, capsys):
    rng, path = np.random.default_rng(0), tmp_path / f"table.{kind}"
    options = [{}, {"missing": "drop"}, {"missing": "impute"}, {"like": load_like()}]
    whole = seeds(kind)

    def mutations():
        for k in range(count):
            inside = kind in ("npz", "xlsx") and k % 2
            yield (mutate_members if inside else mutate)(whole[k % len(whole)], rng)

    def read(content):
        path.write_bytes(content)
        table = load_table(path, **options[rng.integers(len(options))])
        assert np.isfinite(table.values).all()

    with capsys.disabled():
        assert read_all(kind, mutations(), read, named=str(path)) > 0.1


@functools.cache
def load_like():
    return load_table(FOLDER / "title.csv")
