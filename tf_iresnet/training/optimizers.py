"""The optimizer that a config's training options describe."""

from typing import Any

import keras

from tf_iresnet.training.options import TrainingOptions


def optimizer(options: TrainingOptions, model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the optimizer with clipping, weight averaging and decoupled weight decay.

    AdamW (arXiv 1711.05101), Adamax (arXiv 1412.6980, section 7.1) or gradient descent with
    momentum. The decay, `w ← w − rate·weight_decay·w` before the step of any of them, spares all
    weights of `model` but kernels.

    Args:
        options: which one, and its numbers.
        model: whose weights it is for; built.
    """
    common = {
        "learning_rate": options.learning_rate,
        "weight_decay": options.weight_decay,
        "global_clipnorm": options.clip_norm,
        "use_ema": options.ema_momentum > 0,
        "ema_momentum": options.ema_momentum,
    }
    made = _make(options, common)
    spared = [v for v in model.trainable_variables if "kernel" not in v.path]
    made.exclude_from_weight_decay(var_list=spared)
    return made


def _make(options: TrainingOptions, common: dict[str, Any]) -> keras.optimizers.Optimizer:
    if options.optimizer == "sgd":
        return keras.optimizers.SGD(momentum=options.momentum, **common)
    adaptive = {"adamw": keras.optimizers.AdamW, "adamax": keras.optimizers.Adamax}
    return adaptive[options.optimizer](beta_1=options.beta_1, beta_2=options.beta_2, **common)
