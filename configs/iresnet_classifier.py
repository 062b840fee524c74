"""Invertible residual networks as classifiers, as published (Behrmann et al., arXiv 1811.00995).

    python scripts/train.py --config=configs/iresnet_classifier.py:mnist \\
        --workdir=runs/mnist_classifier
    python scripts/train.py --config=configs/iresnet_classifier.py:cifar10 \\
        --workdir=runs/iresnet_classifier

What follows the colon is the data set, mnist, cifar10 (if nothing follows) or cifar100, then the
number of residual blocks and "unconstrained", if wanted: "cifar10-54-unconstrained".

- Blocks: on cifar10 and cifar100 21 as in the authors' script, or "-54", those of the paper's table
  2, which is about as deep and wide as ResNet-164; on mnist 8, for two CPU cores, or "-21", those
  of the paper.
- --config.model.coefficient=0.5 and the like are that table's columns; "-unconstrained" is the same
  network without a bound, an ordinary one: nothing certifies that it has an inverse.

"mnist" took 34 CPU minutes for 20 epochs: 0.44 % of test errors at c = 0.9, where the features of
all 10,000 test images were decoded to 0.0034 grey levels, and 0.40 % without the constraint, one
seed each (docs/mnist.md; published at c = 0.9, 21 blocks: 0.40 %). Published for 54 blocks at
c = 0.9: 6.78 % of errors on CIFAR10 and 24.58 % on CIFAR100 (8.71 % and 29.45 % at 0.5); without
the constraint 6.69 % and 23.97 %, ResNet-164 5.50 % and 24.30 %. These were not trained here.
--config.data.path=mnist.npz names a copy of MNIST of your own.
"""

import ml_collections

# Data → architectures by number of blocks.
OF_CIFAR = {"21": "iresnet-classifier-cifar10", "54": "iresnet164-classifier-cifar10"}
ARCHITECTURES = {
    "mnist": {"8": "iresnet-classifier-mnist", "21": "iresnet21-classifier-mnist"},
    "cifar10": OF_CIFAR,
    "cifar100": OF_CIFAR,
}
UNCONSTRAINED = "unconstrained"


def get_config(data: str = "cifar10") -> ml_collections.ConfigDict:
    """Returns the config for a data set, a number of blocks and with or without the constraint."""
    name, *options = data.split("-")
    free = options[-1:] == [UNCONSTRAINED]
    blocks = options[: len(options) - free]
    choices = ARCHITECTURES.get(name, {})
    blocks = blocks or [*choices][:1]
    if len(blocks) != 1 or blocks[0] not in choices:
        known = ", ".join(f"{name}-{n}" for name, of in ARCHITECTURES.items() for n in of)
        raise ValueError(
            f"Expected mnist, cifar10, cifar100 or one of {known} after the colon, and "
            f"-{UNCONSTRAINED} behind it or not. Received: {data!r}."
        )
    config = ml_collections.ConfigDict()

    config.model = ml_collections.ConfigDict()
    config.model.task = "classifier"
    config.model.architecture = choices[blocks[0]]
    config.model.coefficient = None if free else 0.9
    config.model.preprocessing = "centered" if name == "mnist" else "standardize"

    config.data = ml_collections.ConfigDict()
    config.data.name = name
    config.data.flip = name != "mnist"
    config.data.pad_crop = 2 if name == "mnist" else 4

    config.training = ml_collections.ConfigDict()
    config.training.seed = 0
    config.training.batch_size = 128
    # Of the published training images 5,000 are kept for validation.
    steps = (55_000 if name == "mnist" else 45_000) // 128 + 1
    config.training.steps_per_epoch = steps
    config.training.clip_norm = None
    config.training.evaluation_batch_size = 200
    if blocks == ["8"]:
        # Weights, rate and decay are averaged and lowered to be done in a few epochs.
        config.training.epochs = 20
        config.training.optimizer = "adamw"
        config.training.learning_rate = 3e-3
        config.training.warmup_steps = steps // 2
        config.training.decay = "cosine"
        config.training.weight_decay = 0.1
        config.training.ema_momentum = 0.99
        # The inverse is checked on every test image, where that is certain to end soon.
        config.training.evaluation_examples = 1000 if free else 10_000
    else:
        config.training.epochs = 200
        config.training.optimizer = "sgd"
        config.training.momentum = 0.9
        config.training.learning_rate = 0.1
        config.training.warmup_steps = 10 * steps
        config.training.decay = "steps"
        config.training.decay_epochs = (60, 120, 160)
        config.training.decay_factor = 0.2
        # The script's L2 penalty of 5e-4 adds up by the momentum, to 5e-4 / (1 − 0.9).
        config.training.weight_decay = 5e-3
        config.training.ema_momentum = 0.0
    return config
