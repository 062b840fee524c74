"""The `training` section of a config: its fields, their defaults and their checks."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Annotated, Any

from tf_iresnet.training.fields import check_effects, check_fields
from tf_iresnet.training.workdir import RunError

# Counts and seeds become int32 tensors.
Count = Annotated[int, range(1, 2**31)]
CountOrZero = Annotated[int, range(2**31)]
# The other field, and its values, without which a field has no effect.
_NEEDS = {
    "final_learning_rate": ("decay", ("cosine",)),
    "decay_factor": ("decay", ("steps",)),
    "beta_1": ("optimizer", ("adamw", "adamax")),
    "beta_2": ("optimizer", ("adamw", "adamax")),
    "momentum": ("optimizer", ("sgd",)),
}


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """The options of training, each with a default. Raises RunError for an invalid value."""

    seed: CountOrZero = 0  # of the weights, the batches and the noise of the log-det estimator
    batch_size: Count = 256  # examples per step
    # Equal parts of a batch that are evaluated one after the other, in the memory of one; their
    # gradients add up to those of the step.
    accumulate_steps: Count = 1
    # Steps between two validations, each followed by a checkpoint; None for a pass over the
    # training rows, see `by_rows`.
    steps_per_epoch: Count | None = 200
    epochs: Count = 50  # at most
    # Limit on the wall-clock time in `fit`, over all restarts; None for none. The learning rate
    # follows the steps or the time, whichever is further, so that a run cut short is annealed too.
    # The result is bit-reproducible only while the time is behind.
    max_minutes: float | None = None
    patience: Count | None = None  # epochs without a better validation to end after; None for none
    learning_rate: float = 1e-3  # the peak, reached after the warm-up
    warmup_steps: CountOrZero = 100  # over which the rate grows linearly to its peak
    # "cosine" goes down to the final rate along half a cosine, "constant" stays at the peak,
    # "steps" multiplies by `decay_factor` when each of `decay_epochs` is complete.
    decay: str = "cosine"
    final_learning_rate: float = 0.01  # end of the cosine, as a fraction of the peak
    decay_epochs: tuple[Count, ...] = ()  # increasing
    decay_factor: float = 0.2
    optimizer: str = "adamw"  # or "adamax" or "sgd"
    # Decoupled decay of the kernels alone, `w ← w − rate·weight_decay·w` per step. An L2 penalty
    # `λ/2·‖w‖²` differs: SGD's momentum adds up its gradient, to a decay of `λ/(1 − momentum)`.
    weight_decay: float | None = 0.0  # None: by the number of training rows, see `by_rows`
    clip_norm: float | None = 1.0  # bound on the global norm of the gradient; None for none
    beta_1: float = 0.9  # decay rate of the mean gradient, of "adamw" and "adamax"
    beta_2: float = 0.99  # of the mean squared gradient ("adamw") or of the largest ("adamax")
    momentum: float = 0.9  # of "sgd"
    # Of the moving average of the weights, which is validated, kept and saved; 0 for none.
    ema_momentum: float = 0.99
    # Whether the model is validated before its first step, too, and kept if nothing is better: one
    # that begins from the data may be good already. None: by the number of training rows.
    keep_start: bool | None = False
    jit_compile: str | bool = "auto"  # "auto" (on accelerators), True or False
    # A checkpoint is written at the end of each epoch and when so many minutes, or steps, have
    # passed since the last one; None for no such limit.
    checkpoint_minutes: float | None = 10.0
    checkpoint_steps: Count | None = None
    # What follows a step whose loss or gradients aren't finite, which is never taken: "stop" ends
    # training and keeps the best weights, "skip" goes on with the next batch and counts, "rollback"
    # returns to the last checkpoint, or to the one before if that led to the same failure, with
    # half the learning rate, at most ten times.
    on_nan: str = "stop"
    evaluation_batch_size: Count = 500  # examples per call in validation and evaluation
    evaluation_examples: Count = 1000  # test examples whose inverse is checked, at most

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay_epochs", tuple(self.decay_epochs))  # JSON has lists
        check_fields("training", vars(self), type(self))
        self._expect("learning_rate", self.learning_rate > 0, "above 0")
        parts = self.accumulate_steps
        example = f"a divisor of batch_size={self.batch_size}"
        self._expect("accumulate_steps", self.batch_size % parts == 0, example)
        for name in ("max_minutes", "clip_norm", "checkpoint_minutes"):
            value = getattr(self, name)
            self._expect(name, value is None or value > 0, "above 0, or None for none")
        for name in ("beta_1", "beta_2", "momentum", "ema_momentum"):
            self._expect(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        self._expect("weight_decay", (self.weight_decay or 0) >= 0, "0 or more")
        self._expect("final_learning_rate", 0 <= self.final_learning_rate <= 1, "in [0, 1]")
        self._expect("jit_compile", self.jit_compile in ("auto", True, False), '"auto" or a bool')
        optimizers, decays = ("adamw", "adamax", "sgd"), ("cosine", "constant", "steps")
        after_nan = ("stop", "skip", "rollback")
        named = {"optimizer": optimizers, "decay": decays, "on_nan": after_nan}
        for name, choices in named.items():
            self._expect(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        self._expect("decay_factor", 0 < self.decay_factor <= 1, "in (0, 1]")
        epochs = self.decay_epochs
        if self.decay != "steps":
            self._expect("decay_epochs", not epochs, 'empty, or decay to be "steps"')
            return
        increasing = epochs and all(a < b for a, b in itertools.pairwise((0, *epochs)))
        example = 'increasing numbers of epochs, such as (60, 120, 160), with decay="steps"'
        self._expect("decay_epochs", bool(increasing), example)

    def _expect(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            expected = f"Expected config.training.{name} to be {what}."
            raise RunError(f"{expected} Received: {name}={getattr(self, name)!r}.")

    @property
    def epoch_steps(self) -> int:
        """Steps per epoch. Raises RunError where they aren't known, see `by_rows`."""
        if self.steps_per_epoch is None:
            expected = "Expected config.training.steps_per_epoch for data that aren't in memory."
            raise RunError(f"{expected} Received: None.")
        return self.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Steps of a run that nothing ends early."""
        return self.epochs * self.epoch_steps

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> "TrainingOptions":
        """Returns the options of a config's section `training`.

        Raises RunError that names the field that is unknown, or has an invalid value or one without
        any effect.
        """
        check_fields("training", section, cls)
        options = cls(**section)
        check_effects("training", section, cls, _NEEDS)
        return options
