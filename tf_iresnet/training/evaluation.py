"""Figures of a trained model on held-out data, with their standard errors."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import stats

from tf_iresnet import data
from tf_iresnet.certify import Certificate
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.inverse_report import InverseReport, inverse_report
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.models.monte_carlo import LogProb
from tf_iresnet.training import calibration, sampling
from tf_iresnet.training.attempts import Attempts


def evaluate_split(
    model: InvertibleModel,
    dataset: data.Dataset,
    split: str,
    certificate: Certificate,
    **sizes: Any,
) -> dict[str, Any]:
    """Returns what `evaluate` measures on a split, "test" or "validation", and which data it is.

    Of data without a test part that is the validation part, whatever is asked for.
    """
    meta = sampling.describe_data(dataset)
    known: dict[str, Any] = {"truth": dataset.log_prob, "deviation": meta["deviation"]}
    known["labels"] = dataset.labels and getattr(dataset.labels, split)
    known["condition"] = dataset.conditions and getattr(dataset.conditions, split)
    figures = evaluate(model, getattr(dataset, split), certificate, **known, **sizes, meta=meta)
    split = split if dataset.has_test else "validation"
    return {"data": dataset.name, "split": split, "levels": dataset.levels, **figures}


def evaluate(
    model: InvertibleModel,
    points: np.ndarray,
    certificate: Certificate,
    truth: Callable[[np.ndarray], Any] | None = None,
    batch_size: int = 500,
    examples: int = 1000,
    deviation: Any = None,
    labels: np.ndarray | None = None,
    condition: np.ndarray | None = None,
    meta: Mapping[str, Any] | None = None,
    density: LogProb | None = None,
) -> dict[str, Any]:
    """Returns all figures of a model on held-out points [n, *event], the same at every call.

    Args:
        model: a flow, a classifier or both, in the units of the points.
        truth: the true log-density, [n, *event] → [n] in nats, if known.
        examples: at most so many check the inverse, by their `deviation`: see `reconstruction`.
        labels: of the points [n], for a model that classifies.
        condition: of the points [n, size], for a conditional density.
        meta: `sampling.describe_data` of the points, for the `calibration.figures` of such a one.
        density: the `log_prob_with_error` of the points, where it is known already.

    Returns:
        `examples`; for a density what its `base` is, the figures of `likelihood`, of `divergence`
        if there is a truth, the `estimator_standard_error` that the log-det's probes leave in the
        mean and the largest `truncation_bound` of an example, both in nats; for a classifier those
        of `classification`; for a conditional density those of `calibration.figures`;
        then the figures of `reconstruction`, the largest certified `lipschitz_bound` of a block,
        and whether the model is `invertible`. One that isn't finite is None; `warnings`, if there
        are any, name it and those that can't be computed.
    """
    figures: dict[str, Any] = {"examples": len(points)}
    largest, attempts = largest_bound(certificate), Attempts()
    if isinstance(model, ResidualFlow):
        figures["base"] = model.base.describe()
        with attempts("the figures of the density"):
            if density is None:
                density = log_prob_with_error(model, points, batch_size, largest, condition)
            figures |= likelihood(density.value, model.event_size)
            if truth is not None:
                figures |= divergence(np.asarray(truth(points.astype(np.float64))), density.value)
            noise = np.sqrt(np.sum(density.standard_error**2)) / len(points)
            figures["estimator_standard_error"] = float(noise)
            figures["truncation_bound"] = float(density.truncation_bound.max())
    if labels is not None and hasattr(model, "class_log_prob"):
        with attempts("the figures of classification"):
            figures |= classification(model, points, labels, batch_size)
    if condition is not None and meta is not None:
        with attempts("the figures of calibration"):
            predictions = calibration.predict(model, points, condition, meta)
            figures |= calibration.figures(predictions, meta["columns"])
    few = None if condition is None else condition[:examples]
    with attempts("the errors of the inverse"):
        figures |= reconstruction(model, points[:examples], batch_size, deviation, few)
    known = {"lipschitz_bound": largest, "invertible": certificate.invertible}
    return attempts.finite(figures | known)


def largest_bound(certificate: Certificate) -> float:
    """Returns the largest Lipschitz bound of a block."""
    return max(block.lipschitz for block in certificate.blocks)


def map_batches(
    function: Callable[..., Any],
    points: np.ndarray,
    size: int,
    seed: int | None = None,
    condition: np.ndarray | None = None,
) -> Any:
    """Returns `function(batch)` of all points [n, …], joined along the first axis.

    A graph is traced per shape, so every batch has `size` rows: the last one is filled up with its
    first row, and what the function returns for the filling is dropped. With a `seed`, it is called
    as `function(batch, seed=[seed, index of the batch])`, and with a `condition` [n, size] it is
    given `condition=` that of the batch.
    """
    size = min(size, max(1, len(points)))
    results = []
    for index, start in enumerate(range(0, len(points), size)):
        batch = slice(start, start + size)
        count = len(points[batch])
        options: dict[str, Any] = {} if seed is None else {"seed": [seed, index]}
        if condition is not None:
            options["condition"] = _filled_up(condition[batch], size)
        result = function(_filled_up(points[batch], size), **options)
        result = tf.nest.map_structure(np.asarray, result)
        results.append(tf.nest.map_structure(lambda part, count=count: part[:count], result))
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *results)


def _filled_up(rows: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([rows, np.repeat(rows[:1], size - len(rows), axis=0)])


def log_prob(
    flow: ResidualFlow,
    points: np.ndarray,
    batch_size: int,
    seed: int = 0,
    condition: np.ndarray | None = None,
) -> np.ndarray:
    """Returns the log-density, float64 [n] in nats, of points [n, *event]; `seed` decides it."""
    return map_batches(flow.log_prob, points, batch_size, seed, condition).astype(np.float64)


def log_prob_with_error(
    flow: ResidualFlow,
    points: np.ndarray,
    batch_size: int,
    lipschitz: float,
    condition: np.ndarray | None = None,
) -> LogProb:
    """Returns `flow.log_prob_with_error` of points [n, *event] from two draws, every field [n]."""
    estimate = functools.partial(flow.log_prob_with_error, draws=2, lipschitz=lipschitz)
    return map_batches(estimate, points, batch_size, 0, condition)


def mean_and_standard_error(values: np.ndarray) -> tuple[float, float | None]:
    """Returns the mean of independent values [n] and its standard error, None for one value."""
    if len(values) < 2:
        return float(values.mean()), None
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def distribution_distance(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Returns the largest difference between two samples' distribution functions, [n] and [m].

    That is the statistic of Kolmogorov and Smirnov; beside it, the distance that 5 % of pairs of
    samples of one distribution exceed.
    """
    distance = float(stats.ks_2samp(x, y, method="asymp").statistic)
    return distance, float(stats.kstwobign.isf(0.05) * math.sqrt(1 / len(x) + 1 / len(y)))


def _mean(name: str, values: np.ndarray) -> dict[str, float | None]:
    mean, error = mean_and_standard_error(values)
    return {name: mean, f"{name}_standard_error": error}


def likelihood(log_q: np.ndarray, event_size: int) -> dict[str, float | None]:
    """Returns negative log-likelihood (nats) and bits/dim, with their standard errors.

    The errors are those of the finite number of examples, and include the noise of the log-det's
    probes. Dequantised examples give the variational bound on the discrete likelihood (Theis et
    al., arXiv 1511.01844, section 3.1). `log_q` are log-densities of the examples [n], nats.
    """
    bits = data.bits_per_dim(log_q, event_size)
    return _mean("negative_log_likelihood", -log_q) | _mean("bits_per_dim", bits)


def divergence(log_p: np.ndarray, log_q: np.ndarray) -> dict[str, float | None]:
    """Returns KL(p‖q) = E_p[ln p(x) − ln q(x)] and its standard error, nats, from [n] samples of p.

    The mean is that of −H(p) − E_p[ln q], but the difference of two log-densities varies far less
    between points than either of them.
    """
    return _mean("kl_divergence", log_p - log_q)


def classification(
    model: Any, points: np.ndarray, labels: np.ndarray, batch_size: int
) -> dict[str, float | None]:
    """Returns `accuracy` and `cross_entropy` (nats per example), each with its standard error."""
    log_probs = map_batches(model.class_log_prob, points, batch_size).astype(np.float64)
    right = (log_probs.argmax(axis=1) == labels).astype(np.float64)
    entropy = -log_probs[np.arange(len(labels)), labels]
    return _mean("accuracy", right) | _mean("cross_entropy", entropy)


def reconstruction(
    model: InvertibleModel,
    points: np.ndarray,
    batch_size: int,
    deviation: Any = None,
    condition: np.ndarray | None = None,
) -> dict[str, Any]:
    """Returns the errors of the inverse on points [n, *event] and, for a flow, on as many samples.

    Errors are measured in the `deviation` of each entry [*event], for entries of different units,
    or in the data's units if it is None.

    Returns:
        `reconstruction_error`: largest |decode(encode(x)) − x| of any entry of the examples whose
        inverse was found, None without any, in the `error_unit`; `reconstruction_failures`: the
        number of the others; `sample_reconstruction_error`: largest |encode(decode(z)) − z|, in
        latent units, of a flow; `inverse_iterations`: the most that any block took for any example
        or sample; `inverse_converged`: whether all of them did; `reconstructed_examples`: n.
    """
    unit = 1.0 if deviation is None else np.asarray(deviation)
    reports: list[InverseReport] = []

    def invert(z: tf.Tensor, condition: Any) -> np.ndarray:
        reports.append(inverse_report(model, z, condition))
        return reports[-1].value

    def error(x: np.ndarray, condition: Any = None) -> np.ndarray:
        return _largest_errors((invert(model.encode(x, condition), condition) - x) / unit)

    def sample_error(x: np.ndarray, seed: list[int], condition: Any = None) -> np.ndarray:
        z = model.base.sample(len(x), tf.constant(seed), 1.0, *model.base.arguments(condition))
        return _largest_errors(model.encode(invert(z, condition), condition) - z)

    errors, samples = map_batches(error, points, batch_size, condition=condition), {}
    if isinstance(model, ResidualFlow):
        largest = np.max(map_batches(sample_error, points, batch_size, 1, condition))
        samples["sample_reconstruction_error"] = float(largest)
    found = errors[np.isfinite(errors)]
    return {
        "reconstruction_error": float(np.max(found)) if len(found) else None,
        "error_unit": "the data's units" if deviation is None else "standard deviations",
        "reconstruction_failures": len(errors) - len(found),
        "inverse_iterations": max(int(report.evaluations.max(initial=0)) for report in reports),
        "inverse_converged": all(bool(report.solved.all()) for report in reports),
        "reconstructed_examples": len(points),
        **samples,
    }


def _largest_errors(difference: tf.Tensor) -> np.ndarray:
    """Largest absolute entry of each example, [n]; NaN if it has one."""
    return np.abs(difference).reshape(len(difference), -1).max(axis=1)
