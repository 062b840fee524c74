"""Rows and columns that occur more than once."""

from collections.abc import Sequence

import numpy as np

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def group_rows(columns: Sequence[np.ndarray]) -> np.ndarray | None:
    """Returns the number of the group of equal rows that each row is in, int [n]; None if none are.

    Rows count as equal if a hash of 64 bits is: 10⁷ rows are told apart with probability 1 − 3e-6.

    Args:
        columns: float64 [n] each.
    """
    hashes = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        hashes = _mix(hashes * _MULTIPLIER + _mix((column + 0.0).view(np.uint64)))
    ordered = np.sort(hashes)
    if not (ordered[1:] == ordered[:-1]).any():
        return None
    return np.unique(hashes, return_inverse=True)[1]


def equal_columns(columns: Sequence[np.ndarray]) -> dict[int, int]:
    """Returns, for each column that repeats an earlier one, that one's position."""
    seen = dict[bytes, list[int]]()
    repeats = {}
    for j, column in enumerate(columns):
        earlier = seen.setdefault(column[:1000].tobytes(), [])
        match = next((k for k in earlier if np.array_equal(columns[k], column)), None)
        if match is None:
            earlier.append(j)
        else:
            repeats[j] = match
    return repeats


def _mix(bits: np.ndarray) -> np.ndarray:
    """Spreads every bit over all others: the last steps of the generator SplitMix64."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
