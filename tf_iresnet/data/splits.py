"""Random splits into training, validation and test rows; the same seed gives the same split."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """Three arrays [n, …], one for each part of a data set: row numbers, rows or labels."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> "Split":
        """Returns the split of `function` of each part."""
        return Split(*map(function, self))

    def select(self, values: np.ndarray) -> "Split":
        """Returns the rows of `values` [n, …] whose numbers this split holds."""
        return self.map(lambda rows: values[rows])


def random_parts(rows: int, sizes: Sequence[int], seed: int = 0) -> list[np.ndarray]:
    """Returns disjoint random sets of row numbers: one of each size, and one of all other rows.

    They are consecutive parts of NumPy's `RandomState(seed)` permutation, so that a smaller first
    part is contained in a larger one. That generator's stream is frozen for good (NEP 19), unlike
    that of `numpy.random.Generator`.

    Args:
        rows: number of rows to split.
        sizes: numbers of rows in the parts.
        seed: below 2³².
    """
    order = np.random.RandomState(seed).permutation(rows)
    return np.split(order, np.cumsum(sizes, dtype=int))


def split_by_fractions(
    rows: int, validation: float, test: float, seed: int, fewest: int = 0
) -> Split:
    """Returns the row numbers of a random split into given fractions.

    Args:
        rows: number of rows to split.
        validation, test: fractions in (0, 1), rounded down to whole rows; training gets the rest.
        seed: below 2³².
        fewest: least number of rows in validation and in test.

    Raises:
        ValueError: for fractions that aren't positive or leave nothing to train on.
    """
    if not (validation > 0 and test > 0 and validation + test < 1):
        raise ValueError(
            "Expected validation and test to be positive fractions with a sum below 1. "
            f"Received: validation={validation}, test={test}."
        )
    sizes = [max(fewest, int(rows * fraction)) for fraction in (validation, test)]
    held_out, tested, train = random_parts(rows, sizes, seed)
    return Split(train, held_out, tested)
