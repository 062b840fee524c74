"""What scripts/evaluate.py, sample.py and certify.py do, as functions of their flags."""

import json
import pathlib
from typing import Any

from tf_iresnet.certify import certify as certificate_of
from tf_iresnet.certify import enforce as enforced
from tf_iresnet.training import evaluation, report, sampling
from tf_iresnet.training.trained import Trained, save
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
    """Measures a trained model, prints the figures and writes them as JSON.

    Args:
        workdir: of a finished run, or
        model: path of a .keras file.
        split: "test" or "validation" of the run's data.
        table: path of another table, to measure on all its rows instead.
        output: path of the JSON file; by default evaluation.json in the workdir.
        overwrite: whether an existing `output` may be replaced.
        examples: on how many, at most, the inverse is checked.
        batch_size: examples a call.

    Returns:
        The figures of `evaluation.evaluate`, with what they were measured on.

    Raises:
        RunError, tf_iresnet.data.TableError: for what the user can put right.
    """
    if output is not None:
        sampling.check_output(pathlib.Path(output), overwrite, (".json",))
    trained = Trained(workdir, model)
    if output is None and not trained.run.config.exists():
        raise RunError("Expected --output=figures.json for a model without a workdir.")
    meta = trained.meta()
    figures: dict[str, Any] = {"model": str(trained.path), "levels": meta["levels"]}
    if table is None:
        dataset = trained.dataset()
        figures |= {"data": dataset.name, "split": split}
        points, truth = getattr(dataset, split), dataset.log_prob
        labels = None if dataset.labels is None else getattr(dataset.labels, split)
    else:
        figures |= {"data": str(table), "split": "table"}
        points, truth, labels = trained.rows(table), None, None
    certificate = certificate_of(trained.invertible)
    figures |= evaluation.evaluate(
        trained.invertible,
        points,
        certificate,
        truth,
        batch_size,
        examples,
        meta["deviation"],
        labels,
    )
    print(report.text(figures))
    path = pathlib.Path(output) if output else trained.run.path / "evaluation.json"
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
    """Draws samples of a trained flow into a file; see `sampling.write` for its form.

    Args:
        output: path, ending in .npz, .csv or .png.
        workdir: of a finished run, or
        model: path of a .keras file.
        num: how many.
        seed: the same one gives the same samples.
        overwrite: whether an existing `output` may be replaced.
        temperature: of `sampling.draw`; 1 for samples of the flow's density.
        label: the class of the samples, of a flow that tells classes; None for all.

    Raises:
        RunError: for what the user can put right.
    """
    path = pathlib.Path(output)
    sampling.check_output(path, overwrite)
    trained = Trained(workdir, model)
    if label is not None:
        _expect_class(trained, label)
    samples = sampling.draw(trained.flow, num, seed, temperature=temperature, label=label)
    sampling.write(path, samples, trained.meta())
    print(f"{num} samples in {path}.")


def _expect_class(trained: Trained, label: int) -> None:
    classes = getattr(trained.flow, "num_classes", 0)
    if not 0 <= label < classes:
        known = (
            f"a class, from 0 to {classes - 1}" if classes else "none, as the flow has no classes"
        )
        raise RunError(f"Expected --label to be {known}. Received: --label={label}.")


def certify(
    workdir: str | None = None,
    model: str | None = None,
    enforce: bool = False,
    output: str | None = None,
    overwrite: bool = False,
    data: str | None = None,
    examples: int = 200,
) -> int:
    """Prints what is proven about a model's inverse, and may write a copy of which all is.

    Args:
        workdir: of a finished run, or
        model: path of a .keras file: any Keras model with spectral layers.
        enforce: whether to write a copy whose blocks are all certified.
        output: path of the copy.
        overwrite: whether an existing `output` may be replaced.
        data: what to measure the branches of the blocks on as well: "test" or "validation" of the
            run's data, or the path of a table.
        examples: on how many of these, at most.

    Returns:
        Exit status: 0 if every block is certified invertible (in the copy, with `enforce`), else 1.

    Raises:
        RunError: for what the user can put right.
    """
    if enforce != (output is not None):
        raise RunError(
            "Expected --enforce and --output=copy.keras together or neither. "
            f"Received: enforce={enforce}, output={output}."
        )
    if output is not None:
        sampling.check_output(pathlib.Path(output), overwrite, (".keras",))
    trained = Trained(workdir, model)
    points = None if data is None else _points(trained, data)[:examples]
    try:
        certificate = certificate_of(trained.model, points)
        print(certificate)
        if output is not None:
            certificate = enforced(trained.model)
    except ValueError as error:  # nothing in it to certify, or to bring a layer to
        raise RunError(str(error)) from error
    if output is not None:
        save(trained.model, output)
        print(f"\nThe copy in {output}:\n\n{certificate}")
    return 0 if certificate.invertible else 1


def _points(trained: Trained, data: str) -> Any:
    if data in ("test", "validation"):
        return getattr(trained.dataset(), data)
    return trained.rows(data)
