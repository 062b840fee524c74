"""Trained models read from a run's workdir or a user's file."""

import json
import os
import pathlib
from typing import Any

import keras
import numpy as np

from tf_iresnet import data
from tf_iresnet.data.columns import encode
from tf_iresnet.data.dequantization import dequantize
from tf_iresnet.data.randomness import TEST
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.training import build, sampling
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import RunError, Workdir, write_atomically


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
            found = f"{path}, which isn't there; {advice}"
            raise RunError(f"Expected a trained model. Received: {found}.")
        try:
            self.model = keras.models.load_model(path)
        except (ValueError, TypeError, OSError, KeyError) as error:
            expected = f"Expected {path} to be a .keras file of this version."
            raise RunError(f"{expected} Received: {error}") from error

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
        if self.run.dataset.exists():
            return json.loads(self.run.dataset.read_text())
        return sampling.describe_unknown_data(self.invertible.event_shape)

    def dataset(self) -> data.Dataset:
        """Returns the data of the run, read anew. Raises DataError if that isn't possible."""
        if not self.run.config.exists():
            raise RunError(
                f"Expected a config.json beside {self.path}, which names its data. Received: none. "
                "Give a --workdir, or a table of yours by --data."
            )
        config = self.run.read_config()
        dataset, options = build.make_dataset(config), TrainingOptions(**config["training"])
        if build.fingerprint(dataset, options) != self.meta().get("digest"):
            raise RunError(
                f"Expected the data that {self.run.path} was trained on. Received: other values "
                "under the same name, some of which it may have been trained on. Restore the file, "
                "or measure on a table of new rows by --data."
            )
        return dataset

    def rows(self, path: str) -> np.ndarray:
        """Returns the rows [n, d] of another table, by the model's columns. TableError if bad."""
        shape, meta = self.invertible.event_shape, self.meta()
        if len(shape) != 1:
            expected = "Expected a model of vectors to measure on a table."
            raise RunError(
                f"{expected} Received: {self.path}, a model of examples of shape {shape}."
            )
        table = data.tables.load_table(path, meta["columns"] if self.run.dataset.exists() else None)
        if table.values.shape[1:] != shape:
            expected = f"Expected a table of {shape[0]} columns, as the model was trained on."
            raise RunError(f"{expected} Received: {path} with {table.values.shape[1]}.")
        forms = sampling.table_forms(meta)
        if not forms:
            return table.values.astype(np.float32)
        values = table.values.copy()
        for j, form in enumerate(forms):
            if form.texts:
                texts = table.categories.get(table.columns[j])
                try:
                    values[:, j] = form.codes_of(values[:, j], texts)
                except ValueError as error:
                    raise RunError(f"{path}: {error}") from error
        return dequantize(*encode(forms, values), TEST, 0).numpy()


def save_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model as a .keras file; the old one remains until the new one is whole."""
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.stem}.partial.keras")
    model.save(partial)
    write_atomically(path, partial.read_bytes())
    partial.unlink()
