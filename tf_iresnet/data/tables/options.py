"""How a table is read: the options of `load_table`, and the flags that messages name."""

import codecs
import csv
import dataclasses
import io
import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tf_iresnet.data.arguments import check_types, parameters_of
from tf_iresnet.data.errors import TableError

Names = str | Sequence[Any] | None  # texts, or numbers that stand for their texts

MISSING = frozenset(
    ["", "nan", "na", "n/a", "null", "none", "<na>", "nat", "?", "-", "--", ".", "#n/a", "#na"]
)


WHITE_SPACE = " "
SINGLE = "\x1f"  # the separator of a file that has one column: in no such file
_SEPARATORS = {"tab": "\t", "\\t": "\t", "space": WHITE_SPACE, "\\s+": WHITE_SPACE}


class Layout(NamedTuple):
    """What a trained model knows of its table: the columns, and the texts of categories by code."""

    columns: Sequence[str]
    categories: Mapping[str, Sequence[str]] = {}


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments of `load_table`, checked; names are tuples."""

    columns: Names = None
    exclude: Names = None
    key: str | None = None
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    skip_lines: int = 0
    missing: str = "error"
    na_values: Names = None
    categories: Names = None
    split_by: str | None = None
    split_order: str | None = None
    new_rows: bool = False  # for a model that is trained on these columns
    sampled: bool = False  # some rows of a table, whose split is decided

    def __post_init__(self) -> None:
        check_types(vars(self), parameters_of(type(self)))
        for option in ("columns", "exclude", "na_values", "categories"):
            self._set(option, _names(option, getattr(self, option)))
        self._set("separator", _SEPARATORS.get(self.separator or "", self.separator))
        self._check("separator", self.separator is None or len(self.separator) == 1,
                    "one character, or 'tab' or 'space'")  # fmt: skip
        self._check("decimal", self.decimal in (None, ".", ","), "'.' or ','")
        self._check("skip_lines", self.skip_lines >= 0, "a number of lines")
        self._check("missing", self.missing in ("error", "drop", "impute"),
                    "'error', 'drop' or 'impute'")  # fmt: skip
        if self.encoding is not None:
            self._check(
                "encoding", _is_encoding(self.encoding), "a text encoding that Python knows"
            )
        if self.split_by is not None and self.split_order is not None:
            expected = "split_by or split_order, not both"
            received = f"split_by={self.split_by!r}, split_order={self.split_order!r}"
            raise ValueError(f"Expected {expected}. Received: {received}.")

    def _set(self, option: str, value: object) -> None:
        object.__setattr__(self, option, value)

    def _check(self, option: str, valid: bool, expected: str) -> None:
        if not valid:
            received = f"{option}={getattr(self, option)!r}"
            raise ValueError(f"Expected {option} to be {expected}. Received: {received}.")

    def of_layout(self, like: Layout) -> "Options":
        """Returns the options for new rows of these columns.

        Raises:
            ValueError: for options that choose columns, or missing="impute".
        """
        fixed = ("columns", "exclude", "categories", "split_by", "split_order")
        used = [option for option in fixed if getattr(self, option) is not None]
        if used or self.missing == "impute":
            expected = "like= without options that choose columns, and missing='error' or 'drop'"
            raise ValueError(f"Expected {expected}. Received: {', '.join(used) or 'impute'}.")
        return dataclasses.replace(
            self, columns=like.columns, categories=tuple(like.categories), new_rows=True
        )

    def missing_words(self) -> frozenset[str]:
        """Texts, in lower case, of cells that hold nothing."""
        return MISSING | {word.strip().lower() for word in self.na_values or ()}

    def missing_numbers(self) -> list[float]:
        """Numbers that stand for a cell that holds nothing."""
        numbers = []
        for word in self.na_values or ():
            try:
                numbers.append(float(word))
            except ValueError:
                continue
        return numbers

    def positions(self, file: pathlib.Path, names: Sequence[str], row: str | None) -> list[int]:
        """Returns the positions in `names` of the columns to read, in the order of `columns`.

        Raises:
            TableError: where an option names a column that isn't in `names`, found in `row`.
        """
        others = [("split_by", self.split_by), ("split_order", self.split_order)]
        asked = {
            option: getattr(self, option) or () for option in ("columns", "exclude", "categories")
        }
        asked |= {option: (name,) for option, name in others if name is not None}
        for option, wanted in asked.items():
            unknown = [name for name in wanted if name not in names]
            if unknown:
                expected = f"{'columns' if len(unknown) > 1 else 'a column'} named "
                expected += ", ".join(map(repr, unknown))
                advice = f"Correct the name in {flag(option)}…."
                if self.new_rows:
                    advice = "Give the table all columns that the model was trained on."
                received = f"columns {', '.join(names)}"
                raise TableError(file, expected, received, advice, row)
        chosen = [n for n in self.columns or names if n not in (self.exclude or ())]
        if self.columns is not None:
            chosen += [n for _, n in others if n is not None and n not in chosen]
        place = {name: k for k, name in enumerate(names)}
        return [place[name] for name in chosen]


def flag(option: str, names: Iterable[str] | None = None) -> str:
    """Returns what to type: `--config.data.option=`, followed by the names if there are any."""
    if names is None:
        return f"--config.data.{option}="
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(" ".join(name.split()) for name in names)
    return f"--config.data.{option}={shlex.quote(line.getvalue())}"


def _names(option: str, given: Names) -> tuple[str, ...] | None:
    """Names as a tuple; a text holds several, separated by commas."""
    if given is None:
        return None
    if isinstance(given, str):
        given = next(csv.reader([given], skipinitialspace=True), [])
    names = tuple(str(name).strip() for name in given)
    if len(set(names)) < len(names) or (option == "columns" and not names):
        expected = f"{option} to be a list of different names, or 'a,b'"
        raise ValueError(f"Expected {expected}. Received: {option}={given!r}.")
    return names


def _is_encoding(name: str) -> bool:
    try:
        return codecs.lookup(name)._is_text_encoding  # type: ignore[attr-defined]
    except LookupError:
        return False
