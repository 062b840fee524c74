"""The tables of the comparison of densities: real ones that packages ship, and two simulators."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from comparisons.datasets import from_r

SIMULATED_ROWS = 20_000
FEW_ROWS = 2500  # below it a comparison is repeated
REPEATS = 5


class Source(NamedTuple):
    """A table, and the density that it was drawn from, if that is known.

    Args:
        columns: their names.
        rows: makes the rows, `[n, columns]`, the same at every call.
        log_prob: the true log-density, `[n, columns]` → `[n]`, nats.
        entropy: that of the true density, nats.
    """

    columns: Sequence[str]
    rows: Callable[[], np.ndarray]
    log_prob: Callable[[np.ndarray], np.ndarray] | None = None
    entropy: float | None = None


def repeats(rows: int) -> int:
    """How many random splits a table of so many rows is compared on."""
    return REPEATS if rows < FEW_ROWS else 1


def fill_steps(values: np.ndarray, steps: Sequence[float] | np.ndarray) -> np.ndarray:
    """Returns the rows without gaps, `[n, d]`, with noise that fills the steps of each column.

    Without it a density could grow without bound on values that recur.

    Args:
        values: `[n, d]`; rows with a missing cell are left out.
        steps: distance between neighbouring values of each column; 0 for none.
    """
    values = values[~np.isnan(values).any(axis=1)]
    return values + np.asarray(steps) * np.random.default_rng(0).uniform(size=values.shape)


def significant_steps(values: np.ndarray, digits: int = 4) -> np.ndarray:
    """Returns the step, `[d]`, of columns `[n, d]` whose median has so many significant digits."""
    size = np.floor(np.log10(np.median(np.abs(values), axis=0)))
    return 10.0 ** (size + 1 - digits)


def _from_r(package: str, item: str, steps: dict[str, float]) -> Source:
    return Source(
        tuple(steps), lambda: fill_steps(from_r(package, item, list(steps)), [*steps.values()])
    )


def _diamonds(steps: dict[str, float]) -> Source:
    def rows() -> np.ndarray:
        values = from_r("ggplot2", "diamonds", list(steps))
        # A zero length is a measurement that is missing.
        return fill_steps(values[(values > 0).all(axis=1)], [*steps.values()])

    return Source(tuple(steps), rows)


def _wine() -> np.ndarray:
    from sklearn.datasets import load_wine

    steps = [0.01] * 13
    steps[3], steps[4], steps[12] = 0.1, 1.0, 1.0  # alcalinity, magnesium, proline
    return fill_steps(load_wine().data, steps)


def _cancer() -> np.ndarray:
    from sklearn.datasets import load_breast_cancer

    values = load_breast_cancer().data
    return fill_steps(values, significant_steps(values))


# A chain of 8 variables. The first is standard normal, and each of the others is normal given those
# before it: about a wave of the one before and half of the second before, with a deviation that the
# first variable sets. As that one is symmetric, the mean logarithm of the deviation is that of
# CHAIN_NOISE, and the entropy is a closed form.
CHAIN_SIZE = 8
CHAIN_NOISE = 0.4


def _chain_moments(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log-deviation `[n]` of variable `k` > 0, given those before it, `[n, k]`."""
    mean = 1.5 * np.sin(2 * x[:, k - 1]) + (0.5 * x[:, k - 2] if k > 1 else 0)
    return mean, math.log(CHAIN_NOISE) + 0.8 * np.sin(x[:, 0])


def chain(rows: int = SIMULATED_ROWS) -> np.ndarray:
    """Returns samples of the chain, `[rows, 8]`."""
    x = np.random.default_rng(0).standard_normal((rows, CHAIN_SIZE))
    for k in range(1, CHAIN_SIZE):
        mean, log_deviation = _chain_moments(x, k)
        x[:, k] = mean + np.exp(log_deviation) * x[:, k]
    return x


def chain_log_prob(x: np.ndarray) -> np.ndarray:
    """Returns the log-density of `chain`, nats `[n]`, of points `[n, 8]`."""
    x = np.asarray(x, np.float64)
    total = -0.5 * (x[:, 0] ** 2 + CHAIN_SIZE * math.log(2 * math.pi))
    for k in range(1, CHAIN_SIZE):
        mean, log_deviation = _chain_moments(x, k)
        total -= 0.5 * ((x[:, k] - mean) * np.exp(-log_deviation)) ** 2 + log_deviation
    return total


CHAIN_ENTROPY = CHAIN_SIZE / 2 * math.log(2 * math.pi * math.e) + (CHAIN_SIZE - 1) * math.log(
    CHAIN_NOISE
)

# Heavy tails on a curved surface: a Student-t vector of 5 entries, each of which is shifted by the
# logarithm of the one before. The shift leaves volumes, and with them the entropy, as they are.
TAILS_SIZE = 5
TAILS_FREEDOM = 3


def tails(rows: int = SIMULATED_ROWS) -> np.ndarray:
    """Returns samples with heavy tails, `[rows, 5]`."""
    random = np.random.default_rng(0)
    x = random.standard_normal((rows, TAILS_SIZE))
    x /= np.sqrt(random.chisquare(TAILS_FREEDOM, (rows, 1)) / TAILS_FREEDOM)
    for k in range(1, TAILS_SIZE):
        x[:, k] += _shift(x[:, k - 1])
    return x


def _shift(x: np.ndarray) -> np.ndarray:
    return 2 * np.log1p(x**2)


def tails_log_prob(x: np.ndarray) -> np.ndarray:
    """Returns the log-density of `tails`, nats `[n]`, of points `[n, 5]`."""
    x = np.asarray(x, np.float64)
    squares = x[:, 0] ** 2 + ((x[:, 1:] - _shift(x[:, :-1])) ** 2).sum(axis=1)
    power = (TAILS_FREEDOM + TAILS_SIZE) / 2
    return _tails_constant() - power * np.log1p(squares / TAILS_FREEDOM)


def _tails_constant() -> float:
    half = TAILS_FREEDOM / 2
    scale = TAILS_SIZE / 2 * math.log(TAILS_FREEDOM * math.pi)
    return math.lgamma(half + TAILS_SIZE / 2) - math.lgamma(half) - scale


def _tails_entropy() -> float:
    """By E ln(1 + t²/ν) = ψ((ν + d)/2) − ψ(ν/2), here of ν = 3 and d = 5: ψ(4) and ψ(3/2)."""
    difference = (1 + 1 / 2 + 1 / 3) - (2 - 2 * math.log(2))  # Euler's constant cancels
    return (TAILS_FREEDOM + TAILS_SIZE) / 2 * difference - _tails_constant()


# From few rows to many; the simulators last.
SOURCES = {
    "wine": Source(tuple(f"x{k}" for k in range(13)), _wine),
    "penguins": _from_r(
        "palmerpenguins",
        "penguins",
        {
            "bill_length_mm": 0.1,
            "bill_depth_mm": 0.1,
            "flipper_length_mm": 1.0,
            "body_mass_g": 25.0,
        },
    ),
    "cancer": Source(tuple(f"x{k}" for k in range(30)), _cancer),
    "forbes": _from_r(
        "HSAUR",
        "Forbes2000",
        {"sales": 0.01, "profits": 0.01, "assets": 0.01, "marketvalue": 0.01},
    ),
    "rain": _from_r(  # a quarter of the first column is exactly 0
        "crch", "RainIbk", {"rain": 0.1} | {f"rainfc.{k}": 0.01 for k in range(1, 12)}
    ),
    "nox": _from_r("robustbase", "NOxEmissions", {"LNOx": 0.0, "LNOxEm": 0.0, "sqrtWS": 0.0}),
    "weather": _from_r(  # one wind speed of 1048 miles an hour
        "nycflights13",
        "weather",
        {"temp": 1.0, "dewp": 1.0, "wind_dir": 10.0, "wind_speed": 1.15078, "pressure": 0.1},
    ),
    "diamonds": _diamonds(
        {
            "carat": 0.01,
            "depth": 0.1,
            "table": 0.1,
            "price": 1.0,
            "x": 0.01,
            "y": 0.01,
            "z": 0.01,
        }
    ),
    "chain": Source(
        tuple(f"x{k}" for k in range(CHAIN_SIZE)), chain, chain_log_prob, CHAIN_ENTROPY
    ),
    "tails": Source(
        tuple(f"x{k}" for k in range(TAILS_SIZE)), tails, tails_log_prob, _tails_entropy()
    ),
}
