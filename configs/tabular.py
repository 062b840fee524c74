"""The density of a table of your own: .csv, .tsv, .txt, .xlsx, .parquet, .npz, .npy or a folder.

    python scripts/train.py --config=configs/tabular.py --config.data.path=my.csv \\
        --workdir=runs/my

Each column is mapped to a normal variable inside the model, so that densities and samples are in
the table's units. Steps, bounds, values that many cells share and categories are found in the
training rows: samples are values that the columns can have. A folder of .parquet files may be
larger than memory.
"""

import functools

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the config; `data.path` has to be given."""
    config = ml_collections.ConfigDict()

    config.model = ml_collections.ConfigDict()
    config.model.block = "residual"
    config.model.branch = "spectral"  # or "lipschitz_mlp"
    # What is empty is chosen by the number of rows (training/by_rows.py): for few, small networks
    # whose kernels decay; up to some, a start as a fitted mixture.
    config.model.num_blocks = ml_collections.config_dict.placeholder(int)
    config.model.hidden_units = ml_collections.config_dict.placeholder(tuple)
    config.model.coefficient = 0.97
    config.model.activation = "sine"
    config.model.log_det = "auto"
    config.model.initial_gain = ml_collections.config_dict.placeholder(float)  # of the last kernels
    # "gaussianize", "standardize", "auto" (the better of both) or "copula"
    config.model.preprocessing = ml_collections.config_dict.placeholder(str)
    # "normal"; "learned_student_t": heavy tails; "mixture": separate groups; "fitted_mixture":
    # begins as a mixture of normals that is fitted to the training rows
    config.model.base = ml_collections.config_dict.placeholder(str)

    text = functools.partial(ml_collections.config_dict.placeholder, str)
    config.data = ml_collections.ConfigDict()
    config.data.name = "table"
    config.data.path = text()
    # Whether rows are read when a batch needs them; if empty, those of a folder or a huge file are.
    config.data.stream = ml_collections.config_dict.placeholder(bool)
    # Names of columns are written "a,b". What is left empty is found out, and printed.
    config.data.columns = text()  # those to use; all if empty
    config.data.exclude = text()  # those to leave out
    config.data.categories = text()  # those of numbers that are categories
    config.data.key = text()  # array of an .npz file, or sheet of an .xlsx file
    config.data.separator = text()  # of cells: one character, "tab" or "space"
    config.data.decimal = text()  # sign of decimals, "." or ","
    config.data.encoding = text()  # of text, such as "latin-1"
    config.data.header = ml_collections.config_dict.placeholder(bool)  # whether there is one
    config.data.skip_lines = 0  # at the top of the file
    config.data.missing = "error"  # "drop": leave such rows out; "impute": fill the cells in
    config.data.na_values = text()  # further texts and numbers of missing cells: "-999,unknown"
    config.data.target = text()  # columns that the density is of, given all others
    config.data.condition = text()  # or: columns that the density of all others is given
    config.data.steps = "auto"  # "none": all numbers are continuous, whatever they look like
    config.data.outliers = "leave_out"  # "keep": also rows with cells like -999 or 1e6
    config.data.validation = 0.1
    config.data.test = 0.1  # 0: none
    config.data.test_path = text()  # a table of its own for the test part
    config.data.split_seed = 0
    config.data.split_by = text()  # column of groups of rows, each of which stays in one part
    config.data.split_order = text()  # column, such as a time, whose last rows are the test part

    config.training = ml_collections.ConfigDict()
    config.training.seed = 0
    config.training.batch_size = 256
    # A pass over the rows, in 20 to 200 steps, unless it is given.
    config.training.steps_per_epoch = ml_collections.config_dict.placeholder(int)
    config.training.epochs = 60
    config.training.max_minutes = 5.0  # --config.training.max_minutes=None: no limit
    config.training.patience = 10
    config.training.learning_rate = 2e-3
    config.training.warmup_steps = 100
    config.training.final_learning_rate = 0.01
    config.training.clip_norm = 1.0
    config.training.ema_momentum = 0.99
    config.training.weight_decay = ml_collections.config_dict.placeholder(float)
    config.training.keep_start = ml_collections.config_dict.placeholder(bool)
    return config
