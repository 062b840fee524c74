"""What a trained model is worth on data it hasn't seen, with the errors of the figures."""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.certify import Certificate
from tf_iresnet.models.draws import LogProb
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.inverse_report import InverseReport, inverse_report
from tf_iresnet.models.invertible import InvertibleModel


def evaluate(
    model: InvertibleModel,
    points: np.ndarray,
    certificate: Certificate,
    truth: Callable[[np.ndarray], Any] | None = None,
    batch_size: int = 500,
    examples: int = 1000,
    deviation: Any = None,
    labels: np.ndarray | None = None,
) -> dict[str, Any]:
    """Returns all figures of a model on some points; every call gives the same ones.

    Args:
        model: a flow, a classifier or both, in the units of the points.
        points: [n, *event], which the model wasn't trained on.
        certificate: of the model.
        truth: the points' true log-density [n], nats, if it is known.
        batch_size: examples a call.
        examples: on how many, at most, the inverse is checked.
        deviation: as of `reconstruction`.
        labels: of the points [n], for a model that tells classes.

    Returns:
        `examples`; of a density the figures of `likelihood`, of `divergence` if there is a truth,
        the `estimator_standard_error` that the log-det's probes leave in the mean and the largest
        `truncation_bound` of an example, both in nats; of a classifier those of `classification`;
        then the figures of `reconstruction`, the largest certified `lipschitz_bound` of a block,
        and whether the model is `invertible`.
    """
    figures: dict[str, Any] = {"examples": len(points)}
    largest = max(block.lipschitz for block in certificate.blocks)
    if isinstance(model, ResidualFlow):
        density = log_prob_with_error(model, points, batch_size, largest)
        figures |= likelihood(density.value, model.event_size)
        if truth is not None:
            figures |= divergence(np.asarray(truth(points.astype(np.float64))), density.value)
        figures["estimator_standard_error"] = float(
            np.sqrt(np.sum(density.standard_error**2)) / len(points)
        )
        figures["truncation_bound"] = float(density.truncation_bound.max())
    if labels is not None and hasattr(model, "class_log_prob"):
        figures |= classification(model, points, labels, batch_size)
    figures |= reconstruction(model, points[:examples], batch_size, deviation)
    figures["lipschitz_bound"] = largest
    figures["invertible"] = certificate.invertible
    return figures


def in_batches(points: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields batches of exactly `size` and how many of their rows count.

    The last one is filled up with its first row: another shape would be another graph to trace.
    """
    for start in range(0, len(points), size):
        batch = points[start : start + size]
        fill = np.repeat(batch[:1], size - len(batch), axis=0)
        yield np.concatenate([batch, fill]), len(batch)


def log_prob(flow: ResidualFlow, points: np.ndarray, batch_size: int, seed: int = 0) -> np.ndarray:
    """Returns the log-density, float64 [n], of points [n, *event] in nats.

    Args:
        flow: in the units of `points`.
        points: [n, *event].
        batch_size: examples a call.
        seed: of an estimated log-det; the same one gives the same bits.
    """
    values = [
        flow.log_prob(batch, seed=[seed, i])[:count].numpy()
        for i, (batch, count) in enumerate(in_batches(points, batch_size))
    ]
    return np.concatenate(values).astype(np.float64)


def log_prob_with_error(
    flow: ResidualFlow,
    points: np.ndarray,
    batch_size: int,
    lipschitz: float,
    seed: int = 0,
    draws: int = 2,
) -> LogProb:
    """Returns `flow.log_prob_with_error` of points [n, *event], every field [n].

    Args:
        flow, points, batch_size, seed: as of `log_prob`.
        lipschitz: certified bound on the branch of every block.
        draws: of the estimators for each example.
    """
    parts = []
    for i, (batch, count) in enumerate(in_batches(points, batch_size)):
        density = flow.log_prob_with_error(batch, seed=[seed, i], draws=draws, lipschitz=lipschitz)
        parts.append([field[:count] for field in density])
    return LogProb(*map(np.concatenate, zip(*parts, strict=True)))


def mean_and_standard_error(values: np.ndarray) -> tuple[float, float]:
    """Returns the mean of independent values [n] and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def likelihood(log_q: np.ndarray, event_size: int) -> dict[str, float]:
    """Returns negative log-likelihood (nats an example) and bits/dim, with standard errors.

    The errors are those of the finite number of examples, the noise of the log-det's probes
    included where there are any. Dequantised examples give the variational bound on the discrete
    likelihood (Theis et al., arXiv 1511.01844, section 3.1).

    Args:
        log_q: log-densities of the examples [n], nats.
        event_size: dimensions of an example.
    """
    mean, error = mean_and_standard_error(-log_q)
    return {
        "negative_log_likelihood": mean,
        "negative_log_likelihood_standard_error": error,
        "bits_per_dim": data.bits_per_dim(-mean, event_size),
        "bits_per_dim_standard_error": data.bits_per_dim(-error, event_size),
    }


def divergence(log_p: np.ndarray, log_q: np.ndarray) -> dict[str, float]:
    """Returns KL(p‖q) = E_p[ln p(x) − ln q(x)] in nats and its standard error.

    The same mean as −H(p) − E_p[ln q], but the difference of two log-densities varies far less
    from point to point than either of them.

    Args:
        log_p: true log-densities of samples of p [n], nats.
        log_q: those of the model [n].
    """
    mean, error = mean_and_standard_error(log_p - log_q)
    return {"kl_divergence": mean, "kl_divergence_standard_error": error}


def classification(
    model: Any, points: np.ndarray, labels: np.ndarray, batch_size: int
) -> dict[str, float]:
    """Returns `accuracy` and `cross_entropy` (nats an example), each with its standard error.

    Args:
        model: with a `class_log_prob`.
        points: [n, *event].
        labels: of the points [n].
        batch_size: examples a call.
    """
    values = [
        model.class_log_prob(batch)[:count].numpy()
        for batch, count in in_batches(points, batch_size)
    ]
    log_probs = np.concatenate(values).astype(np.float64)
    right = (log_probs.argmax(axis=1) == labels).astype(np.float64)
    accuracy, accuracy_error = mean_and_standard_error(right)
    entropy, entropy_error = mean_and_standard_error(-log_probs[np.arange(len(labels)), labels])
    return {
        "accuracy": accuracy,
        "accuracy_standard_error": accuracy_error,
        "cross_entropy": entropy,
        "cross_entropy_standard_error": entropy_error,
    }


def reconstruction(
    model: InvertibleModel, points: np.ndarray, batch_size: int, deviation: Any = None
) -> dict[str, Any]:
    """Returns how well the inverse undoes the network, on data and, of a flow, on as many samples.

    Args:
        model: any.
        points: [n, *event].
        batch_size: examples a call.
        deviation: of each entry [*event], to measure errors by where entries are of different
            units; None to measure in the data's units.

    Returns:
        `reconstruction_error`: largest |decode(encode(x)) − x| of any entry of the examples that
        came back, None if none did, in the `error_unit`; `reconstruction_failures`: how many
        didn't; `sample_reconstruction_error`: largest |encode(decode(z)) − z|, in latent units, of
        a flow; `inverse_iterations`: the most that any block took for any example or sample;
        `inverse_converged`: whether all of them did; `reconstructed_examples`.
    """
    unit = 1.0 if deviation is None else np.asarray(deviation)
    errors, sample_errors = [], []
    reports: list[InverseReport] = []

    def invert(z: tf.Tensor) -> np.ndarray:
        reports.append(inverse_report(model, z))
        return reports[-1].value

    for i, (x, count) in enumerate(in_batches(points, batch_size)):
        errors.append(_largest_errors((invert(model.encode(x)) - x) / unit)[:count])
        if isinstance(model, ResidualFlow):
            z = model.base.sample(len(x), tf.constant([1, i]))
            sample_errors.append(_largest_errors(model.encode(invert(z)) - z)[:count])
    error = np.concatenate(errors)
    back = error[np.isfinite(error)]
    figures = {
        "reconstruction_error": float(np.max(back)) if len(back) else None,
        "error_unit": "the data's units" if deviation is None else "standard deviations",
        "reconstruction_failures": len(error) - len(back),
        "inverse_iterations": max(int(report.evaluations.max(initial=0)) for report in reports),
        "inverse_converged": all(bool(report.solved.all()) for report in reports),
        "reconstructed_examples": len(points),
    }
    if sample_errors:
        figures["sample_reconstruction_error"] = float(np.max(np.concatenate(sample_errors)))
    return figures


def decode(model: InvertibleModel, z: Any) -> tf.Tensor:
    """Returns `model.decode(z)` without a warning: failures are counted, or seen, as NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return model.decode(z)


def _largest_errors(difference: tf.Tensor) -> np.ndarray:
    """Largest absolute entry of each example, [n]; NaN where one is."""
    return np.abs(difference).reshape(len(difference), -1).max(axis=1)
