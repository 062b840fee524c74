"""Columns as they stand in a file, gathered chunk by chunk: numbers, texts, dates."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.tables.dates import parse_dates
from tf_iresnet.data.tables.options import Options

CHUNK = 2**20  # cells that are read at a time
MOST_LABELS = 1000  # different texts of a column beyond which they are no categories
TRUTH = {"true": "True", "false": "False"}
_NUMBER = re.compile(
    r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?)", re.IGNORECASE | re.ASCII
)


@dataclasses.dataclass(eq=False)
class Column:
    """One column as it stands in a file.

    Args:
        numbers: float64 [n], NaN where a cell holds no number.
        codes: int32 [n], index into `labels` of a cell that holds text, else −1; None: no text.
        labels: the different texts.
        whole: whether all cells are written as whole numbers.
        dates: formats of dates that read all cells; the numbers are then days since 1970-01-01.
        mixed: texts and numbers, which are to be read again, all as texts.
        odd: what the column holds that can't be used; numbers are empty and codes None then.
        unnamed: whether the file gives it no name, as indices have none.
    """

    name: str
    numbers: np.ndarray
    codes: np.ndarray | None = None
    labels: tuple[str, ...] = ()
    whole: bool = False
    dates: tuple[str, ...] = ()
    mixed: bool = False
    odd: str = ""
    unnamed: bool = False

    def missing(self) -> np.ndarray:
        """Returns whether a cell holds nothing, bool [n]."""
        empty = np.isnan(self.numbers)
        return empty if self.codes is None else empty & (self.codes < 0)

    def is_category(self) -> bool:
        """Whether most of the cells that aren't missing are text."""
        if self.codes is None:
            return False
        texts, numbers = self.codes >= 0, ~np.isnan(self.numbers)
        return bool(np.count_nonzero(texts) > np.count_nonzero(numbers))

    def text(self, i: int) -> str:
        """Returns a cell as text, as far as it is known."""
        if self.codes is not None and self.codes[i] >= 0:
            return self.labels[self.codes[i]]
        number = self.numbers[i]
        if np.isnan(number):
            return ""
        return str(int(number)) if self.whole else repr(float(number))


@dataclasses.dataclass
class RawTable:
    """Columns as they were read; `place(i)` names a row, `text(i, name)` gives a cell's text.

    `positions` are the numbers of the rows, int [rows], where others were left out.
    """

    columns: list[Column]
    place: Callable[[int], str]
    text: Callable[[int, str], str]
    notes: list[str]
    rows: int
    positions: np.ndarray | None = None


class Gatherer:
    """Collects a column from chunks, in 8 bytes per number and 4 per text."""

    def __init__(
        self, options: Options, name: str, as_text: bool = False, decimal: str = "."
    ) -> None:
        self._as_text = as_text or name in (options.categories or ())
        self._most_labels = np.inf if name == options.split_by else MOST_LABELS
        self._name, self._decimal = name, decimal
        self._words, self._missing = options.missing_words(), options.missing_numbers()
        self._numbers: list[np.ndarray] = []
        self._codes: list[np.ndarray | None] = []
        self._labels: dict[str, int] = {}
        self._whole, self._mixed, self._odd = True, False, ""
        self._dates: tuple[str, ...] = ()
        self._count = 0  # of numbers

    def add(self, series: Any) -> None:
        """Adds the cells of a pandas Series."""
        kind = getattr(series.dtype, "kind", "O")
        if kind in "iuf":
            self.add_numbers(series.to_numpy(np.float64), kind in "iu")
        elif kind == "b":
            self.add_texts(series.to_numpy(np.int64), ["False", "True"])
        else:
            codes, texts = series.factorize()
            self.add_texts(codes, [str(text) for text in texts])

    def add_numbers(self, numbers: np.ndarray, whole: bool) -> None:
        """Adds float64 [m], NaN for cells that hold nothing."""
        if self._as_text:
            values, codes = np.unique(numbers, return_inverse=True)
            texts = [f"{x:.17g}" if whole else f"{float(x)!r}".removesuffix(".0") for x in values]
            self.add_texts(codes, texts)
            return
        if self._missing:
            numbers = np.where(np.isin(numbers, self._missing), np.nan, numbers)
        found = int(np.count_nonzero(~np.isnan(numbers)))
        self._count += found
        self._whole &= whole or not found
        self._mixed |= bool(found and self._dates)
        self._append(numbers, None)

    def add_days(self, days: np.ndarray) -> None:
        """Adds dates as days since 1970-01-01, float64 [m]."""
        self._dates = ("days",)
        self._append(days, None)

    def add_texts(self, codes: np.ndarray, texts: Sequence[str]) -> None:
        """Adds cells by their index [m] into different texts; −1 for cells that hold nothing."""
        if self._odd:
            return
        # The last entry of both is for code −1.
        values, labels = np.full(len(texts) + 1, np.nan), np.full(len(texts) + 1, -1, np.int32)
        words = []
        for k, text in enumerate(texts):
            word = " ".join(text.split())
            lower = word.lower()
            if lower in self._words:
                continue
            number = None if self._as_text else to_number(word, self._decimal)
            if number is None:
                words.append((k, TRUTH.get(lower, word)))
            elif number not in self._missing:
                values[k] = number
                self._whole &= word.lstrip("+-").isdigit()
        found = np.isfinite(values[codes]).any() or np.isinf(values[codes]).any()
        days = self._parse_dates(words, bool(found))
        if days is not None:
            values[[k for k, _ in words]] = days
        else:
            for k, word in words:
                labels[k] = self._labels.setdefault(word, len(self._labels))
            self._mixed |= bool((words or found) and self._dates)
            self._count += int(np.count_nonzero(~np.isnan(values[codes])))
        if len(self._labels) > self._most_labels:
            self.refuse(
                f"text, more than {self._most_labels:,} different ones such as {words[0][1]!r}"
            )
        self._append(values[codes], labels[codes] if self._labels else None)

    def _parse_dates(self, words: list[tuple[int, str]], numbers: bool) -> np.ndarray | None:
        """Days of the texts, if they and all before them are dates."""
        if self._as_text or not words or self._labels or self._count or numbers:
            return None
        parsed = parse_dates([word for _, word in words])
        if parsed is None:
            return None
        days, formats = parsed
        common = tuple(f for f in self._dates or formats if f in formats)
        if not common or (self._dates and common[0] != self._dates[0]):
            return None
        self._dates = common
        return days

    def refuse(self, odd: str) -> None:
        """Forgets a column that can't be used, for the stated reason."""
        self._odd, self._mixed = odd, False
        self._numbers, self._codes = [], []

    def _append(self, numbers: np.ndarray, codes: np.ndarray | None) -> None:
        if not self._odd:
            self._numbers.append(numbers)
            self._codes.append(codes)

    def column(self) -> Column:
        """Returns the column; the chunks are forgotten."""
        lengths = [len(chunk) for chunk in self._numbers]
        numbers = np.concatenate([np.empty(0), *self._numbers])
        self._numbers = []
        codes = None
        if self._labels and not self._odd:
            blank = [np.full(n, -1, np.int32) for n in lengths]
            pairs = zip(self._codes, blank, strict=True)
            codes = np.concatenate([b if c is None else c for c, b in pairs])
            texts = int(np.count_nonzero(codes >= 0))
            self._mixed |= texts > self._count > 0 and not self._as_text
        return Column(
            self._name,
            numbers,
            codes,
            tuple(self._labels),
            self._whole and self._count > 0,
            self._dates,
            self._mixed,
            self._odd,
        )


def to_number(word: str, decimal: str = ".") -> float | None:
    """Returns the number that a text is; None for other texts."""
    if decimal != ".":
        word = word.replace(decimal, ".")
    return float(word) if _NUMBER.fullmatch(word) else None


def unique_names(names: Sequence[str], notes: list[str]) -> list[str]:
    """Returns names that differ, blank ones and repetitions renamed, with a note."""
    taken, result = set(names), list[str]()
    for i, name in enumerate(names):
        if name and name not in result:
            result.append(name)
            continue
        stem, count = (name + ".", 1) if name else ("x", i)
        while f"{stem}{count}" in taken or f"{stem}{count}" in result:
            count += 1
        result.append(f"{stem}{count}")
        place = f"Column {i + 1}"
        why = f"is a second {name!r}" if name else "has no name"
        notes.append(f"{place} {why}; it is called {result[-1]!r}.")
    return result


def check_memory(file: pathlib.Path, rows: int, columns: int) -> None:
    """Raises a TableError if float64 [rows, columns] would take over half of the memory."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # an operating system that doesn't say
        return
    if rows * columns * 8 > memory / 2:
        expected = f"a table that fits into half of the memory, {memory / 2e9:.1f} GB"
        received = f"{rows:,} rows of {columns:,} numbers, {rows * columns * 8e-9:,.1f} GB"
        raise TableError(file, expected, received, "Give fewer rows, or fewer columns.")
