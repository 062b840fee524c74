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
    x: Any,
    condition: Any,
    draws: int,
    standard_error: float | None,
    max_draws: int,
) -> LogProb:
    """The mean of as many draws as each example needs.

    Args:
        draw: `(index, x, condition) → values, truncation bounds`, independent for every index.
        x: `[batch, *event]`.
        condition: `[batch, size]`, or None.
        draws: of every example.
        standard_error: to be reached by further ones, or None.
        max_draws: of one example.
    """
    x = tf.convert_to_tensor(x)
    condition = None if condition is None else tf.convert_to_tensor(condition)
    count, mean, squares, bound = (np.zeros(len(x)) for _ in range(4))
    rows, error = np.arange(len(x)), np.zeros(len(x))
    for index in range(max_draws):
        everyone = len(rows) == len(x)
        values, bounds = draw(
            index,
            x if everyone else tf.gather(x, rows),
            condition if everyone or condition is None else tf.gather(condition, rows),
        )
        # Welford's running mean and sum of squared deviations.
        count[rows] += 1
        change = np.asarray(values, np.float64) - mean[rows]
        mean[rows] += change / count[rows]
        squares[rows] += change**2 * (1 - 1 / count[rows])
        bound[rows] += (np.asarray(bounds, np.float64) - bound[rows]) / count[rows]
        error = np.sqrt(squares / np.maximum(count * (count - 1), 1))
        if index + 1 >= draws:
            rows = (
                np.flatnonzero(error > standard_error) if standard_error is not None else rows[:0]
            )
        if not len(rows):
            break
    if len(rows) and standard_error is not None:
        warnings.warn(
            f"{len(rows)} of {len(x)} examples didn't reach a standard error of {standard_error} "
            f"nats in {max_draws} draws; the largest is {error.max():.2g}. Allow more by "
            "max_draws, or use an exact log-determinant.",
            RuntimeWarning,
            stacklevel=3,
        )
    return LogProb(mean, error, bound, count.astype(int))
