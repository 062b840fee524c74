"""Fields that a config leaves open, filled in by the number of training rows.

`scripts/compare.py --table=tables` compares such choices. On validation rows of one split, after a
minute each: 342 penguins were fitted better by 5 blocks of 32 and 32 units that begin as a fitted
mixture and whose weights decay (by 0.23 ± 0.11 nats, and in a third of the time), 20,000 rows of a
simulator and 54,000 diamonds better by 10 blocks of 64 and 64 units and a normal base (by 0.10 and
0.17 nats). 6 instead of 5, as blocks that take turns come in pairs. Where few ends wasn't measured.
"""

from typing import Any

import numpy as np

from tf_iresnet import data
from tf_iresnet.training.workdir import Config

FEW = 2000  # rows
_STEPS = 20, 200  # fewest and most of an epoch that is a pass over the rows
_MODEL = {
    True: {
        "num_blocks": 6,
        "hidden_units": (32, 32),
        "initial_gain": 0.1,
        "preprocessing": "auto",
        "base": "fitted_mixture",
    },
    False: {
        "num_blocks": 10,
        "hidden_units": (64, 64),
        "initial_gain": 1.0,
        "preprocessing": "gaussianize",
        "base": "normal",
    },
}
_TRAINING = {
    True: {"weight_decay": 0.1, "keep_start": True},
    False: {"weight_decay": 0.0, "keep_start": False},
}


def fill_in(config: Config, dataset: data.Dataset) -> dict[str, Any]:
    """Returns a config whose fields that are None have the values which suit the training rows.

    These are `num_blocks`, `hidden_units` and `base` of the section `model`, `steps_per_epoch` (a
    pass over the rows) and `weight_decay` of `training`. Others stay as they are, as does all of a
    config for data without an end.
    """
    if (rows := dataset.training_size) is None:
        return dict(config)
    few = rows < FEW
    passes = -(-rows // config["training"]["batch_size"])
    chosen: dict[str, dict[str, Any]] = {
        "model": dict(_MODEL[few]),
        "training": {
            "steps_per_epoch": int(np.clip(passes, *_STEPS)),
            **_TRAINING[few],
        },
    }
    if dataset.conditions is not None:
        # Latents depend on the condition, and so would their mixture.
        chosen["model"] |= {"base": "normal", "preprocessing": "gaussianize"}
        chosen["training"]["keep_start"] = False
    filled = {
        section: {
            name: chosen[section].get(name) if value is None else value
            for name, value in config[section].items()
        }
        for section in chosen
    }
    return {**config, **filled}
