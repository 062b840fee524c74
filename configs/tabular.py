"""The density of a table of your own: .csv, .npz, .npy or .parquet, numeric columns, no gaps.

    python scripts/train.py --config=configs/tabular.py --config.data.path=my.csv \\
        --workdir=runs/my

Columns are standardised inside the model, so that densities and samples are in the table's units.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the config; `data.path` has to be given."""
    config = ml_collections.ConfigDict()

    config.model = ml_collections.ConfigDict()
    config.model.block = "residual"
    config.model.branch = "spectral"  # or "lipschitz_mlp"
    config.model.num_blocks = 10
    config.model.hidden_units = (64, 64)
    config.model.coefficient = 0.97
    config.model.activation = "sine"
    config.model.log_det = "auto"
    config.model.base = "normal"  # "learned_student_t": heavy tails; "mixture": separate groups

    config.data = ml_collections.ConfigDict()
    config.data.name = "table"
    config.data.path = ml_collections.config_dict.placeholder(str)
    config.data.columns = ml_collections.config_dict.placeholder(tuple)  # all, unless named
    config.data.dequantize = False  # True adds noise to columns of small whole numbers
    config.data.validation = 0.1
    config.data.test = 0.1

    config.training = ml_collections.ConfigDict()
    config.training.seed = 0
    config.training.batch_size = 256
    config.training.steps_per_epoch = 100
    config.training.epochs = 60
    config.training.max_minutes = 10.0
    config.training.patience = 10
    config.training.learning_rate = 2e-3
    config.training.warmup_steps = 100
    config.training.final_learning_rate = 0.01
    config.training.clip_norm = 1.0
    config.training.ema_momentum = 0.99
    return config
