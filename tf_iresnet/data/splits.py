"""Random splits into training, validation and test rows; the same seed gives the same split."""

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np

_SEEDS = range(2**32)
SplitSeed: TypeAlias = Annotated[int, _SEEDS]


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
    check_seed(seed)
    order = np.random.RandomState(seed).permutation(rows)
    return np.split(order, np.cumsum(sizes, dtype=int))


def random_split(
    rows: int,
    validation: float,
    test: float,
    seed: int,
    fewest: int = 0,
    groups: np.ndarray | None = None,
) -> Split:
    """Returns a random split of the numbers of `rows` rows; `seed` is 0 to 2³² − 1.

    The fractions `validation` and `test` are rounded down to whole rows, but not below `fewest`;
    training gets the rest. A test fraction of 0 leaves that part empty.

    Args:
        groups: int [rows]; rows of one group stay in one part, whose sizes are then met as nearly
            as whole groups allow.

    Raises:
        ValueError: for a seed or fractions that are out of range, or leave nothing to train on.
    """
    sizes = _sizes(rows, validation, test, fewest)
    if groups is None:
        held_out, tested, train = random_parts(rows, sizes, seed)
    else:
        (order,) = random_parts(int(groups.max()) + 1, [], seed)
        held_out, tested, train = _whole_groups(groups, order, sizes, fewest)
    return Split(train, held_out, tested)


def ordered_split(order: np.ndarray, validation: float, test: float, fewest: int = 0) -> Split:
    """Returns a split by rank: the rows with the highest `order` [n] are the test part.

    Those before them are the validation part, all others the training part. Rows of equal rank stay
    in one part.
    """
    sizes = _sizes(len(order), validation, test, fewest)
    ranks = np.unique(order, return_inverse=True)[1]
    last_first = np.arange(int(ranks.max()) + 1)[::-1]
    tested, held_out, train = _whole_groups(ranks, last_first, sizes[::-1], fewest)
    return Split(train, held_out, tested)


def _sizes(rows: int, validation: float, test: float, fewest: int) -> list[int]:
    """Rows of the validation and the test part."""
    check_fractions(validation, test)
    return [max(fewest, int(rows * fraction)) if fraction else 0 for fraction in (validation, test)]


def check_seed(seed: int) -> None:
    """Raises a ValueError for a seed that no split has."""
    if seed not in _SEEDS:
        expected = f"Expected split_seed to be a whole number from 0 to {_SEEDS.stop - 1}."
        raise ValueError(f"{expected} Received: split_seed={seed}.")


def check_fractions(validation: float, test: float) -> None:
    """Raises a ValueError for fractions that are out of range or leave nothing to train on."""
    if not (validation > 0 and test >= 0 and validation + test < 1):
        expected = "validation and test to be fractions with a sum below 1, validation above 0"
        raise ValueError(f"Expected {expected}. Received: validation={validation}, test={test}.")


def _whole_groups(
    groups: np.ndarray, order: np.ndarray, sizes: Sequence[int], fewest: int
) -> list[np.ndarray]:
    """Consecutive parts of the groups in this order: one for each size, and one of the rest."""
    rows_until = np.cumsum(np.bincount(groups, minlength=len(order))[order])
    ends, done = [], 0
    for size in sizes:
        if size:
            at_least = int(np.searchsorted(rows_until, done + max(fewest, 1))) + 1
            end = max(int(np.searchsorted(rows_until, done + size, side="right")), at_least)
            done = int(rows_until[min(end, len(order)) - 1])
        ends.append(done)
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    return np.split(np.argsort(rank[groups], kind="stable"), ends)
