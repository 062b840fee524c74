"""The `training` section of a config: its fields, their defaults and their checks."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from tf_iresnet.training.workdir import RunError

OPTIMIZERS = ("adamw", "adamax", "sgd")
DECAYS = ("cosine", "constant", "steps")


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """What `train_and_evaluate` can be told about training; a config may leave out any of it.

    Args:
        seed: of the weights, the batches and the noise of the log-det estimator.
        batch_size: examples a step.
        steps_per_epoch: steps between two validations, each followed by a checkpoint.
        epochs: most epochs.
        max_minutes: wall-clock cap on `fit`, all resumed parts of the run together; None for
            none. The learning rate follows steps or clock, whichever is further on, so that a
            capped run is annealed too. Bits can only be reproduced while the clock is behind.
        patience: epochs without a better validation loss before stopping; None to go on.
        learning_rate: the peak, reached after the warm-up.
        warmup_steps: steps over which the rate grows linearly to its peak.
        decay: what follows: "cosine" comes down to the end's rate along a half cosine, "constant"
            stays, "steps" multiplies by `decay_factor` at each of `decay_epochs`.
        final_learning_rate: where the cosine ends, as a fraction of the peak.
        decay_epochs: for "steps": how many epochs are done at each, increasing.
        decay_factor: for "steps".
        optimizer: "adamw", "adamax" or "sgd".
        weight_decay: decoupled decay, `w ← w − rate·weight_decay·w` at each step beside the
            optimizer's own, on kernels only: biases, slopes and scales are left alone. 0 for none.
            An L2 penalty `λ/2·‖w‖²` in the loss, as older scripts have it, isn't the same: SGD
            adds up its gradient `λw` by the momentum, to `λ/(1 − momentum)` in the long run.
        clip_norm: bound on the global norm of the gradient; None for none.
        beta_1: decay rate of the mean gradient, of "adamw" and "adamax".
        beta_2: that of the mean squared gradient, or of the largest one for "adamax".
        momentum: of "sgd".
        ema_momentum: of the moving average of the weights, which validation, the best weights
            and the final model use; 0 for none.
        jit_compile: "auto" (on accelerators), True or False.
        evaluation_batch_size: examples a call in validation and evaluation.
        evaluation_examples: test examples in the reconstruction check and the pictures, at most.
    """

    seed: int = 0
    batch_size: int = 256
    steps_per_epoch: int = 200
    epochs: int = 50
    max_minutes: float | None = None
    patience: int | None = None
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    decay: str = "cosine"
    final_learning_rate: float = 0.01
    decay_epochs: tuple[int, ...] = ()
    decay_factor: float = 0.2
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    beta_1: float = 0.9
    beta_2: float = 0.99
    momentum: float = 0.9
    ema_momentum: float = 0.99
    jit_compile: str | bool = "auto"
    evaluation_batch_size: int = 500
    evaluation_examples: int = 1000

    def __post_init__(self) -> None:
        positive = (
            "batch_size steps_per_epoch epochs learning_rate "
            "evaluation_batch_size evaluation_examples"
        )
        for name in positive.split():
            self._expect(name, getattr(self, name) > 0, "above 0")
        for name in ("max_minutes", "patience", "clip_norm"):
            value = getattr(self, name)
            self._expect(name, value is None or value > 0, "above 0, or None for none")
        for name in ("beta_1", "beta_2", "momentum", "ema_momentum"):
            self._expect(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        for name in ("warmup_steps", "weight_decay"):
            self._expect(name, getattr(self, name) >= 0, "0 or more")
        self._expect("final_learning_rate", 0 <= self.final_learning_rate <= 1, "in [0, 1]")
        self._expect("jit_compile", self.jit_compile in ("auto", True, False), '"auto" or a bool')
        for name, choices in (("optimizer", OPTIMIZERS), ("decay", DECAYS)):
            self._expect(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        self._check_steps()

    def _check_steps(self) -> None:
        object.__setattr__(self, "decay_epochs", tuple(self.decay_epochs))  # JSON has lists
        epochs = self.decay_epochs
        if self.decay != "steps":
            self._expect("decay_epochs", not epochs, 'empty, or decay to be "steps"')
            return
        increasing = all(a < b for a, b in zip((0, *epochs), epochs, strict=False))
        self._expect(
            "decay_epochs",
            bool(epochs) and increasing,
            'increasing numbers of epochs, such as (60, 120, 160), with decay="steps"',
        )
        self._expect("decay_factor", 0 < self.decay_factor <= 1, "in (0, 1]")

    def _expect(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise RunError(
                f"Expected config.training.{name} to be {what}. "
                f"Received: {name}={getattr(self, name)!r}."
            )

    @property
    def total_steps(self) -> int:
        """Steps of a run that nothing ends early."""
        return self.epochs * self.steps_per_epoch

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> "TrainingOptions":
        """Reads the `training` section of a config.

        Raises:
            RunError: naming the field that doesn't exist, or whose value is no use.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in section:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}."
                raise RunError(
                    f"Expected only known fields in config.training. Received: {name} ({hint})"
                )
        try:
            return cls(**section)
        except TypeError as error:  # a comparison of, say, a string with 0
            raise RunError(f"Expected numbers in config.training. Received: {error}.") from error
