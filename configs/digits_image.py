"""Scikit-learn's digits as 8×8 images with 17 levels, by convolutional blocks.

python scripts/train.py --config=configs/digits_image.py --workdir=runs/digits_image
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the config."""
    config = ml_collections.ConfigDict()

    config.model = ml_collections.ConfigDict()
    config.model.architecture = "resflow-mnist"
    config.model.blocks = (4, 8)
    config.model.width = 32
    config.model.tail_blocks = 4
    config.model.tail_width = 64
    config.model.coefficient = 0.97
    config.model.log_det = {"name": "auto", "training": {"name": "power_series", "terms": 4}}
    config.model.preprocessing = {"name": "logit", "alpha": 1e-6}

    config.data = ml_collections.ConfigDict()
    config.data.name = "digits_image"

    config.training = ml_collections.ConfigDict()
    config.training.seed = 0
    config.training.batch_size = 128
    config.training.steps_per_epoch = 200
    config.training.epochs = 18
    config.training.max_minutes = 9.0
    config.training.learning_rate = 4e-3
    config.training.warmup_steps = 200
    config.training.final_learning_rate = 0.01
    config.training.weight_decay = 1.0
    config.training.clip_norm = 1.0
    config.training.ema_momentum = 0.99
    return config
