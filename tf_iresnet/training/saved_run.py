"""Trained models read from a run's workdir or a user's file."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from tf_iresnet import data
from tf_iresnet.data.columns import encode
from tf_iresnet.data.conditions import ConditionColumn, encode_condition
from tf_iresnet.data.dequantization import dequantize_rows
from tf_iresnet.data.randomness import TEST
from tf_iresnet.data.table_dataset import FORMAT
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.training import build, sampling
from tf_iresnet.training.files import AGAIN, missing, reading, replacing
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import RunError, Workdir


class Examples(NamedTuple):
    """Points [n, *event] and, of a conditional density, their conditions [n, size]."""

    points: np.ndarray
    condition: np.ndarray | None = None

    def select(self, rows: Any) -> "Examples":
        """Returns some of them, by anything that indexes an array."""
        condition = None if self.condition is None else self.condition[rows]
        return Examples(self.points[rows], condition)


class SavedRun:
    """A trained model, in the `workdir` of a finished run or, alternatively, the file `model`.

    For one in a workdir the training data are known, too. What can't be done raises RunError.
    """

    def __init__(self, workdir: str | None = None, model: str | None = None):
        if bool(workdir) == bool(model):
            expected = "Expected either --workdir (of a run) or --model (a .keras file)."
            raise RunError(f"{expected} Received: workdir={workdir!r}, model={model!r}.")
        self.run = Workdir(workdir or pathlib.Path(str(model)).parent)
        if workdir:
            self.run.read_config()  # says what a workdir is, if this isn't one
        self.path = path = self.run.model if workdir else pathlib.Path(str(model))
        if not path.is_file():
            advice = "rerun its training command" if workdir else "check the path"
            found = f"{path}, {missing(path)}; {'move it away and ' * path.is_dir()}{advice}"
            raise RunError(f"Expected a trained model. Received: {found}.")
        for needed in (self.run.config, path):
            if needed.exists():
                self.run.check(needed)
        with reading(path, "a .keras file of this version"):
            self.model = keras.models.load_model(path)

    @property
    def invertible(self) -> InvertibleModel:
        """The model, if it is a density or a classifier of this library."""
        return self._expect(InvertibleModel, "a flow or an invertible classifier")

    @property
    def flow(self) -> ResidualFlow:
        """The model, if it is a density."""
        return self._expect(ResidualFlow, "a density, a ResidualFlow")

    def _expect(self, kind: type, what: str) -> Any:
        if not isinstance(self.model, kind):
            found = type(self.model).__name__
            raise RunError(f"Expected {self.path} to hold {what}. Received: a {found}.")
        return self.model

    def meta(self) -> dict[str, Any]:
        """Returns the `sampling.describe_data` of the run, or that of unknown data."""
        unknown = sampling.describe_unknown_data(self.invertible.event_shape)
        if not self.run.dataset.exists():
            return unknown
        meta = self.run.read_json(self.run.check(self.run.dataset), AGAIN)
        with reading(self.run.dataset, f"a description of the data of {self.path}"):
            sampling.expect_described(meta, len(unknown["columns"]))
        return meta

    def dataset(self) -> data.Dataset:
        """Returns the data of the run, read anew. Raises DataError if that isn't possible."""
        if not self.run.config.exists():
            raise RunError(
                f"Expected a config.json beside {self.path}, which names its data. Received: none. "
                "Give a --workdir, or a table of yours by --data."
            )
        config = self.run.read_config()
        with reading(self.run.config, "the config of a run"):
            dataset, options = build.make_dataset(config), TrainingOptions(**config["training"])
        if build.fingerprint(dataset, options) != self.meta().get("digest"):
            raise RunError(
                f"Expected the data that {self.run.path} was trained on. Received: other values "
                "under the same name, some of which it may have been trained on. Restore the file, "
                "or measure on a table of new rows by --data."
            )
        return dataset

    def split(self, name: str) -> Examples:
        """Returns the examples of the run's split "test" or "validation"."""
        dataset = self.dataset()
        return Examples(
            getattr(dataset, name), dataset.conditions and getattr(dataset.conditions, name)
        )

    def rows(self, path: str) -> Examples:
        """Returns the rows of another table, by the model's columns. TableError if bad."""
        shape, meta = self.invertible.event_shape, self.meta()
        if len(shape) != 1:
            expected = "Expected a model of vectors to measure on a table."
            raise RunError(
                f"{expected} Received: {self.path}, a model of examples of shape {shape}."
            )
        given = self.condition_columns()
        if not self.run.dataset.exists():
            table = data.tables.load_table(path)
            if table.values.shape[1:] != shape:
                expected = f"Expected a table of {shape[0]} columns, as the model was trained on."
                raise RunError(f"{expected} Received: {path} with {table.values.shape[1]}.")
            return Examples(table.values.astype(np.float32))
        forms = sampling.table_forms(meta)
        event, values = self._read(path, forms or meta["columns"], given)
        condition = encode_condition(given, values) if given else None
        if not forms:
            return Examples(event.astype(np.float32), condition)
        return Examples(dequantize_rows(*encode(forms, event), TEST), condition)

    def given(self, path: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns what a conditional density is given: values [n, k] and conditions [n, size]."""
        if not (given := self.condition_columns()):
            expected = "Expected a density of some columns given others, to draw given rows."
            raise RunError(f"{expected} Received: {self.path}, a density of all columns.")
        _, values = self._read(path, [], given)
        return values, encode_condition(given, values)

    def condition_columns(self) -> list[ConditionColumn]:
        """Returns the columns that the density is given; RunError if these aren't known."""
        given = sampling.condition_columns(self.meta())
        if self.invertible.condition_size is not None and not given:
            expected = "Expected --workdir of a run, which says what the density is given."
            raise RunError(f"{expected} Received: {self.path}.")
        return given

    def _read(self, path: str, event: Sequence[Any], given: Sequence[Any]) -> list[np.ndarray]:
        """Values [n, …] of columns that are names, forms or of a condition."""
        named = {getattr(c, "name", c): getattr(c, "texts", ()) for c in (*event, *given)}
        categories = {name: texts for name, texts in named.items() if texts}
        config = self.run.read_config()["data"] if self.run.config.exists() else {}
        endings = {pathlib.Path(p).suffix.lower() for p in (path, config.get("path") or path)}
        alike = FORMAT if len(endings) == 1 else ()  # a file of the same kind is written alike
        options = {option: config[option] for option in alike if option in config}
        layout = data.tables.Layout(tuple(named), categories)
        table = data.tables.load_table(path, like=layout, **options)
        return np.split(table.values, [len(event)], axis=1)


def save_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model as a .keras file; the old one remains until the new one is whole."""
    with replacing(path) as partial:
        model.save(partial)
