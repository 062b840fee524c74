"""The `training` section of a config: its fields, their defaults and their checks."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from tf_iresnet.training.workdir import RunError


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
        final_learning_rate: where the cosine decay ends, as a fraction of the peak.
        weight_decay: AdamW's decoupled decay (times the learning rate at each step), on kernels
            only: biases, slopes and scales are left alone. 0 for none.
        clip_norm: bound on the global norm of the gradient; None for none.
        beta_1: AdamW's decay rate of the mean gradient.
        beta_2: AdamW's decay rate of the mean squared gradient.
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
    final_learning_rate: float = 0.01
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    beta_1: float = 0.9
    beta_2: float = 0.99
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
        for name in ("beta_1", "beta_2", "ema_momentum"):
            self._expect(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        for name in ("warmup_steps", "weight_decay"):
            self._expect(name, getattr(self, name) >= 0, "0 or more")
        self._expect("final_learning_rate", 0 <= self.final_learning_rate <= 1, "in [0, 1]")
        self._expect("jit_compile", self.jit_compile in ("auto", True, False), '"auto" or a bool')

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
