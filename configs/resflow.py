"""Residual Flows for images, as published (Chen et al., arXiv 1906.02735).

    python scripts/train.py --config=configs/resflow.py:cifar10 --workdir=runs/resflow_cifar10
    python scripts/train.py --config=configs/resflow.py:imagenet32 \\
        --config.data.path=my/imagenet32 --workdir=runs/resflow_imagenet32

What follows the colon is the data set: cifar10 (if nothing follows), mnist, mnist-small,
imagenet32, imagenet64 or celeba256. The last three come from a folder of yours with PNG or JPEG
images, the downsampled ImageNet or CelebA-HQ. Published bits/dim: MNIST 0.970, CIFAR10 3.280,
ImageNet32 4.010, ImageNet64 3.757, and 0.992 for CelebA-HQ at 256×256 with 5 bits a channel; here
it has the 8 bits of its files, so that this figure isn't comparable. None of them was trained here.

"mnist-small" is a flow of MNIST's images for a machine without an accelerator: a fiftieth of the
parameters, a biased but cheap log-determinant in training, and a time limit of three hours:

    python scripts/train.py --config=configs/resflow.py:mnist-small --workdir=runs/mnist
    python scripts/compare.py --table=mnist_densities --workdir=runs/mnist_densities

The second command compares variants of it, and other flows beside it (docs/mnist.md).
"""

import ml_collections

SMALL = "mnist-small"
# Training images. 5,000 of MNIST's and CIFAR10's are kept for validation, and the parts of a
# folder that are kept back leave about as many as the published splits do.
IMAGES = {
    "mnist": 55_000,
    SMALL: 55_000,
    "cifar10": 45_000,
    "imagenet32": 1_280_000,
    "imagenet64": 1_280_000,
    "celeba256": 26_700,
}


def get_config(data: str = "cifar10") -> ml_collections.ConfigDict:
    """Returns the config for a data set."""
    if data not in IMAGES:
        raise ValueError(
            f"Expected one of {', '.join(IMAGES)} after the colon. Received: {data!r}."
        )
    celeba, name = data == "celeba256", data.removesuffix("-small")
    config = ml_collections.ConfigDict()

    config.model = ml_collections.ConfigDict()
    config.model.architecture = f"resflow-{name}"
    # The script draws its further terms from a Poisson law, under which the weights' variance is
    # infinite; a geometric one that falls slowly enough takes more of them.
    config.model.log_det = {
        "name": "auto",
        "training": {"name": "russian_roulette", "exact_terms": 8 if celeba else 2},
        "evaluation": {"name": "russian_roulette", "exact_terms": 20},
    }
    config.model.preprocessing = {"name": "logit", "alpha": 1e-6 if name == "mnist" else 0.05}

    config.data = ml_collections.ConfigDict()
    if name in ("mnist", "cifar10"):
        config.data.name = name
    else:
        config.data.name = "image_folder"
        config.data.path = ml_collections.config_dict.placeholder(str)
        config.data.size = int(data[-3:]) if celeba else int(data[-2:])
        config.data.channels = 3
        config.data.validation = 0.01 if celeba else 0.001
        config.data.test = 0.1 if celeba else 0.0375
    config.data.flip = data in ("cifar10", "celeba256")

    config.training = ml_collections.ConfigDict()
    config.training.seed = 0
    config.training.batch_size = 40 if celeba else 64  # the former as 5 batches of 8, originally
    config.training.steps_per_epoch = -(-IMAGES[data] // config.training.batch_size)
    config.training.epochs = 1000
    config.training.learning_rate = 1e-3
    config.training.warmup_steps = 1000
    config.training.decay = "constant"
    config.training.clip_norm = 1.0
    config.training.beta_2 = 0.99
    config.training.ema_momentum = 0.999
    config.training.evaluation_batch_size = 8 if celeba else 200
    config.training.evaluation_examples = 64 if celeba else 1000
    if data == SMALL:
        make_small(config)
    return config


def make_small(config: ml_collections.ConfigDict) -> None:
    """Turns the config of MNIST into "mnist-small"."""
    config.model.squeeze_first = True
    config.model.blocks = (4, 6)
    config.model.width = (32, 64)
    config.model.kernels = (3, 3)
    config.model.activation = "elu"
    config.model.tail_blocks = 2
    config.model.tail_width = 64
    config.model.log_det = {"name": "auto", "training": {"name": "power_series", "terms": 4}}

    config.training.steps_per_epoch *= 2  # so that validation takes less of the time
    config.training.epochs = 100
    config.training.max_minutes = 180.0
    config.training.learning_rate = 4e-3
    config.training.warmup_steps = 200
    config.training.decay = "cosine"
    config.training.ema_momentum = 0.99
