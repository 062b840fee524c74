"""Invertible residual networks as densities, as published (Behrmann et al., arXiv 1811.00995).

    python scripts/train.py --config=configs/iresnet.py:cifar10 --workdir=runs/iresnet_cifar10

What follows the colon is the data set: cifar10 (if nothing follows), mnist or mnist28. Published:
3.45 bits/dim on CIFAR10, 1.06 on MNIST. None of them was trained here.

The authors' script trains on MNIST padded to 32×32×3, as "mnist" does, whose bits/dim aren't those
of the images themselves. "mnist28" has these, 28×28×1, and two of the three scales: 28 pixels can
be halved twice.

The paper has 32 blocks at each scale, its script the 16 of this architecture; for the former add
--config.model.blocks='(32, 32, 32)'.
"""

import ml_collections

# Of the published training images 5,000 are kept for validation; an epoch goes through the rest.
MNIST_STEPS = 55_000 // 128 + 1
STEPS = {"cifar10": 45_000 // 128 + 1, "mnist": MNIST_STEPS, "mnist28": MNIST_STEPS}
SCALES = {"cifar10": 3, "mnist": 3, "mnist28": 2}


def get_config(data: str = "cifar10") -> ml_collections.ConfigDict:
    """Returns the config for a data set."""
    if data not in STEPS:
        expected = f"Expected one of {', '.join(STEPS)} after the colon."
        raise ValueError(f"{expected} Received: {data!r}.")
    cifar = data == "cifar10"
    config = ml_collections.ConfigDict()

    config.model = ml_collections.ConfigDict()
    config.model.architecture = "iresnet-cifar10" if cifar else "iresnet-mnist"
    config.model.blocks = (16,) * SCALES[data]
    terms = {"name": "power_series", "terms": 5 if cifar else 10}
    config.model.log_det = {"name": "auto", "training": terms}
    config.model.preprocessing = "centered"

    config.data = ml_collections.ConfigDict()
    config.data.name = "cifar10" if cifar else "mnist"
    if cifar:
        config.data.flip = True
        config.data.pad_crop = 4
    else:
        config.data.padded = data == "mnist"

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
