"""Handwritten digits, 8×8 pixels of 17 grey levels (scikit-learn's), dequantised.

    python scripts/train.py --config=configs/digits.py --workdir=runs/digits

Training ends after three minutes at most; `make demo` runs this command.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the config."""
    config = ml_collections.ConfigDict()

    config.model = ml_collections.ConfigDict()
    config.model.num_blocks = 10
    config.model.hidden_units = (128, 128, 128)
    config.model.coefficient = 0.97
    config.model.activation = "lipswish"
    config.model.log_det = "auto"

    config.data = ml_collections.ConfigDict()
    config.data.name = "digits"

    config.training = ml_collections.ConfigDict()
    config.training.seed = 0
    config.training.batch_size = 128
    config.training.steps_per_epoch = 50
    config.training.epochs = 60
    config.training.max_minutes = 2.8
    config.training.patience = 15
    config.training.learning_rate = 2e-3
    config.training.warmup_steps = 100
    config.training.final_learning_rate = 0.01
    config.training.weight_decay = 0.0
    config.training.clip_norm = 1.0
    config.training.ema_momentum = 0.99
    return config
