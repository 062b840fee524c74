"""Natural patches: configs/patches.py beside a full-covariance Gaussian and TFP's RealNVP and MAF.

All of them see the same training batches, are chosen by the same validation patches and measured
on the same dequantised test patches.
"""

import json
import math
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from comparisons import table, tfp_flows
from comparisons.configs import load_config
from tf_iresnet import data
from tf_iresnet.layers.composition import InvertibleSequential
from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.layers.reshaping import Reshape
from tf_iresnet.training import build, evaluation
from tf_iresnet.training.checkpoints import Checkpoints
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.train import fit, reproducible_sums, resolve, train_and_evaluate
from tf_iresnet.training.workdir import Workdir, to_plain, write_atomically

COLUMNS = (
    table.Column("model", "{model}", ("model",)),
    table.Column("parameters", "{parameters:,}", ("parameters",)),
    table.Column("validation", "{validation_bits_per_dim:.3f}", ("validation_bits_per_dim",)),
    table.Column(
        "test bits/dim",
        "{bits_per_dim:.3f} ± {bits_per_dim_standard_error:.3f}",
        ("bits_per_dim", "bits_per_dim_standard_error"),
    ),
    table.Column(
        "above ours",
        "{above_ours:.3f} ± {above_ours_standard_error:.3f}",
        ("above_ours", "above_ours_standard_error"),
    ),
    table.Column("seconds", "{seconds:.0f}", ("seconds",)),
)

# Plain grey levels and the space of the flows; validation says in which the Gaussian does best.
GAUSSIANS: tuple[Any, ...] = ("centered", {"name": "logit", "alpha": 0.05})
GAUSSIAN_EXAMPLES = 250_000

# They are cheaper a step than ours, so they are given more of them.
_LONGER = {"epochs": 40, "steps_per_epoch": 250, "patience": 8, "learning_rate": 4e-3}
# Layers of `tfp_flows`, the space they work in, and where their training differs from ours; chosen
# by validation.
PEERS: Mapping[str, Mapping[str, Any]] = {
    "TFP RealNVP": {
        "layer": "real_nvp",
        "arguments": {"num_layers": 8, "hidden_units": [88, 88]},
        "preprocessing": {"name": "logit", "alpha": 0.05},
        "training": _LONGER,
    },
    "TFP MAF": {
        "layer": "maf",
        "arguments": {"num_layers": 5, "hidden_units": [128, 128]},
        "preprocessing": {"name": "logit", "alpha": 0.05},
        "training": _LONGER,
    },
}


def compare(
    workdir: str | os.PathLike[str],
    config: Any = None,
    peers: Mapping[str, Mapping[str, Any]] = PEERS,
    gaussian_examples: int = GAUSSIAN_EXAMPLES,
) -> list[dict[str, Any]]:
    """Trains what isn't trained yet, prints the table and writes it to table.csv.

    Args:
        workdir: directory of the comparison; each model has its own in it, and what is finished
            there isn't run again.
        config: of our flow and the data; that of configs/patches.py unless given.
        peers: name → settings, as in `PEERS`.
        gaussian_examples: dequantised patches that the Gaussian is fitted to.

    Returns:
        A row per model: `model`; the free `parameters`; `validation_bits_per_dim`, which chose its
        weights; `bits_per_dim` on the test split and `above_ours`, the mean difference to our flow
        on the same patches, each with its standard error; `seconds` of training.

    Raises:
        RunError: for a workdir of other settings, or one in use.
    """
    config = resolve(load_config("patches") if config is None else config)
    root, dataset = pathlib.Path(workdir), build.make_dataset(config)
    root.mkdir(parents=True, exist_ok=True)
    rows = [gaussian(root / "gaussian", config, dataset, gaussian_examples)]
    for name, settings in peers.items():
        print(f"{name}:", flush=True)
        rows.append(peer(root / settings["layer"], config, dataset, name, settings))
    print("tf_iresnet:", flush=True)
    rows.append(ours(root, config, dataset))
    log_prob = np.array(rows[-1]["log_prob"])
    for row in rows[:-1]:
        difference = log_prob - np.array(row["log_prob"])
        mean, error = evaluation.mean_and_standard_error(difference)
        row["above_ours"] = -data.bits_per_dim(mean, dataset.event_size)
        row["above_ours_standard_error"] = -data.bits_per_dim(error, dataset.event_size)
    print(f"\n{dataset.name}, {len(dataset.test)} test patches\n")
    print(table.text(COLUMNS, rows))
    print(f"\nTable: {table.write_csv(root / 'table.csv', COLUMNS, rows)}")
    return rows


def ours(root: pathlib.Path, config: Mapping[str, Any], dataset: data.Dataset) -> dict[str, Any]:
    """The row of our flow, trained in `root`/ours; the log-density of each patch is kept beside."""
    figures = train_and_evaluate(config, root / "ours")
    kept = root / "ours_log_prob.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    if found.get("figures") != figures:
        batch_size = TrainingOptions(**config["training"]).evaluation_batch_size
        flow = SavedRun(workdir=str(root / "ours")).flow
        log_prob = evaluation.log_prob(flow, dataset.test, batch_size)
        found = {"figures": figures, "log_prob": log_prob.tolist()}
        write_atomically(kept, json.dumps(found))
    state = Checkpoints(Workdir(root / "ours")).read_state()
    seconds = state.elapsed if state else math.nan
    validation = -data.bits_per_dim(figures["validation"], dataset.event_size)
    return {
        "model": "tf_iresnet",
        "seconds": seconds,
        "validation_bits_per_dim": validation,
        **figures,
        "log_prob": found["log_prob"],
    }


def peer(
    path: pathlib.Path,
    config: Mapping[str, Any],
    dataset: data.Dataset,
    name: str,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The row of a flow of TFP's, trained in `path` as ours is: the same batches, optimizer,
    averaging, clipping, kind of schedule, and choice of weights by validation.

    Args:
        path: workdir of its run.
        config: resolved, of our flow; gives the data and the training that `settings` change.
        dataset: of that config.
        name: in the table.
        settings: one of `PEERS`.
    """
    training = {**config["training"], "max_minutes": None, **settings["training"]}
    plain = to_plain({"peer": settings, "data": config["data"], "training": training})
    run = Workdir(path)
    finished = run.finished(plain)
    if finished is not None:
        return finished
    options = TrainingOptions.from_config(training)
    flow = tfp_flows.make_flow(settings, dataset, options)
    with run.claim(plain), reproducible_sums():
        state = fit(flow, dataset, options, run)
        row = {
            "model": name,
            "parameters": tfp_flows.parameters(flow),
            "seconds": state.elapsed,
            "best_epoch": state.best_epoch,
            "stopped": state.stopped,
            "validation_bits_per_dim": -data.bits_per_dim(state.best, dataset.event_size),
        }
        log_prob = evaluation.log_prob(flow, dataset.test, options.evaluation_batch_size)
        return _finish(run, row, log_prob, dataset)


def gaussian(
    path: pathlib.Path, config: Mapping[str, Any], dataset: data.Dataset, examples: int
) -> dict[str, Any]:
    """The row of a Gaussian of full covariance, in the space of `GAUSSIANS` that validates best.

    Mean and covariance are those of the first training batches, each patch dequantised anew as
    often as it is seen.

    Args:
        path: workdir of its run.
        config: resolved, of our flow; gives the data and the batches.
        dataset: of that config.
        examples: how many to fit it to.
    """
    plain = to_plain(
        {"spaces": GAUSSIANS, "examples": examples, "data": config["data"]}
        | {"training": {key: config["training"][key] for key in ("seed", "batch_size")}}
    )
    run = Workdir(path)
    finished = run.finished(plain)
    if finished is not None:
        return finished
    start = time.monotonic()
    options = TrainingOptions(**config["training"])
    # However many steps our flow is trained for: so few examples might not span the space.
    steps = tf.data.Dataset.range(-(-examples // options.batch_size))
    batches = steps.map(dataset.train_batches(options.batch_size, options.seed))
    train = np.concatenate([batch.numpy() for batch in batches])
    fits = []
    for choice in GAUSSIANS:
        space = InvertibleSequential([*build.make_preprocessing(choice, dataset), Reshape([-1])])
        fitted = FullGaussian(space, train)
        fits.append((fitted.log_prob(dataset.validation).mean(), fitted, choice))
    validation, best, choice = max(fits, key=lambda fit: fit[0])
    with run.claim(plain):
        size = dataset.event_size
        label = choice if isinstance(choice, str) else " ".join(map(str, choice.values()))
        row = {
            "model": f"Gaussian, full covariance ({label})",
            "parameters": size + size * (size + 1) // 2,
            "seconds": time.monotonic() - start,
            "validation_bits_per_dim": data.bits_per_dim(float(validation), size),
        }
        return _finish(run, row, best.log_prob(dataset.test), dataset)


class FullGaussian:
    """A Gaussian of full covariance, fitted in some space, with its density in the data's units.

    Args:
        space: data [batch, *event] → vectors [batch, d].
        points: [n, *event], to take mean and covariance of; n is above d.
    """

    CHUNK = 10_000

    def __init__(self, space: InvertibleLayer, points: np.ndarray) -> None:
        self.space = space
        count = 0
        total: Any = 0.0
        squares: Any = 0.0
        for values, _ in self._chunks(points):
            count, total = count + len(values), total + values.sum(axis=0)
            squares = squares + values.T @ values
        self.mean: np.ndarray = total / count
        covariance = squares / count - np.outer(self.mean, self.mean)
        self.root = np.linalg.cholesky(covariance)

    def log_prob(self, points: np.ndarray) -> np.ndarray:
        """Log-densities, float64 [n], of points [n, *event], in nats."""
        constant = np.log(np.diag(self.root)).sum() + 0.5 * len(self.mean) * np.log(2 * np.pi)
        found = []
        for values, log_det in self._chunks(points):
            standard = np.linalg.solve(self.root, (values - self.mean).T)
            found.append(log_det - 0.5 * np.sum(standard**2, axis=0) - constant)
        return np.concatenate(found)

    def _chunks(self, points: np.ndarray) -> Any:
        for start in range(0, len(points), self.CHUNK):
            values, log_det = self.space.forward_with_log_det(points[start : start + self.CHUNK])
            yield values.numpy().astype(np.float64), log_det.numpy().astype(np.float64)


def _finish(
    run: Workdir, row: Mapping[str, Any], log_prob: np.ndarray, dataset: data.Dataset
) -> dict[str, Any]:
    """Completes a row by what the test split says and leaves it as the run's figures."""
    figures = {**row, **evaluation.likelihood(log_prob, dataset.event_size)}
    figures["log_prob"] = log_prob.tolist()
    write_atomically(run.figures, json.dumps(figures) + "\n")
    run.seal()
    return figures
