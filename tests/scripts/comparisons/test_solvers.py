"""The comparison of solvers: its problems are as hard as they say, its figures hold."""

import json

import numpy as np
import pytest
import tensorflow as tf

from comparisons import solvers


@pytest.mark.parametrize(
    ("make", "share"), [(solvers.strongly_contracting, 1.0), (solvers.nearly_singular, 0.6)]
)
def test_certified_errors_bound_the_true_ones_on_hard_blocks(make, share):
    flow = make(size=6, blocks=2)
    blocks = solvers.solved(flow, flow.base.sample(16, [0, 0]))
    assert len(blocks) == 2
    for block in blocks:
        image = block.g(tf.constant(block.x, tf.float32))
        np.testing.assert_allclose(block.x + image, block.y, atol=1e-5)
    rows = {name: solvers.figures(blocks, name) for name in solvers.SOLVERS}
    for row in rows.values():
        assert row["true_error"] <= row["certified_error"] + 1e-6
    # Where a branch contracts by itself there is little that a Picard step leaves to mix.
    assert rows["anderson"]["evaluations"] < share * rows["picard"]["evaluations"]
    assert rows["newton_krylov"]["evaluations"] < rows["anderson"]["evaluations"]
    assert rows["newton_krylov"]["products"] > 0 == rows["picard"]["products"]
    work, errors = solvers.curve(blocks, "anderson")
    assert work == sorted(work) and errors[-1] < 1e-3 * errors[0]


def test_the_nearly_singular_blocks_are_nearly_singular():
    """The slope of x + g(x) at 0, by differences: about 1 − .99² in every direction."""
    flow = solvers.nearly_singular(size=4, blocks=1)
    step = 1e-2 * np.eye(4, dtype="float32")
    slopes = (flow.encode(step) - flow.encode(-step)) / 2e-2
    np.testing.assert_allclose(slopes, (1 - 0.99**2) * np.eye(4), atol=1e-3)


@pytest.mark.slow
def test_it_prints_and_writes_what_it_measures(tmp_path, capsys):
    changes = {
        "model": {"num_blocks": 2, "hidden_units": (8,)},
        "training": {"epochs": 1, "steps_per_epoch": 2},
    }
    rows = solvers.compare(tmp_path, changes, rounds=2)
    output = capsys.readouterr().out
    printed = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert [{"suite": "inverse", **row} for row in rows] == printed
    assert len(rows) == 9 and all(row["milliseconds"] > 0 for row in rows)
    assert {p.name for p in tmp_path.iterdir()} == {
        "digits",
        "inverse.csv",
        "inverse.png",
    }
