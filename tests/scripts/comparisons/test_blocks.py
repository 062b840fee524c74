"""The comparison of blocks: every kind is trained on everything, and finished runs stay."""

import pytest

from comparisons import blocks


@pytest.mark.slow
def test_every_kind_has_a_row_on_all_data(tmp_path, capsys):
    changes = {
        "model": {"num_blocks": 2, "hidden_units": (8,)},
        "training": {"epochs": 1, "steps_per_epoch": 2, "evaluation_examples": 20},
    }
    rows = blocks.compare(tmp_path, changes=changes)
    assert [(row["data"], row["block"]) for row in rows] == [
        (data, block) for data in ("checkerboard", "digits") for block in blocks.BLOCKS
    ]
    assert all(row["invertible"] and row["epochs"] == 1 for row in rows)
    assert "KL, nats" in capsys.readouterr().out and (tmp_path / "table.csv").is_file()
    assert blocks.compare(tmp_path, changes=changes) == rows
