"""What scripts/evaluate.py, sample.py and certify.py do, as functions of their flags.

In all of them `workdir` is that of a finished run and `model` the path of a .keras file, one of
which is given; `overwrite` says whether an existing `output` may be replaced. Each raises
`RunError` or `tf_iresnet.data.DataError` for what the user can correct.
"""

import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_iresnet.certify import certify as make_certificate
from tf_iresnet.certify import enforce as enforce_bounds
from tf_iresnet.training import evaluation, pictures, plots, report, sampling
from tf_iresnet.training.saved_run import SavedRun, save_model
from tf_iresnet.training.workdir import RunError, write_atomically


def evaluate(
    workdir: str | None = None,
    model: str | None = None,
    split: str = "test",
    table: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
    examples: int = 1000,
    batch_size: int = 500,
) -> dict[str, Any]:
    """Measures a trained model, prints the figures, writes them as JSON and returns them.

    They are those of `evaluation.evaluate` on a `split` ("test" or "validation") of the run's data
    or on all rows of another `table`. `output` is evaluation.json in the workdir by default.
    """
    if output is not None:
        check_output(pathlib.Path(output), overwrite, (".json",))
    saved = SavedRun(workdir, model)
    if output is None and not saved.run.config.exists():
        raise RunError("Expected --output=figures.json for a model without a workdir.")
    meta, trained = saved.meta(), saved.invertible
    options: dict[str, Any] = {"batch_size": batch_size, "examples": examples}
    figures: dict[str, Any] = {"model": str(saved.path), "levels": meta["levels"]}
    if table is None:
        dataset, certificate = saved.dataset(), make_certificate(trained)
        figures |= evaluation.evaluate_split(trained, dataset, split, certificate, **options)
    else:
        figures |= {"data": str(table), "split": "table"}
        points, certificate = saved.rows(table), make_certificate(trained)
        options["deviation"] = meta["deviation"]
        figures |= evaluation.evaluate(trained, points, certificate, **options)
    print(report.text(figures))
    path = pathlib.Path(output) if output else saved.run.path / "evaluation.json"
    write_atomically(path, json.dumps(figures, indent=2) + "\n")
    print(f"Written to {path}.")
    return figures


def sample(
    output: str,
    workdir: str | None = None,
    model: str | None = None,
    num: int = 1000,
    seed: int = 0,
    overwrite: bool = False,
    temperature: float = 1.0,
    label: int | None = None,
) -> None:
    """Writes `num` samples of a trained flow to a file, see `write_samples` and `sampling.draw`."""
    path = pathlib.Path(output)
    check_output(path, overwrite)
    saved = SavedRun(workdir, model)
    classes = getattr(saved.flow, "num_classes", 0)
    if label is not None and not 0 <= label < classes:
        known = f"a class, from 0 to {classes - 1}" if classes else "none: the flow has no classes"
        raise RunError(f"Expected --label to be {known}. Received: --label={label}.")
    samples = sampling.draw(saved.flow, num, seed, temperature=temperature, label=label)
    write_samples(path, samples, saved.meta())
    print(f"{num} samples in {path}.")


def certify(
    workdir: str | None = None,
    model: str | None = None,
    enforce: bool = False,
    output: str | None = None,
    overwrite: bool = False,
    data: str | None = None,
    examples: int = 200,
) -> int:
    """Prints the certificate of a model's inverse; any Keras model with spectral layers will do.

    With `enforce`, writes a copy whose blocks are all certified to `output`. With `data` ("test" or
    "validation" of the run's, or the path of a table), also measures the branches there, on so many
    `examples` at most. Returns the exit status: 0 if every block (of the copy, with `enforce`) is
    certified invertible, else 1.
    """
    if enforce != (output is not None):
        expected = "Expected --enforce and --output=copy.keras together or neither."
        raise RunError(f"{expected} Received: enforce={enforce}, output={output}.")
    if output is not None:
        check_output(pathlib.Path(output), overwrite, (".keras",))
    saved = SavedRun(workdir, model)
    points = None
    if data is not None:
        of_run = data in ("test", "validation")
        points = (getattr(saved.dataset(), data) if of_run else saved.rows(data))[:examples]
    try:
        certificate = make_certificate(saved.model, points)
        print(certificate)
        if output is not None:
            certificate = enforce_bounds(saved.model)
    except ValueError as error:  # nothing in it to certify, or no coefficient to enforce
        raise RunError(str(error)) from error
    if output is not None:
        save_model(saved.model, output)
        print(f"\nThe copy in {output}:\n\n{certificate}")
    return 0 if certificate.invertible else 1


def check_output(
    path: pathlib.Path, overwrite: bool, endings: Sequence[str] = (".npz", ".csv", ".png")
) -> None:
    """Raises RunError if no file may be written: wrong ending, no directory, or one exists."""
    if path.suffix.lower() not in endings:
        raise RunError(f"Expected --output to end in {' or '.join(endings)}. Received: {path}.")
    if not path.parent.is_dir():
        expected = "Expected --output in a directory that exists."
        raise RunError(f"{expected} Received: {path}; make {path.parent}.")
    if path.exists() and not overwrite:
        raise RunError(f"Expected a new file. Received: {path}, which exists; add --overwrite.")


def write_samples(path: pathlib.Path, samples: np.ndarray, meta: Mapping[str, Any]) -> None:
    """Writes samples [n, *event] as .npz (`samples`, `columns`), .csv with a header, or .png.

    The ending of `path` decides; `meta`, of `sampling.describe_data`, gives columns and levels. A
    table's samples are values that its columns can have; .csv files hold categories as texts, .npz
    files as codes, with the texts in `texts_<column>`.
    """
    values, forms = sampling.quantize(samples, meta), sampling.table_forms(meta)
    flat = values.reshape(len(values), -1)
    texts = {f.name: f.texts_of(x) for f, x in zip(forms, flat.T, strict=False) if f.texts}
    buffer = io.BytesIO()
    if path.suffix.lower() == ".npz":
        # The codes of categories, and in arrays of their own the texts.
        named: dict[str, Any] = {
            f"texts_{name}": column.astype(str) for name, column in texts.items()
        }
        columns = np.array(meta["columns"])
        np.savez_compressed(buffer, samples=values, columns=columns, **named)
    elif path.suffix.lower() == ".csv":
        import pandas as pd

        frame = pd.DataFrame(flat.astype(samples.dtype), columns=list(meta["columns"]))
        for form, x in zip(forms, flat.T, strict=False):
            if form.kind == "continuous":
                continue  # with the digits that float32 has
            frame[form.name] = x.astype(np.int64) if form.whole else x
        for name, column in texts.items():
            frame[name] = column
        frame.to_csv(buffer, index=False)
    else:
        buffer.write(plots.png(pictures.samples_figure(values, meta)))
    write_atomically(path, buffer.getvalue())
