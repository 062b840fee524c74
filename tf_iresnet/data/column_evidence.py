"""Which form a column has, by the evidence of its training rows."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_iresnet.data.columns import ColumnForm

# An atom: a value that at least so many cells hold, and so many times as many as others near it.
_ATOM_SHARE, _ATOM_CELLS, _ATOM_FACTOR, _MOST_ATOMS = 0.02, 5, 10.0, 8
# Errors: at most this share of the cells, so many times as far out as the farthest of the others.
_ERROR_SHARE, _ERROR_DISTANCE, _CODE_DISTANCE = 0.05, 100.0, 5.0
_MAJORITY = 0.4  # of the cells: a value of so many is not what others are compared with
_FEWEST_ROWS = 20  # below, nothing is called an error
_CODES = (32767, 32768, 65535, 2147483647, 2147483648, 1e10, 1e20, 1e30)  # beside 99, 999, …
_MOST_DECIMALS = 9
_TOLERANCE = 1e-12  # of steps, relative to the largest value: what sums of decimals are off by
_MOST_MULTIPLES = 1e4  # of a step that isn't a decimal
_CELLS_PER_LEVEL = 4  # on average, where a column has few values and no step
_NEXT_CELLS = 6.0  # how many cells would hold the next step beyond a bound, as the counts go
_STEPS_AT_BOUND = 3  # by whose counts they go
_FEW_STEPS, _CELLS_PER_STEP, _SHARE_AT_END = 10, 10, 0.02
_BOUNDS = (0.0, -1.0, -100.0)  # below; above 0, 1 and 100: of shares and percentages
_NEAR_BOUND = 0.05  # how near the values come to one other than 0, by the mean's distance


class Forms(NamedTuple):
    """Forms of columns, and what a reader should know about them, a sentence each."""

    forms: tuple[ColumnForm, ...]
    notes: tuple[str, ...]


def find_forms(
    train: np.ndarray,
    columns: Sequence[str],
    categories: Mapping[str, Sequence[str]] = {},
    keep: bool = False,
) -> Forms:
    """Returns the form of each column of the training rows `[n, d]`.

    Args:
        columns: their names.
        categories: texts by code of those that hold categories.
        keep: whether cells that are errors stay: then they are named, and still don't decide on
            steps, atoms and bounds.
    """
    forms, notes = [], []
    for name, x in zip(columns, train.T, strict=True):
        if name in categories:
            forms.append(ColumnForm.of_categories(name, categories[name]))
            continue
        form, found = find_form(name, x, keep)
        forms.append(form)
        notes += found
    return Forms(tuple(forms), tuple(notes))


def plain_forms(forms: Sequence[ColumnForm]) -> tuple[ColumnForm, ...]:
    """The forms with all numbers continuous and without bounds; categories stay what they are."""
    return tuple(f if f.texts else ColumnForm(f.name, usual=f.usual) for f in forms)


def find_form(name: str, x: np.ndarray, keep: bool = False) -> tuple[ColumnForm, list[str]]:
    """Returns the form of a column of numbers `[n]`, and sentences about it."""
    values, counts = np.unique(np.asarray(x, np.float64), return_counts=True)
    form = ColumnForm(name, usual=_usual(values, counts))
    inside = form.is_usual(values)
    notes = _notes_on_errors(name, values[~inside], counts[~inside], values[inside], keep)
    values, counts = values[inside], counts[inside]
    if keep:
        form = dataclasses.replace(form, usual=(None, None))
    if not np.abs(values).max() <= np.finfo(np.float32).max:
        return form, notes  # `Table.check_scale` refuses the column
    form = dataclasses.replace(form, **_steps(values, counts))
    if form.levels:
        return form, notes
    atoms, width = _atoms(values, counts, form.step)
    others = ~np.isin(values, atoms)
    low, high = _bounds(values, counts, form.step, atoms)
    known: dict[str, Any] = {"low": low, "high": high}
    if len(atoms):
        known |= {"atoms": tuple(atoms.tolist()), "atom_width": width}
    form = dataclasses.replace(form, **known)
    for atom in atoms:
        rest = values[others]
        apart = max(rest[0] - atom, atom - rest[-1])
        if _is_code(atom) and apart > _CODE_DISTANCE * np.ptp(rest):
            share = counts[values == atom][0] / counts.sum()
            notes.append(
                f"Column {name!r}: {share:.0%} of the training cells are {atom:g}, far from all "
                "others, as if it stood for missing ones. It is modelled as a value of its own."
            )
    return form, notes


# -- cells that don't belong ----------------------------------------------------------------------


def _usual(values: np.ndarray, counts: np.ndarray) -> tuple[float | None, float | None]:
    """The interval that errors lie outside of; `values` are unique and increasing."""
    low = _cut(-values[::-1], counts[::-1])
    return None if low is None else -low, _cut(values, counts)


def _cut(values: np.ndarray, counts: np.ndarray) -> float | None:
    """The number above which values are errors; None if none are.

    Errors are few, and many times as far from the median as the farthest of all others, or, if all
    of them are numbers that codes for missing values are, some times.
    """
    n = counts.sum()
    others = counts < _MAJORITY * n  # of many zeros and some numbers, the numbers
    if n < _FEWEST_ROWS or counts[others].sum() < _FEWEST_ROWS / 2:
        return None
    quarter, center, rest = np.quantile(
        np.repeat(values[others], counts[others]), [0.25, 0.5, 0.75]
    )
    above = np.cumsum(counts[::-1])[::-1]  # cells at each value and above
    cut = None
    for i in range(len(values) - 1, 0, -1):
        if above[i] > max(1, _ERROR_SHARE * n):
            break
        reach = max(values[i - 1] - center, (rest - quarter) / 2)
        gap = values[i] - values[i - 1]
        far = gap > _ERROR_DISTANCE * reach
        code = gap > _CODE_DISTANCE * reach and all(map(_is_code, values[i:]))
        if reach > 0 and (far or code):
            cut = float(values[i - 1] + gap / 2)
    return cut


def _is_code(value: float) -> bool:
    """Whether a number is one that often stands for a missing value."""
    size = abs(value)
    nines = size >= 99 and size == math.floor(size) and set(str(int(size))) == {"9"}
    return nines or size in _CODES


def _notes_on_errors(
    name: str, values: np.ndarray, counts: np.ndarray, others: np.ndarray, keep: bool
) -> list[str]:
    if not len(values):
        return []
    shown = ", ".join(f"{v:g}" for v in values[:3]) + (", …" if len(values) > 3 else "")
    total = int(counts.sum())
    cells = "a training cell is" if total == 1 else f"{total} training cells are"
    done = (
        "They are kept."
        if keep
        else (
            "Rows that hold such a cell are left out of all parts; data.outliers=keep keeps them."
        )
    )
    return [
        f"Column {name!r}: {cells} {shown}, while all others lie between {others[0]:g} and "
        f"{others[-1]:g}. {done}"
    ]


# -- steps ----------------------------------------------------------------------------------------


def _steps(values: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """`step` and `origin` of unique increasing values, or their `levels`, or nothing.

    The step is the largest number that all differences are multiples of, if float32 can hold a
    fraction of it.
    """
    if len(values) < 2:
        return {}
    size = float(np.abs(values).max())
    smallest = 16 * float(np.spacing(np.float32(size)))
    errors = [_TOLERANCE * size]
    if np.all(values == values.astype(np.float32)):
        errors.append(6e-8 * size)  # decimals that were kept in float32
    for error, decimals in itertools.product(errors, range(_MOST_DECIMALS + 1)):
        unit = 10.0**-decimals
        if error > 0.05 * unit or size / unit > 2**53:
            continue
        multiples = np.rint(values / unit)
        if np.all(np.abs(values - multiples * unit) <= error + 1e-12 * unit):
            step = round(int(np.gcd.reduce(np.diff(multiples.astype(np.int64)))) * unit, decimals)
            origin = round(float(values[0]), decimals)
            return {"step": step, "origin": origin} if step > smallest else {}
    if np.median(counts) < 2 or counts.sum() < _CELLS_PER_LEVEL * len(values):
        return {}
    # Whole numbers in another unit, as after standardising.
    step = float(np.diff(values).min())
    multiples = (values - values[0]) / step
    near = np.abs(multiples - np.rint(multiples)).max() < 1e-3
    if near and multiples[-1] < _MOST_MULTIPLES and step > smallest:
        exact = float((values[-1] - values[0]) / np.rint(multiples[-1]))
        return {"step": exact, "origin": float(values[0])}
    return {"step": 1.0, "levels": tuple(values.tolist())}


# -- atoms and bounds -----------------------------------------------------------------------------


def _atoms(values: np.ndarray, counts: np.ndarray, step: float) -> tuple[np.ndarray, float]:
    """Values that many cells hold beside others that few hold, and the width of their cells."""
    n = counts.sum()
    candidates = np.flatnonzero((counts >= _ATOM_SHARE * n) & (counts >= _ATOM_CELLS))
    enough = _ATOM_FACTOR * np.median(counts)
    chosen = [i for i in candidates if counts[i] >= enough]
    if step:  # in the middle, popular values are cells like others
        chosen = [i for i in chosen if i in (0, len(values) - 1) or _stands_out(values[i])]
    if not chosen or len(chosen) > _MOST_ATOMS or len(values) - len(chosen) < 2:
        return np.array([]), 0.0
    others = np.ones(len(values), bool)
    others[chosen] = False
    rest = np.repeat(values[others], counts[others])
    width = 10.0 ** round(math.log10(rest.std()))
    return (values[chosen], width) if width > step else (np.array([]), 0.0)


def _stands_out(value: float) -> bool:
    return value == 0 or _is_code(value)


def _bounds(
    values: np.ndarray, counts: np.ndarray, step: float, atoms: np.ndarray
) -> tuple[float | None, float | None]:
    """Lowest and highest possible value, where the evidence is clear."""
    mirrored = _lowest(-values[::-1], counts[::-1], step, -atoms)
    return _lowest(values, counts, step, atoms), None if mirrored is None else 0.0 - mirrored


def _lowest(values: np.ndarray, counts: np.ndarray, step: float, atoms: np.ndarray) -> float | None:
    """A bound below: an atom at the lowest value, the lowest of some steps, or 0, −1 or −100."""
    n, first = float(counts.sum()), float(values[0])
    if len(atoms) and first == np.min(atoms):
        return first
    if step and _ends_at_once(values, counts, step):
        return first
    # A normal distribution of the same moments would have had at least a row below the bound.
    mean = float(np.average(values, weights=counts))
    deviation = math.sqrt(np.average((values - mean) ** 2, weights=counts)) or 1.0
    skew = float(np.average(((values - mean) / deviation) ** 3, weights=counts))
    for bound in (b for b in _BOUNDS if b <= first):
        below = n * 0.5 * math.erfc((mean - bound) / deviation / math.sqrt(2))
        reached = first - bound <= _NEAR_BOUND * (mean - bound)
        if (bound == 0 and (below >= 1 or skew > 1)) or (reached and below >= 1):
            return bound
    return None


def _ends_at_once(values: np.ndarray, counts: np.ndarray, step: float) -> bool:
    """Whether cells would have held the step below the lowest one, if there were such a value.

    That is, by the counts: as many as the lowest one, or fewer by as much as it has fewer than the
    next three have on average. Of a few steps, all well filled, the lowest is the end.
    """
    first = counts[0]
    filled = np.ptp(values) < (_FEW_STEPS - 0.5) * step and counts.sum() >= _CELLS_PER_STEP * len(
        values
    )
    if filled and first >= max(3, _SHARE_AT_END * counts.sum()):
        return True
    near = (values > values[0]) & (values < values[0] + (_STEPS_AT_BOUND + 0.5) * step)
    following = max(counts[near].sum() / _STEPS_AT_BOUND, first)
    return bool(first**2 / following >= _NEXT_CELLS)
