"""Handwritten digits, 8×8 pixels of 17 grey levels (scikit-learn's), dequantised.

    python scripts/train.py --config=configs/digits.py --workdir=runs/digits

Training ends after three minutes at most; `make demo` runs this command.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the config."""
    config = ml_collections.ConfigDict()

    config.model = ml_collections.ConfigDict()
    config.model.block = "residual"
    config.model.branch = "spectral"  # or "lipschitz_mlp"
    config.model.num_blocks = 10
    config.model.hidden_units = (64, 64)
    config.model.coefficient = 0.97
    config.model.activation = "elu"
    config.model.log_det = {"name": "auto", "training": {"name": "power_series", "terms": 4}}
    config.model.preprocessing = {"name": "logit", "alpha": 1e-6}

    config.data = ml_collections.ConfigDict()
    config.data.name = "digits"

    config.training = ml_collections.ConfigDict()
    config.training.seed = 0
    config.training.batch_size = 128
    config.training.steps_per_epoch = 200
    config.training.epochs = 18
    config.training.max_minutes = 2.8
    config.training.patience = None
    config.training.learning_rate = 4e-3
    config.training.warmup_steps = 200
    config.training.final_learning_rate = 0.01
    config.training.weight_decay = 0.5
    config.training.clip_norm = 1.0
    config.training.ema_momentum = 0.99
    return config
