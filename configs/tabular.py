"""The density of a table of your own: .csv, .npz, .npy or .parquet, numeric columns, no gaps.

    python scripts/train.py --config=configs/tabular.py --config.data.path=my.csv \\
        --workdir=runs/my

Each column is mapped to a normal variable inside the model, so that densities and samples are in
the table's units. Steps, bounds, values that many cells share and categories are found in the
training rows: samples are values that the columns can have.
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
    config.model.preprocessing = "gaussianize"  # or "copula", "standardize"
    # "learned_student_t": heavy tails; "mixture": separate groups; "fitted_mixture": begins as a
    # mixture of normals that is fitted to the training rows
    config.model.base = "normal"

    config.data = ml_collections.ConfigDict()
    config.data.name = "table"
    config.data.path = ml_collections.config_dict.placeholder(str)
    config.data.columns = ml_collections.config_dict.placeholder(tuple)  # all, unless named
    config.data.steps = "auto"  # "none": all numbers are continuous, whatever they look like
    config.data.outliers = "leave_out"  # "keep": also rows with cells like -999 or 1e6
    config.data.validation = 0.1
    config.data.test = 0.1

    config.training = ml_collections.ConfigDict()
    config.training.seed = 0
    config.training.batch_size = 256
    # A pass over the rows, in 20 to 200 steps, unless it is given.
    config.training.steps_per_epoch = ml_collections.config_dict.placeholder(int)
    config.training.epochs = 60
    config.training.max_minutes = 10.0
    config.training.patience = 10
    config.training.learning_rate = 2e-3
    config.training.warmup_steps = 100
    config.training.final_learning_rate = 0.01
    config.training.clip_norm = 1.0
    config.training.ema_momentum = 0.99
    return config
