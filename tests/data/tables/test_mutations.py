"""Damaged files end in one line that names the file, whatever was damaged, and soon."""

import functools
import io
import pathlib
import time
import zipfile

import numpy as np
import pandas as pd
import pytest

from tf_iresnet.data.errors import DataError
from tf_iresnet.data.tables import load_table

FOLDER = pathlib.Path(__file__).parent / "awkward"
MUTATIONS = 2500  # of each kind of file
TOKENS = [b'"', b",", b";", b"\n", b"\r", b"\x00", b"\xff", b"\xef\xbb\xbf", b"1e999", b"nan", b"-",
          b"'", b"#", b"\t", b"9" * 30, b"2024-01-01", b"x", b" "]  # fmt: skip


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


def mutate(content, rng):
    """The content with a few bytes flipped, replaced, inserted, removed or repeated."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        place, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 9))
        way = rng.integers(6)
        if way == 0 and data:
            data[place % len(data)] ^= 1 << int(rng.integers(8))
        elif way == 1:
            data[place : place + length] = rng.bytes(length)
        elif way == 2:
            data[place:place] = TOKENS[rng.integers(len(TOKENS))]
        elif way == 3:
            del data[place : place + length * 4]
        elif way == 4:
            data[place:place] = data[place : place + length * 8]
        else:
            data[place : place + 1] = bytes([(0, 1, 127, 128, 255)[rng.integers(5)]])
    return bytes(data[: len(data) - int(rng.integers(len(data) + 1)) * (rng.random() < 0.05)])


def mutate_members(content, rng):
    """A zip archive of which one member is damaged before it is packed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = [name for name in members if "docProps" not in name]
    name = names[rng.integers(len(names))]
    members[name] = mutate(members[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "npy", "npz", "parquet", "xlsx"])
def test_damaged_files_end_in_one_line(tmp_path, kind):
    rng, path = np.random.default_rng(0), tmp_path / f"table.{kind}"
    options = [{}, {"missing": "drop"}, {"missing": "impute"}, {"like": load_like()}]
    whole, refused, slowest = seeds(kind), 0, 0.0
    for k in range(MUTATIONS):
        inside = kind in ("npz", "xlsx") and k % 2
        content = (mutate_members if inside else mutate)(whole[k % len(whole)], rng)
        path.write_bytes(content)
        start = time.process_time()
        try:
            table = load_table(path, **options[rng.integers(len(options))])
        except DataError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            refused += 1
        except Exception as error:
            raise AssertionError(f"{kind} mutation {k}, kept as {path}") from error
        else:
            assert np.isfinite(table.values).all()
        slowest = max(slowest, time.process_time() - start)
    assert refused > MUTATIONS / 10 and slowest < 20, (refused, slowest)


@functools.cache
def load_like():
    return load_table(FOLDER / "title.csv")
