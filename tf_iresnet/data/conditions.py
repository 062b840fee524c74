"""Columns that a density is given: numbers in standard units, categories one by one."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class ConditionColumn:
    """How the values of a column become entries of a condition.

    Args:
        name: of the column.
        mean, deviation: of a column of numbers in the training rows.
        texts: of the categories 0, 1, …; empty for numbers.
    """

    name: str
    mean: float = 0.0
    deviation: float = 1.0
    texts: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self.texts) or 1

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Entries [n, size] of values [n]: standardised, or 1 for the category and 0 for others."""
        if self.texts:
            return np.eye(self.size)[values.astype(int)]
        return ((values - self.mean) / self.deviation)[:, None]

    @classmethod
    def from_dict(cls, arguments: Mapping[str, Any]) -> "ConditionColumn":
        """The column of the arguments that `dataclasses.asdict` gave, as JSON reads them back."""
        return cls(**{**arguments, "texts": tuple(arguments["texts"])})


def fit_condition(
    names: Sequence[str], categories: Mapping[str, tuple[str, ...]], train: np.ndarray
) -> tuple[ConditionColumn, ...]:
    """Returns the columns with the moments of training rows [n, k]."""
    return tuple(
        ConditionColumn(name, texts=categories[name])
        if name in categories
        else ConditionColumn(name, float(x.mean()), float(x.std()))
        for name, x in zip(names, train.T, strict=True)
    )


def encode_condition(columns: Sequence[ConditionColumn], values: np.ndarray) -> np.ndarray:
    """Returns conditions, float32 [n, total size], of values [n, k]."""
    parts = [column.encode(x) for column, x in zip(columns, values.T, strict=True)]
    return np.concatenate(parts, axis=1).astype(np.float32)
