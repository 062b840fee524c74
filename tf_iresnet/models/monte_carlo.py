"""Log-densities averaged over draws of their estimators, with standard errors."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class LogProb(NamedTuple):
    """Log-densities `[batch]` in nats, and what is known of their errors, each `[batch]`.

    Attributes:
        value: the mean of the draws.
        standard_error: of that mean, from how the draws differ; 0 where nothing is random.
        truncation_bound: on the error of the value from cutting series and Krylov spaces short.
        draws: number of draws.
    """

    value: np.ndarray
    standard_error: np.ndarray
    truncation_bound: np.ndarray
    draws: np.ndarray


def mean_of_draws(
    draw: Callable[[int, Any, Any], tuple[tf.Tensor, tf.Tensor]],
    x: tf.Tensor,
    condition: tf.Tensor | None,
    draws: int,
    standard_error: float | None,
    max_draws: int,
) -> LogProb:
    """The mean of as many draws as each example needs; see `ResidualFlow.log_prob_with_error`.

    `draw(index, x, condition)` returns values, independent for every index, and truncation bounds,
    `[batch]` each.
    """
    count, mean, squares, bound = (np.zeros(len(x)) for _ in range(4))
    rows, error = np.arange(len(x)), np.zeros(len(x))
    wanted = np.inf if standard_error is None else standard_error
    for index in range(max_draws):
        conditions = None if condition is None else tf.gather(condition, rows)
        values, bounds = draw(index, tf.gather(x, rows), conditions)
        # Welford's running mean and sum of squared deviations.
        count[rows] += 1
        change = np.asarray(values, np.float64) - mean[rows]
        mean[rows] += change / count[rows]
        squares[rows] += change**2 * (1 - 1 / count[rows])
        bound[rows] += (np.asarray(bounds, np.float64) - bound[rows]) / count[rows]
        error = np.sqrt(squares / np.maximum(count * (count - 1), 1))
        if index + 1 >= draws:
            rows = np.flatnonzero(error > wanted)
        if not len(rows):
            break
    if len(rows):
        warnings.warn(
            f"{len(rows)} of {len(x)} examples didn't reach a standard error of {standard_error} "
            f"nats in {max_draws} draws; the largest is {error.max():.2g}. Allow more by "
            "max_draws, or use an exact log-determinant.",
            RuntimeWarning,
            stacklevel=3,
        )
    return LogProb(mean, error, bound, count.astype(int))
