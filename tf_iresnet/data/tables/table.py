"""A table of numbers and categories that has passed every check, and its split."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.splits import Split, ordered_split, random_split
from tf_iresnet.data.tables.options import Layout

FEWEST_ROWS = 2  # of a part that isn't empty
FEWEST_TRAINING_ROWS = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table that has passed every check.

    Args:
        path: the file it was read from.
        values: finite float64 [n, d]; those of categories are codes 0, 1, ….
        columns: d names.
        categories: for each column of categories, its texts by code.
        notes: what was found, left out or changed, a sentence each.
        groups: int [n]; rows of one group stay in one part of a split. None: each row for itself.
        order: float64 [n]; the split puts the highest into the test part. None: at random.
    """

    path: str
    values: np.ndarray
    columns: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    order: np.ndarray | None = None

    @property
    def layout(self) -> Layout:
        """What is needed to read new rows of the same columns."""
        return Layout(self.columns, self.categories)

    def describe(self) -> list[str]:
        """Returns what was read, as lines: rows, columns and their kinds."""
        rows, width = self.values.shape
        columns = "1 column" if width == 1 else f"{width:,} columns"
        lines = [f"{self.path}: {rows:,} rows, {columns}"]
        whole = dict(zip(self.columns, self._whole(), strict=True))
        numbers = [name for name in self.columns if name not in self.categories]
        for kind, names in {
            "numbers": [name for name in numbers if not whole[name]],
            "whole numbers": [name for name in numbers if whole[name]],
        }.items():
            if names:
                lines.append(f"  {kind}: {', '.join(names)}")
        for name, labels in self.categories.items():
            shown = ", ".join(labels[:10]) + (", …" if len(labels) > 10 else "")
            lines.append(f"  {len(labels)} categories: {name} ({shown})")
        return lines

    def split(
        self,
        seed: int = 0,
        validation: float = 0.1,
        test: float = 0.1,
        test_table: "Table | None" = None,
    ) -> Split:
        """Returns a split of the rows, float64 [n, d] per part, two rows at least in each.

        Args:
            seed: below 2³²; not used by tables with an `order`.
            validation, test: fractions of the rows; 0 for no test part.
            test_table: the test part, of the same columns; `test` isn't used then.

        Raises:
            ValueError: for fractions that are out of range or leave nothing to train on.
            TableError: for too few rows, or groups of rows.
        """
        if test_table is not None:
            if test_table.layout != self.layout:
                expected = f"the columns {', '.join(self.columns)}, with the same categories"
                received = f"columns {', '.join(test_table.columns)}"
                advice = "Read the file with like=table.layout."
                raise TableError(test_table.path, expected, received, advice)
            parts = self.split(seed, validation, 0)
            return parts._replace(test=test_table.values)
        n = len(self.values)
        if self.order is None:
            rows = random_split(n, validation, test, seed, FEWEST_ROWS, self.groups)
        else:
            rows = ordered_split(self.order, validation, test, FEWEST_ROWS)
        held_out = [rows.validation, *([rows.test] if test else [])]
        if min(map(len, held_out)) < FEWEST_ROWS or len(rows.train) < FEWEST_TRAINING_ROWS:
            parts_of = f"validation ({validation:g}) and test ({test:g})"
            expected = (
                f"{FEWEST_ROWS} rows in {parts_of} each and {FEWEST_TRAINING_ROWS} to train on"
            )
            received = f"{n} rows in all"
            if self.groups is not None:
                received += f" in {self.groups.max() + 1} groups that stay together"
            elif self.order is not None:
                received += f" with {len(np.unique(self.order))} times"
            advice = (
                "Provide more rows, or change --config.data.validation=… or --config.data.test=…."
            )
            raise TableError(self.path, expected, received, advice)
        return rows.select(self.values)

    def check_scale(self, train: np.ndarray) -> None:
        """Raises a TableError for a column of the training rows [n, d] that can't be standardised.

        It is constant, or its values are too close together for their size in float32.
        """
        for column, x in zip(self.columns, train.T, strict=True):
            with np.errstate(over="ignore", invalid="ignore"):
                size, scale = np.abs(x).max(), x.std()
                resolution = np.spacing(np.float32(size))
            if np.ptp(x) == 0:
                expected = "values that differ in the training rows"
                received = f"{x[0]:g} in all of them"
                advice = (
                    f"Leave the column out with --config.data.exclude={column}, or choose another "
                    "split with --config.data.split_seed=…."
                )
            elif not resolution <= 1e-2 * scale:  # catches NaN, of values beyond float32
                expected = "values that float32 can tell apart"
                received = f"values up to {size:g} with a standard deviation of {scale:g}"
                advice = "Subtract an offset from the column, or change its unit."
            else:
                continue
            raise TableError(self.path, expected, received, advice, column=column)

    def _whole(self) -> np.ndarray:
        """Whether a column holds whole numbers only, bool [d]."""
        return np.array([bool((x == np.rint(x)).all()) for x in self.values.T], bool)
