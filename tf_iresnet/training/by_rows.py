"""Fields that a config leaves open, filled in by the number of training rows.

`scripts/compare.py --table=tables` compares such choices; docs/choices.md has what it printed. On
validation rows of six tables of 144 to 6,472 training rows, blocks that begin near the identity
before a mixture fitted to the rows are better than random ones (by 0.01 nats of three columns, by
9 of thirty); of three tables of 16,000 rows and more they are worse on two. Few rows have small
networks whose kernels decay, since these take less time; where few ends wasn't measured, nor where
between 6,472 and 16,000 the other limit lies. 6 blocks, as those that take turns come in pairs.
"""

from typing import Any

import numpy as np

from tf_iresnet import data
from tf_iresnet.models.recipes import takes_gain
from tf_iresnet.training.workdir import Config

FEW = 2000  # rows, below which networks are small
SOME = 10_000  # below which a flow begins as a fitted mixture
_STEPS = 20, 200  # fewest and most of an epoch that is a pass over the rows


def fill_in(config: Config, dataset: data.Dataset) -> dict[str, Any]:
    """Returns a config whose fields that are None have the values which suit the training rows.

    These are `num_blocks`, `hidden_units`, `initial_gain`, `preprocessing` and `base` of the
    section `model`, `steps_per_epoch` (a pass over the rows), `weight_decay` and `keep_start` of
    `training`. Others stay as they are, as does all of a config for data without an end.
    """
    if (rows := dataset.training_size) is None:
        return dict(config)
    few = rows < FEW
    # Given a condition, latents depend on it, and so would their mixture.
    fitted = rows < SOME and dataset.conditions is None
    kinds = ("block", "branch", "normalization")
    gain = takes_gain(**{name: config["model"][name] for name in kinds if name in config["model"]})
    passes = -(-rows // config["training"]["batch_size"])
    chosen: dict[str, dict[str, Any]] = {
        "model": {
            "num_blocks": 6 if few else 10,
            "hidden_units": (32, 32) if few else (64, 64),
            "initial_gain": 0.1 if fitted and gain else 1.0,
            "preprocessing": "auto" if fitted else "gaussianize",
            "base": "fitted_mixture" if fitted else "normal",
        },
        "training": {
            "steps_per_epoch": int(np.clip(passes, *_STEPS)),
            "weight_decay": 0.1 if few else 0.0,
            "keep_start": fitted,
        },
    }
    filled = {
        section: {
            name: chosen[section].get(name) if value is None else value
            for name, value in config[section].items()
        }
        for section in chosen
    }
    return {**config, **filled}
