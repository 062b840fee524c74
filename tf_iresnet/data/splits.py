"""Random splits into training, validation and test rows; the same seed gives the same split."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """An array [n, …] for each part of a data set: row numbers, rows or labels."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> "Split":
        """Returns `function` of each part."""
        return Split(*map(function, self))

    def select(self, values: np.ndarray) -> "Split":
        """Returns the rows of `values` [n, …] whose numbers this split holds."""
        return self.map(lambda rows: values[rows])


def random_parts(rows: int, sizes: Sequence[int], seed: int = 0) -> list[np.ndarray]:
    """Returns disjoint random sets of row numbers: one of each size, and one of all other rows.

    They are consecutive parts of NumPy's `RandomState(seed)` permutation, `seed` below 2³², so that
    a smaller first part is contained in a larger one. That generator's stream is frozen for good
    (NEP 19), unlike that of `numpy.random.Generator`.
    """
    order = np.random.RandomState(seed).permutation(rows)
    return np.split(order, np.cumsum(sizes, dtype=int))


def random_split(rows: int, validation: float, test: float, seed: int, fewest: int = 0) -> Split:
    """Returns a random split of the numbers of `rows` rows; `seed` is below 2³².

    The fractions `validation` and `test` are rounded down to whole rows, but not below `fewest`;
    training gets the rest.

    Raises:
        ValueError: for fractions that aren't positive or leave nothing to train on.
    """
    if not (validation > 0 and test > 0 and validation + test < 1):
        expected = "validation and test to be positive fractions with a sum below 1"
        raise ValueError(f"Expected {expected}. Received: validation={validation}, test={test}.")
    sizes = [max(fewest, int(rows * fraction)) for fraction in (validation, test)]
    held_out, tested, train = random_parts(rows, sizes, seed)
    return Split(train, held_out, tested)
