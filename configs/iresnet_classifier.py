"""Invertible residual networks as classifiers, as published (Behrmann et al., arXiv 1811.00995).

    python scripts/train.py --config=configs/iresnet_classifier.py:cifar10 \\
        --workdir=runs/iresnet_classifier

What follows the colon is the data set, cifar10 (if nothing follows) or cifar100, and the number of
residual blocks: "cifar10" has the 21 of the authors' script, "cifar10-54" those of the paper's
table 2, which is about as deep and wide as ResNet-164. Published for these 54 at c = 0.9: 6.78 % of
errors on CIFAR10 and 24.58 % on CIFAR100; without the constraint 6.69 % and 23.97 %, ResNet-164
5.50 % and 24.30 %. None of them was trained here.

--config.model.coefficient=0.5 and the like are the table's other columns (8.71 % and 29.45 %).
"""

import ml_collections

ARCHITECTURES = {"21": "iresnet-classifier-cifar10", "54": "iresnet164-classifier-cifar10"}
# Of the 50,000 published training images 5,000 are kept for validation.
STEPS = 45_000 // 128 + 1


def get_config(data: str = "cifar10") -> ml_collections.ConfigDict:
    """Returns the config for a data set and a number of blocks."""
    name, _, blocks = data.partition("-")
    if name not in ("cifar10", "cifar100") or (blocks or "21") not in ARCHITECTURES:
        raise ValueError(
            f"Expected cifar10, cifar10-54, cifar100 or cifar100-54 after the colon. "
            f"Received: {data!r}."
        )
    config = ml_collections.ConfigDict()

    config.model = ml_collections.ConfigDict()
    config.model.task = "classifier"
    config.model.architecture = ARCHITECTURES[blocks or "21"]
    config.model.coefficient = 0.9
    config.model.preprocessing = "standardize"

    config.data = ml_collections.ConfigDict()
    config.data.name = name
    config.data.flip = True
    config.data.pad_crop = 4

    config.training = ml_collections.ConfigDict()
    config.training.seed = 0
    config.training.batch_size = 128
    config.training.steps_per_epoch = STEPS
    config.training.epochs = 200
    config.training.optimizer = "sgd"
    config.training.momentum = 0.9
    config.training.learning_rate = 0.1
    config.training.warmup_steps = 10 * STEPS
    config.training.decay = "steps"
    config.training.decay_epochs = (60, 120, 160)
    config.training.decay_factor = 0.2
    # The script's L2 penalty of 5e-4 adds up by the momentum, to 5e-4 / (1 − 0.9).
    config.training.weight_decay = 5e-3
    config.training.clip_norm = None
    config.training.ema_momentum = 0.0
    config.training.evaluation_batch_size = 200
    return config
