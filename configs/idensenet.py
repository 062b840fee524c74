"""Invertible DenseNets for images, as published (Perugachi-Diaz et al., arXiv 2102.02694).

    python scripts/train.py --config=configs/idensenet.py:cifar10 --workdir=runs/idensenet_cifar10
    python scripts/train.py --config=configs/idensenet.py:imagenet32 \\
        --config.data.path=my/imagenet32 --workdir=runs/idensenet_imagenet32

What follows the colon is the data set: cifar10 (if nothing follows), or imagenet32, which comes
from a folder of yours with the downsampled ImageNet as PNG or JPEG images. Published: 3.25 bits/dim
on CIFAR10 and 3.98 on ImageNet32. Neither was trained here.

The weights of the concatenations are learned from the start, as the authors do for ImageNet32; on
CIFAR10 they begin with the 25th epoch.
"""

import ml_collections

# Training images: 5,000 of CIFAR10's are kept for validation, and the parts of a folder that are
# kept back leave about as many as the published split does.
IMAGES = {"cifar10": 45_000, "imagenet32": 1_280_000}


def get_config(data: str = "cifar10") -> ml_collections.ConfigDict:
    """Returns the config for a data set."""
    if data not in IMAGES:
        raise ValueError(f"Expected {' or '.join(IMAGES)} after the colon. Received: {data!r}.")
    config = ml_collections.ConfigDict()

    config.model = ml_collections.ConfigDict()
    config.model.architecture = f"idensenet-{data}"
    config.model.log_det = {
        "name": "auto",
        "training": {"name": "russian_roulette", "exact_terms": 2},
        "evaluation": {"name": "russian_roulette", "exact_terms": 20},
    }
    config.model.preprocessing = {"name": "logit", "alpha": 0.05}

    config.data = ml_collections.ConfigDict()
    if data == "cifar10":
        config.data.name = data
        config.data.flip = True
    else:
        config.data.name = "image_folder"
        config.data.path = ml_collections.config_dict.placeholder(str)
        config.data.size = 32
        config.data.channels = 3
        config.data.validation = 0.001
        config.data.test = 0.0375

    config.training = ml_collections.ConfigDict()
    config.training.seed = 0
    config.training.batch_size = 64
    config.training.steps_per_epoch = -(-IMAGES[data] // 64)
    config.training.epochs = 1000
    config.training.learning_rate = 1e-3
    config.training.warmup_steps = 1000
    config.training.decay = "constant"
    config.training.clip_norm = 1.0
    config.training.beta_2 = 0.99
    config.training.ema_momentum = 0.999
    config.training.evaluation_batch_size = 200
    return config
