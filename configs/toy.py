"""Two-dimensional toy densities: data beside a heat map of the model, and the exact KL divergence.

    python scripts/train.py --config=configs/toy.py:checkerboard --workdir=runs/checkerboard

What follows the colon names the density: 8gaussians (if nothing follows), checkerboard, circles,
moons, pinwheel, rings, swissroll or 2spirals. The run ends after five minutes at most.
"""

import ml_collections


def get_config(density: str = "8gaussians") -> ml_collections.ConfigDict:
    """Returns the config of one density."""
    config = ml_collections.ConfigDict()

    config.model = ml_collections.ConfigDict()
    config.model.block = "monotone"
    config.model.branch = "lipschitz_mlp"
    config.model.num_blocks = 10
    config.model.hidden_units = (64, 64)
    config.model.coefficient = 0.97
    config.model.activation = "sine"
    config.model.log_det = "exact"
    config.model.base = "normal"  # "learned_student_t": heavy tails; "mixture": separate groups

    config.data = ml_collections.ConfigDict()
    config.data.name = "toy"
    config.data.density = density

    config.training = ml_collections.ConfigDict()
    config.training.seed = 0
    config.training.batch_size = 500
    config.training.steps_per_epoch = 200
    config.training.epochs = 21
    config.training.max_minutes = 4.5
    config.training.learning_rate = 2e-3
    config.training.warmup_steps = 100
    config.training.final_learning_rate = 0.01
    config.training.clip_norm = 1.0
    config.training.ema_momentum = 0.99
    return config
