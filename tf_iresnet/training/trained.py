"""Trained models taken from where a run, or a user, has put them."""

import json
import os
import pathlib
from typing import Any

import keras
import numpy as np

from tf_iresnet import data
from tf_iresnet.data.dequantization import dequantize
from tf_iresnet.data.randomness import TEST
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.training import build, sampling
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import RunError, Workdir, write_atomically


class Trained:
    """A model and what is known of the data it was trained on.

    Args:
        workdir: of a finished run; or
        model: path of a .keras file. One that lies in a workdir knows its data, too.

    Raises:
        RunError: unless exactly one is given, and holds a model.
    """

    def __init__(self, workdir: str | None = None, model: str | None = None):
        if bool(workdir) == bool(model):
            raise RunError(
                "Expected either --workdir (of a run) or --model (a .keras file). "
                f"Received: workdir={workdir!r}, model={model!r}."
            )
        self.run = Workdir(workdir or pathlib.Path(str(model)).parent)
        if workdir:
            self.run.read_config()  # says what a workdir is, if this isn't one
        self.path = self.run.model if workdir else pathlib.Path(str(model))
        self.model = _load(self.path, "rerun its training command" if workdir else "check the path")

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
            raise RunError(
                f"Expected {self.path} to hold {what}. Received: a {type(self.model).__name__}."
            )
        return self.model

    def meta(self) -> dict[str, Any]:
        """Returns what `sampling.describe` said of the data, or that nothing is known."""
        try:
            return json.loads(self.run.dataset.read_text())
        except FileNotFoundError:
            return sampling.describe_nothing(self.invertible.event_shape)

    def dataset(self) -> data.Dataset:
        """Returns the data of the run, read anew.

        Raises:
            RunError: for a model without a run.
            tf_iresnet.data.TableError: if its table isn't there any more.
        """
        if not self.run.config.exists():
            raise RunError(
                f"Expected a config.json beside {self.path}, which names its data. Received: none. "
                "Give a --workdir, or a table of yours by --data."
            )
        config = self.run.read_config()
        dataset = build.dataset(config)
        options = TrainingOptions(**config["training"])
        if build.fingerprint(dataset, options) != self.meta().get("digest"):
            raise RunError(
                f"Expected the data that {self.run.path} was trained on. Received: other values "
                "under the same name, some of which it may have been trained on. Restore the file, "
                "or measure on a table of new rows by --data."
            )
        return dataset

    def rows(self, path: str) -> np.ndarray:
        """Returns the rows [n, d] of another table, with the model's columns.

        Raises:
            tf_iresnet.data.TableError: for a bad table.
            RunError: if it has another number of columns, or the model is of images.
        """
        shape = self.invertible.event_shape
        if len(shape) != 1:
            raise RunError(
                "Expected a model of vectors to measure on a table. "
                f"Received: {self.path}, a model of examples of shape {shape}."
            )
        meta, size = self.meta(), shape[0]
        known = meta["columns"] if self.run.dataset.exists() else None
        table = data.tables.load_table(path, known)
        if table.values.shape[1] != size:
            raise RunError(
                f"Expected a table of {size} columns, as the model was trained on. "
                f"Received: {path} with {table.values.shape[1]}."
            )
        width = np.zeros(size) if meta["bin_width"] is None else np.asarray(meta["bin_width"])
        return dequantize(table.values, width, TEST, 0).numpy()


def _load(path: pathlib.Path, advice: str) -> keras.Model:
    if not path.is_file():
        raise RunError(f"Expected a trained model. Received: {path}, which isn't there; {advice}.")
    try:
        return keras.models.load_model(path)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise RunError(
            f"Expected {path} to be a .keras file of this version. Received: {error}"
        ) from error


def save(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model as a .keras file, the old one staying whole until the new one is."""
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.stem}.partial.keras")
    model.save(partial)
    write_atomically(path, partial.read_bytes())
    partial.unlink()
