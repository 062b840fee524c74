"""One fit of a density to one split of a table, in a process of its own (see `pinned`)."""

import json
import math
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from comparisons import tables_peers, tables_torch

# TensorFlow, which takes seconds to start, is imported where our flow is trained only.
PEERS = {**tables_torch.METHODS, **tables_peers.METHODS}


def fit_peer(task: Mapping[str, Any], path: str) -> None:
    """Fits one of `PEERS` to standardised rows, and writes its log-densities to `path`.json.

    Args:
        task: `method`, `seconds` of CPU, `seed`, and `rows`, an .npz file with the arrays `train`,
            `validation` and `test`.
        path: of the results, without the ending.
    """
    rows = _load(task["rows"])
    shift, scale = rows["train"].mean(axis=0), rows["train"].std(axis=0)
    standard = {name: (part - shift) / scale for name, part in rows.items()}
    fitted = PEERS[task["method"]](
        standard["train"], standard["validation"], task["seconds"], task["seed"]
    )
    log_probs = {
        name: fitted.log_prob(standard[name]) - np.log(scale).sum()
        for name in ("validation", "test")
    }
    write_results(path, task, fitted.cpu_seconds, fitted.chosen, log_probs)


def fit_ours(task: Mapping[str, Any], path: str) -> None:
    """Trains a config in the workdir `path`, and writes its log-densities to `path`.json.

    The time limit of the config counts the seconds of this process, as those of the peers do.

    Args:
        task: `config`, `rows` as above, and `parts`, the names of those whose densities are wanted.
        path: of the workdir, and of the results, without the ending.
    """
    from tf_iresnet.training import evaluation
    from tf_iresnet.training.callbacks import Schedule
    from tf_iresnet.training.checkpoints import Checkpoints
    from tf_iresnet.training.saved_run import SavedRun
    from tf_iresnet.training.train import train_and_evaluate
    from tf_iresnet.training.workdir import RunError

    Schedule.clock = staticmethod(time.process_time)
    figures = train_and_evaluate(task["config"], path)
    run = SavedRun(path)
    dataset, rows = run.dataset(), _load(task["rows"])
    log_probs = {}
    for name in task["parts"]:
        part = getattr(dataset, name)
        if not np.array_equal(part, rows[name].astype(part.dtype)):
            raise RunError(
                f"Expected the {name} rows that the peers are given. Received: others, in {path}."
            )
        log_probs[name] = evaluation.log_prob(run.flow, part, batch_size=500)
    state = Checkpoints(run.run).read_state()
    seconds = state.elapsed if state else math.nan
    chosen = f"the best of {figures['epochs']} epochs at {figures['best_epoch']}"
    write_results(path, task, seconds, chosen, log_probs)


def _load(path: str) -> dict[str, np.ndarray]:
    with np.load(path) as rows:
        return {name: rows[name].astype(np.float64) for name in ("train", "validation", "test")}


def write_results(
    path: str,
    task: Mapping[str, Any],
    cpu_seconds: float,
    chosen: str,
    log_probs: Mapping[str, np.ndarray],
    **figures: Any,
) -> None:
    """Writes the results to `path`.json; no reader sees half of them."""
    content = {"task": task, "cpu_seconds": cpu_seconds, "chosen": chosen, **figures}
    content |= {name: values.tolist() for name, values in log_probs.items()}
    partial = pathlib.Path(f"{path}.json.partial")
    partial.write_text(json.dumps(content))
    os.replace(partial, f"{path}.json")
