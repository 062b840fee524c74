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
from tf_iresnet.models.monte_carlo import LogProb
from tf_iresnet.training import evaluation, pictures, plots, report, sampling
from tf_iresnet.training.attempts import Attempts
from tf_iresnet.training.saved_run import Examples, SavedRun, save_model
from tf_iresnet.training.scores import (
    Reference,
    read_reference,
    shift,
    shift_figure,
    write_scores,
)
from tf_iresnet.training.workdir import RunError, write_atomically

MEASURED = 200  # examples of a certificate with data, at most


def evaluate(
    workdir: str | None = None,
    model: str | None = None,
    split: str | None = None,
    table: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
    examples: int = 1000,
    batch_size: int = 500,
    scores: str | None = None,
) -> dict[str, Any]:
    """Measures a trained model, prints the figures, writes them as JSON and returns them.

    They are those of `evaluation.evaluate` on a `split` of the run's data, "test" (for None) or
    "validation", or on all rows of another `table`. `output` is evaluation.json in the workdir by
    default. For a table there is also the `scores.shift` from the run's held-out rows, with its
    figure beside the JSON, and in the file `scores`, a .csv, the `scores.write_scores` of each row.
    """
    if table is not None and split is not None:
        expected = "Expected --split of the run's data, or --data=new.csv, a table of no parts."
        raise RunError(f"{expected} Received: split={split}, data={table}.")
    if output is not None:
        check_output(pathlib.Path(output), overwrite, (".json",))
    if scores is not None:
        check_output(pathlib.Path(scores), overwrite, (".csv",), "--scores")
        if table is None:
            raise RunError("Expected --data=new.csv with --scores, whose rows to score.")
    saved = SavedRun(workdir, model)
    if output is None and not saved.run.config.exists():
        raise RunError("Expected --output=figures.json for a model without a workdir.")
    path = pathlib.Path(output) if output else saved.run.path / "evaluation.json"
    meta, trained = saved.meta(), saved.invertible
    reference = None
    if scores or (table and saved.run.reference.exists()):
        reference = read_reference(saved.run.check(saved.run.reference))
        if output is not None:
            check_output(_picture(path), overwrite, (".png",), "the picture beside --output")
    options: dict[str, Any] = {"batch_size": batch_size, "examples": examples}
    figures: dict[str, Any] = {"model": str(saved.path), "levels": meta["levels"]}
    if table is None:
        dataset, certificate = saved.dataset(), make_certificate(trained)
        figures |= evaluation.evaluate_split(
            trained, dataset, split or "test", certificate, **options
        )
    else:
        figures |= {"data": str(table), "split": "table"}
        rows, certificate = saved.rows(table), make_certificate(trained)
        options |= {"deviation": meta["deviation"], "condition": rows.condition}
        if trained.condition_size is not None:
            options["meta"] = meta
        if reference is not None:
            options["density"] = evaluation.log_prob_with_error(
                saved.flow,
                rows.points,
                batch_size,
                evaluation.largest_bound(certificate),
                rows.condition,
            )
        figures |= evaluation.evaluate(trained, rows.points, certificate, **options)
    if reference is not None:
        density = options["density"]
        figures |= _compare(saved, rows, density, reference, path, scores, batch_size)
    figures = Attempts(figures.pop("warnings", [])).finite(figures)
    print(report.text(figures))
    if figures["examples"] == 1 and figures.get("negative_log_likelihood") is not None:
        print(f"The row's log-density is {-figures['negative_log_likelihood']:.4f} nats.")
    write_atomically(path, json.dumps(figures, indent=2, allow_nan=False) + "\n")
    print(f"Written to {path}.")
    return figures


def _compare(
    saved: SavedRun,
    rows: Examples,
    density: LogProb,
    reference: Reference,
    path: pathlib.Path,
    scores: str | None,
    batch_size: int,
) -> dict[str, Any]:
    """Writes the scores and the figure of new rows, prints how they differ from held-out rows."""
    figures = shift(density.value, reference)
    picture = _picture(path)
    write_atomically(picture, plots.png(shift_figure(density.value, reference)))
    mean, error, distance, chance = figures.values()
    plus_minus = "" if error is None else f" ± {error:.2g}"
    print(
        f"The mean log-density differs by {mean:+.3g}{plus_minus} nats from that of held-out rows, "
        f"its distribution by up to {distance:.2f} (by chance {chance:.2f}). See {picture}."
    )
    if scores is not None:
        columns = saved.meta()["columns"]
        write_scores(
            pathlib.Path(scores), saved.flow, rows, density, reference, columns, batch_size
        )  # fmt: skip
        print(f"Scores of {len(rows.points)} rows in {scores}.")
    return figures


def _picture(path: pathlib.Path) -> pathlib.Path:
    """The picture of new rows, beside their figures."""
    return path.with_suffix(".png")


def sample(
    output: str,
    workdir: str | None = None,
    model: str | None = None,
    num: int = 1000,
    seed: int = 0,
    overwrite: bool = False,
    temperature: float = 1.0,
    label: int | None = None,
    given: str | None = None,
) -> None:
    """Writes `num` samples of a trained flow to a file, see `write_samples` and `sampling.draw`.

    A density of some columns given others needs a table of these, `given`; `num` samples are drawn
    for each of its rows, and written beside what they are given.
    """
    path = pathlib.Path(output)
    check_output(path, overwrite)
    saved = SavedRun(workdir, model)
    classes = getattr(saved.flow, "num_classes", 0)
    if label is not None and not 0 <= label < classes:
        known = f"a class, from 0 to {classes - 1}" if classes else "none: the flow has no classes"
        raise RunError(f"Expected --label to be {known}. Received: --label={label}.")
    options: dict[str, Any] = {"temperature": temperature, "label": label}
    meta, values = saved.meta(), None
    if given is not None:
        values, condition = (np.repeat(rows, num, axis=0) for rows in saved.given(given))
        num, options["condition"] = len(condition), condition
    elif saved.flow.condition_size is not None:
        names = ", ".join(column.name for column in saved.condition_columns())
        raise RunError(
            f"Expected --given=x.csv, a table of the columns {names}, which {saved.path} is a "
            "density given of. Received: none."
        )
    samples = sampling.draw(saved.flow, num, seed, **options)
    write_samples(path, samples, meta, values)
    print(f"{num} samples in {path}.")


def certify(
    workdir: str | None = None,
    model: str | None = None,
    enforce: bool = False,
    output: str | None = None,
    overwrite: bool = False,
    data: str | None = None,
    examples: int | None = None,
) -> int:
    """Prints the certificate of a model's inverse; any Keras model with spectral layers will do.

    With `enforce`, writes a copy whose blocks are all certified to `output`. With `data` ("test" or
    "validation" of the run's, or the path of a table), also measures the branches there, on so many
    `examples` at most, 200 for None. Returns the exit status: 0 if every block (of the copy, with
    `enforce`) is certified invertible, else 1.
    """
    if enforce != (output is not None):
        expected = "Expected --enforce and --output=copy.keras together or neither."
        raise RunError(f"{expected} Received: enforce={enforce}, output={output}.")
    if output is not None:
        check_output(pathlib.Path(output), overwrite, (".keras",))
    if examples is not None and data is None:
        expected = "Expected --data with --examples, on which to measure."
        raise RunError(f"{expected} Received: examples={examples}.")
    saved = SavedRun(workdir, model)
    measured: Any = (None, None)
    if data is not None:
        of_run = data in ("test", "validation")
        rows = saved.split(data) if of_run else saved.rows(data)
        measured = rows.select(slice(examples or MEASURED))
    try:
        certificate = make_certificate(saved.model, *measured)
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
    path: pathlib.Path,
    overwrite: bool,
    endings: Sequence[str] = (".npz", ".csv", ".png"),
    flag: str = "--output",
) -> None:
    """Raises RunError if no file may be written: wrong ending, no directory, or one exists."""
    if path.suffix.lower() not in endings:
        raise RunError(f"Expected {flag} to end in {' or '.join(endings)}. Received: {path}.")
    if not path.parent.is_dir():
        expected = f"Expected {flag} in a directory that exists."
        raise RunError(f"{expected} Received: {path}; make {path.parent}.")
    if path.exists() and not overwrite:
        expected = f"Expected a new file for {flag}."
        raise RunError(f"{expected} Received: {path}, which exists; add --overwrite.")


def write_samples(
    path: pathlib.Path,
    samples: np.ndarray,
    meta: Mapping[str, Any],
    given: np.ndarray | None = None,
) -> None:
    """Writes samples [n, *event] as .npz (`samples`, `columns`), .csv with a header, or .png.

    The ending of `path` decides; `meta`, of `sampling.describe_data`, gives columns and levels. A
    table's samples are values that its columns can have; .csv files hold categories as texts, .npz
    files as codes, with the texts in `texts_<column>`. What they are `given` [n, k] comes first in
    a .csv, and is `given`, of `given_columns`, in an .npz.
    """
    values, forms = sampling.quantize(samples, meta), sampling.table_forms(meta)
    flat = values.reshape(len(values), -1)
    texts = {f.name: f.texts_of(x) for f, x in zip(forms, flat.T, strict=False) if f.texts}
    before: dict[str, Any] = {}
    if given is not None:
        for known, x in zip(sampling.condition_columns(meta), given.T, strict=True):
            before[known.name] = x
            if known.texts:
                texts[known.name] = np.asarray(known.texts, object)[x.astype(int)]
    buffer = io.BytesIO()
    if path.suffix.lower() == ".npz":
        # The codes of categories, and in arrays of their own the texts.
        named: dict[str, Any] = {
            f"texts_{name}": column.astype(str) for name, column in texts.items()
        }
        if given is not None:
            named |= {"given": given, "given_columns": np.array(list(before))}
        columns = np.array(meta["columns"])
        np.savez_compressed(buffer, samples=values, columns=columns, **named)
    elif path.suffix.lower() == ".csv":
        import pandas as pd

        frame = pd.DataFrame(flat.astype(samples.dtype), columns=list(meta["columns"]))
        for form, x in zip(forms, flat.T, strict=False):
            if form.kind == "continuous":
                continue  # with the digits that float32 has
            frame[form.name] = x.astype(np.int64) if form.whole and np.isfinite(x).all() else x
        frame = pd.concat([pd.DataFrame(before), frame], axis=1)
        for name, column in texts.items():
            frame[name] = column
        frame.to_csv(buffer, index=False)
    else:
        buffer.write(plots.png(pictures.samples_figure(values, meta)))
    write_atomically(path, buffer.getvalue())
