"""The smallest run on a table of one's own, for tests of what lies in its workdir."""

import numpy as np
import pandas as pd


def config_of_table(folder, **training):
    """Writes my.csv with two normal columns into the folder; returns the config of a run on it."""
    rows = np.random.default_rng(0).normal(size=(120, 2))
    pd.DataFrame(rows, columns=["a", "b"]).to_csv(folder / "my.csv", index=False)
    return {
        "model": {"num_blocks": 1, "hidden_units": [4], "log_det": "exact"},
        "data": {"name": "table", "path": str(folder / "my.csv")},
        "training": {"batch_size": 16, "evaluation_examples": 20, **training},
    }
