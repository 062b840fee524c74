"""The form of a table's column, and its values as points of a line that has a density.

A density of a column's values has to say what it is a density of. Here, as long as a column is
continuous, of the values themselves. Values at steps of 0.5 are cells of width 0.5 about them,
filled with uniform noise; categories are cells of width 1. A value that many cells of an otherwise
continuous column hold, an atom such as the 0 of rain, gets a cell of its own that is inserted into
the line: greater values move up by its width. That is the power of ten next to the deviation of the
others, and not 1, so that the density means the same in every unit: in metres rather than
millimetres the log-density of every row changes by ln 1000, that of an atom's rows too. Where it is
1, the measure is the usual one of mixed variables, lengths and a count.

With the noise, the mean log-density is at most `ln (P(value)/width)`, see `dequantization`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_MOST_DECIMALS = 15  # of values that are taken back to their step
_FEW_CELLS = 32  # whose shares a density can learn one by one
_SHOWN = 8  # categories


@dataclasses.dataclass(frozen=True)
class ColumnForm:
    """What is known of a column: its steps, bounds, atoms and categories.

    Args:
        name: of the column.
        step: distance of neighbouring values; 0 where the column is continuous.
        origin: any value at a step.
        low, high: lowest and highest possible value, None where there is no bound.
        atoms: values with cells of their own, increasing.
        atom_width: of these cells.
        levels: the values of a column that has few, at no regular step: cells of width 1 each.
        texts: of the categories 0, 1, …; empty for numbers.
        usual: the interval outside of which cells are errors, or of another kind than the rest;
            None where it has no end.
    """

    name: str
    step: float = 0.0
    origin: float = 0.0
    low: float | None = None
    high: float | None = None
    atoms: tuple[float, ...] = ()
    atom_width: float = 0.0
    levels: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()
    usual: tuple[float | None, float | None] = (None, None)

    @property
    def kind(self) -> str:
        """ "category", "steps" or "continuous"."""
        if self.texts:
            return "category"
        return "steps" if self.step else "continuous"

    @classmethod
    def of_categories(cls, name: str, texts: Sequence[str]) -> "ColumnForm":
        """The form of the codes of categories."""
        return cls(name, step=1.0, low=0.0, high=len(texts) - 1.0, texts=tuple(texts))

    def encode(self, values: Any) -> np.ndarray:
        """Lower ends of the cells of values `[n]`, float64; of continuous ones, the values."""
        values = np.asarray(values, np.float64)
        if self.levels:
            values = np.interp(values, self.levels, np.arange(len(self.levels)))
        return values - self.step / 2 + np.searchsorted(self.atoms, values) * self._inserted

    def widths(self, values: Any) -> np.ndarray:
        """Widths of the cells of values `[n]`, float64; 0 of continuous ones."""
        return np.where(np.isin(values, self.atoms), self.atom_width, self.step)

    def decode(self, encoded: Any) -> np.ndarray:
        """The values `[n]`, float64, whose cells the points are in; none is beyond a bound."""
        x = np.asarray(encoded, np.float64)
        if self.levels:
            known = np.where(np.isnan(x), 0, np.rint(x).clip(0, len(self.levels) - 1))
            return np.where(np.isnan(x), np.nan, np.asarray(self.levels)[known.astype(int)])
        starts = self.encode(self.atoms)
        place = np.searchsorted(starts, x, side="right")  # 0 below the first atom
        in_atom = x < np.append(-np.inf, starts + self.atom_width)[place]
        values = np.where(in_atom, np.append(np.nan, self.atoms)[place], x - place * self._inserted)
        if self.step:
            steps = np.rint((values - self.origin) / self.step)
            values = np.round(self.origin + steps * self.step, self._decimals) + 0.0  # not −0
        if self.low is not None:
            values = np.maximum(values, self.low)
        return values if self.high is None else np.minimum(values, self.high)

    @property
    def _decimals(self) -> int:
        """How many decimals the values have; more than that is rounding of sums."""
        numbers = self.step, self.origin
        exact = (n for n in range(_MOST_DECIMALS) if all(round(x, n) == x for x in numbers))
        return next(exact, _MOST_DECIMALS)

    @property
    def _inserted(self) -> float:
        """How far an atom's cell moves greater values up."""
        return self.atom_width - self.step if self.atoms else 0.0

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return self.step > 0 and self.step % 1 == 0 and self.origin % 1 == 0

    @property
    def support(self) -> tuple[float | None, float | None]:
        """Ends of the encoded values, None where there is no bound; those at a bound left out."""
        if self.levels:
            return -0.5, len(self.levels) - 0.5
        low = high = None
        if self.low is not None:
            low = float(self.encode(self.low))
            low += self.atom_width if self.low in self.atoms else 0.0
        if self.high is not None:
            high = float(self.encode(self.high))
            high += 0.0 if self.high in self.atoms else self.step
        return low, high

    def edges(self, encoded: np.ndarray) -> tuple[float, ...]:
        """Where the density of encoded values `[n]` jumps: ends of atoms' cells, or of a few."""
        if self.atoms:
            starts = self.encode(self.atoms)
            return tuple(np.unique([starts, starts + self.atom_width]).tolist())
        if not self.step:
            return ()
        ends = np.array([encoded.min(), encoded.max()])
        first, last = np.rint((ends - self.origin) / self.step)
        if last - first >= _FEW_CELLS:
            return ()
        return tuple((self.origin + np.arange(first - 0.5, last + 1) * self.step).tolist())

    def is_usual(self, values: np.ndarray) -> np.ndarray:
        """Whether values `[n]` lie in the `usual` interval, bool."""
        low, high = self.usual
        inside = np.ones(np.shape(values), bool)
        inside &= True if low is None else values >= low
        return inside & (True if high is None else values <= high)

    def texts_of(self, values: np.ndarray) -> np.ndarray:
        """The texts of categories `[n]`; an empty one for NaN."""
        return np.asarray([*self.texts, ""], object)[np.nan_to_num(values, nan=-1).astype(int)]

    def describe(self) -> str:
        """What is known of the column, in a line."""
        if self.texts:
            shown = ", ".join(self.texts[:_SHOWN]) + (", …" if len(self.texts) > _SHOWN else "")
            return f"one of {len(self.texts)} categories: {shown}"
        if self.levels:
            return (
                f"one of {len(self.levels)} values from {self.levels[0]:g} to {self.levels[-1]:g}"
            )
        steps = f"steps of {self.step:g}" if self.step != 1 or not self.whole else "whole numbers"
        parts = [steps if self.step else "continuous"]
        if self.low is not None and self.high is not None:
            parts.append(f"from {self.low:g} to {self.high:g}")
        elif self.low is not None:
            parts.append(f"at least {self.low:g}")
        elif self.high is not None:
            parts.append(f"at most {self.high:g}")
        text = " ".join(parts)
        if self.atoms:
            values = " and ".join(f"{a:g}" for a in self.atoms)
            text += f"; many cells are {values}, as cells of width {self.atom_width:g}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """The arguments, in JSON's types."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, arguments: Mapping[str, Any]) -> "ColumnForm":
        """The form of such arguments. TypeError if one is of another kind."""
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in arguments.items()
        }
        form = cls(**known)
        listed = (form.atoms, form.levels, form.texts, form.usual)
        if any(type(values) is not tuple for values in listed):
            raise TypeError(f"Expected lists for {form.name!r}. Received: {dict(arguments)}.")
        numbers = [form.step, form.origin, form.atom_width, *form.atoms, *form.levels]
        numbers += [bound for bound in (form.low, form.high, *form.usual) if bound is not None]
        if any(type(number) not in (int, float) for number in numbers) or len(form.usual) != 2:
            raise TypeError(f"Expected numbers for {form.name!r}. Received: {dict(arguments)}.")
        if any(type(text) is not str for text in (form.name, *form.texts)):
            raise TypeError(f"Expected texts for {form.name!r}. Received: {dict(arguments)}.")
        return form


Forms = Sequence[ColumnForm]


def encode(forms: Forms, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns lower ends and widths of the cells of a table's values, float64 [n, d]."""
    pairs = [(form.encode(x), form.widths(x)) for form, x in zip(forms, values.T, strict=True)]
    lower, widths = (np.stack(columns, axis=1) for columns in zip(*pairs, strict=True))
    return lower, widths


def decode(forms: Forms, encoded: np.ndarray) -> np.ndarray:
    """Returns the values, float64 [n, d], of encoded rows [n, d]."""
    columns = [form.decode(x) for form, x in zip(forms, encoded.T, strict=True)]
    return np.stack(columns, axis=1)


def usual_rows(forms: Forms, values: np.ndarray) -> np.ndarray:
    """Returns whether all cells of each row are usual, bool [n]."""
    cells = [form.is_usual(x) for form, x in zip(forms, values.T, strict=True)]
    return np.all(cells, axis=0)
