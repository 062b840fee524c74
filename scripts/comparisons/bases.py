"""Bases beside one another where they differ: heavy tails, and separate modes.

python scripts/compare.py --table=bases --workdir=runs/compare_bases
"""

import os
import pathlib
from collections.abc import Callable

import keras
import numpy as np

import tf_iresnet as tfi
from comparisons import table

COLUMNS = (
    table.Column("data", "{data}", ("data",)),
    table.Column("base", "{base}", ("base",)),
    table.Column("test nats", "{nats:.3f}", ("nats",)),
    table.Column("± of the difference", "{error:.3f}", ("error",)),
    table.Column("after training", "{learned}", ("learned",)),
)


def tails(random: np.random.Generator, num: int) -> np.ndarray:
    """Two Student-t numbers of 2 degrees of freedom, the second bent by the first."""
    x = random.standard_t(2.0, size=(num, 2))
    x[:, 1] += np.sin(x[:, 0])
    return x.astype("float32")


def modes(random: np.random.Generator, num: int) -> np.ndarray:
    """Two normals of scale ½, 8 apart."""
    centers = random.choice([-4.0, 4.0], size=(num, 1)) * [1.0, 0.0]
    return (centers + 0.5 * random.normal(size=(num, 2))).astype("float32")


CASES: dict[str, tuple[Callable[..., np.ndarray], tuple[str, ...]]] = {
    "tails": (tails, ("learned_normal", "learned_student_t")),
    "modes": (modes, ("learned_normal", "mixture")),
}


def fitted(x: np.ndarray, base: str, epochs: int) -> tfi.ResidualFlow:
    """A small flow trained on `x` `[n, 2]`."""
    flow = tfi.mlp_flow(2, 4, (32, 32), base=base, log_det="exact", activation="sine", seed=0)
    flow.compile(optimizer=keras.optimizers.Adam(5e-3))
    flow.fit(x, batch_size=250, epochs=epochs, verbose=0)
    return flow


def rows(num: int = 2000, epochs: int = 40) -> list[table.Row]:
    """Mean negative log-density of 10,000 test examples, and the error of its difference to the
    first base's, which is smaller than that of either."""
    found: list[table.Row] = []
    for data, (draw, names) in CASES.items():
        random = np.random.default_rng(0)
        x, test = draw(random, num), draw(random, 10_000)
        first = None
        for name in names:
            flow = fitted(x, name, epochs)
            nats = -np.asarray(flow.log_prob(test), np.float64)
            first = nats if first is None else first
            error = (nats - first).std() / np.sqrt(len(nats))
            row = {"data": data, "base": name, "nats": nats.mean(), "error": error}
            found.append(row | {"learned": flow.base.describe()})
    return found


def compare(workdir: str | os.PathLike[str]) -> None:
    """Trains all, prints the table and writes it to `workdir`."""
    path = pathlib.Path(workdir)
    path.mkdir(parents=True, exist_ok=True)
    found = rows()
    table.write_csv(path / "bases.csv", COLUMNS, found)
    print(table.text(COLUMNS, found))
