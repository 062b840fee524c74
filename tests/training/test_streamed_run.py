"""Runs on data that aren't held in memory, interrupted and not."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tf_iresnet.training.callbacks import Recorder
from tf_iresnet.training.train import train_and_evaluate


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_figures(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(3000, 3))
    (tmp_path / "rows").mkdir()
    for i in range(3):
        table = pa.table({name: x[i::3] for name, x in zip("abc", rows.T, strict=True)})
        pq.write_table(table, tmp_path / "rows" / f"{i}.parquet", row_group_size=100)
    config = {
        "model": {"num_blocks": 2, "hidden_units": [8], "preprocessing": "gaussianize"},
        "data": {"name": "table", "path": str(tmp_path / "rows")},
        "training": {"batch_size": 64, "steps_per_epoch": 7, "epochs": 4},
    }
    whole = train_and_evaluate(config, tmp_path / "whole")
    end, epochs = Recorder.on_epoch_end, []

    def stop(self, epoch, logs=None):
        end(self, epoch, logs)
        epochs.append(epoch)
        if len(epochs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "on_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate(config, tmp_path / "resumed")
    resumed = train_and_evaluate(config, tmp_path / "resumed")
    assert epochs == [0, 1, 2, 3]
    assert resumed == whole and np.isfinite(whole["negative_log_likelihood"])
    assert "3,000 rows of 3 columns in 3 files" in (tmp_path / "whole/report.html").read_text()
