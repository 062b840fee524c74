"""Invertible residual networks as densities, as published (Behrmann et al., arXiv 1811.00995).

    python scripts/train.py --config=configs/iresnet.py:cifar10 --workdir=runs/iresnet_cifar10

What follows the colon is the data set: cifar10 (if nothing follows) or mnist. Published: 3.45
bits/dim on CIFAR10, 1.06 on MNIST. Neither was trained here.

The authors' script trains on MNIST padded to 32×32×3, whose bits/dim aren't those of 28×28 pixels.
The paper has 32 blocks at each scale, its script the 16 of this architecture; for the former add
--config.model.blocks='(32, 32, 32)'.
"""

import ml_collections

# Of the published training images 5,000 are kept for validation; an epoch goes through the rest.
STEPS = {"cifar10": 45_000 // 128 + 1, "mnist": 55_000 // 128 + 1}
TERMS = {"cifar10": 5, "mnist": 10}


def get_config(data: str = "cifar10") -> ml_collections.ConfigDict:
    """Returns the config for a data set."""
    if data not in STEPS:
        raise ValueError(f"Expected {' or '.join(STEPS)} after the colon. Received: {data!r}.")
    config = ml_collections.ConfigDict()

    config.model = ml_collections.ConfigDict()
    config.model.architecture = f"iresnet-{data}"
    config.model.blocks = (16, 16, 16)
    terms = {"name": "power_series", "terms": TERMS[data]}
    config.model.log_det = {"name": "auto", "training": terms}
    config.model.preprocessing = "centered"

    config.data = ml_collections.ConfigDict()
    config.data.name = data
    if data == "mnist":
        config.data.padded = True
    else:
        config.data.flip = True
        config.data.pad_crop = 4

    config.training = ml_collections.ConfigDict()
    config.training.seed = 0
    config.training.batch_size = 128
    config.training.steps_per_epoch = STEPS[data]
    config.training.epochs = 200
    config.training.optimizer = "adamax"
    # The script's ramp goes on through the second epoch, and so stays at twice its rate.
    config.training.learning_rate = 3e-3
    config.training.warmup_steps = STEPS[data]
    config.training.decay = "constant"
    config.training.beta_2 = 0.999
    config.training.clip_norm = None
    config.training.ema_momentum = 0.0
    config.training.evaluation_batch_size = 200
    return config
