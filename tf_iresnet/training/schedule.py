"""How the learning rate goes: up a ramp, then down, in step with the clock if that is ahead."""

import math

from tf_iresnet.training.options import TrainingOptions


def progress(step: int, elapsed: float, options: TrainingOptions) -> float:
    """Returns how far a run is, in [0, 1], by its steps or by its clock, whichever is more.

    The clock says nothing in the first half of its time and goes from 0 to 1 in the second. So a
    run that is too slow for its cap is annealed in that half, and one that will be done before its
    cap follows its steps alone, although the first of them took long to trace.

    Args:
        step: steps done.
        elapsed: seconds spent.
        options: total steps and `max_minutes`.
    """
    by_steps = step / options.total_steps
    if options.max_minutes is None:
        return min(1.0, by_steps)
    by_clock = 2 * elapsed / (60 * options.max_minutes) - 1
    return min(1.0, max(by_steps, by_clock))


def learning_rate(step: int, fraction: float, options: TrainingOptions) -> float:
    """Returns the learning rate of a step.

    A linear ramp over `warmup_steps` (the first step isn't 0) times what `decay` says: a half
    cosine from the peak at fraction 0 to `final_learning_rate` of it at 1 (SGDR, arXiv 1608.03983,
    equation 5), `decay_factor` to the number of `decay_epochs` passed, or 1.

    Args:
        step: steps done before this one.
        fraction: the `progress` of the run.
        options: peak, ramp and decay.
    """
    ramp = min(1.0, (step + 1) / options.warmup_steps) if options.warmup_steps else 1.0
    return options.learning_rate * ramp * _decay(fraction, options)


def _decay(fraction: float, options: TrainingOptions) -> float:
    if options.decay == "constant":
        return 1.0
    if options.decay == "steps":
        # Half a step of tolerance, for the rounding of the fraction.
        done = (fraction * options.total_steps + 0.5) / options.steps_per_epoch
        return options.decay_factor ** sum(done >= epoch for epoch in options.decay_epochs)
    end = options.final_learning_rate
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * fraction))
