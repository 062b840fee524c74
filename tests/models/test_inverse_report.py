"""The report of an inverse: its figures against the solver's own, and its table."""

import re

import numpy as np
import pytest

import tf_iresnet as tfi
from tf_iresnet import layers


def make(**options):
    return tfi.mlp_flow(4, num_blocks=3, hidden_units=(16,), seed=0, **options)


def points(rows, columns=4):
    return np.random.default_rng(0).normal(size=(rows, columns)).astype("float32")


def test_the_figures_are_those_of_the_blocks_one_by_one():
    flow = make()
    x = points(20)
    z = flow.encode(x)
    report = tfi.inverse_report(flow, z)
    np.testing.assert_allclose(report.value, x, atol=1e-4)
    norm, block = flow.layer.layers[-1].layer.layers
    shifts, log_scales = (weight.numpy() for weight in (norm.shift, norm.log_scale))
    y = z
    for copy in reversed(list(flow.layer.blocks())):
        (index,) = copy.index
        found = block.pull(copy.bound, y).solution()
        y = (found.value - shifts[index]) * np.exp(-log_scales[index])
        # Eager mode rounds otherwise than a graph: an evaluation more or less.
        assert np.max(np.abs(report.evaluations[index] - found.evaluations[0])) <= 2
        assert np.all(report.certified_error[index][report.converged[index]] < 1e-4)
    assert report.solved.shape == (20,) and report.solved.all()
    assert not report.products.any()


def test_its_table_has_a_line_a_block_and_a_verdict():
    flow = make()
    lines = str(tfi.inverse_report(flow, flow.encode(points(20)))).splitlines()
    assert len({len(line) for line in lines[:5]}) == 1
    assert [line.split()[:2] for line in lines[2:5]] == [["block", str(i)] for i in range(3)]
    assert all(re.search(r"\de-\d\d +20$", line) for line in lines[2:5])
    assert re.fullmatch(
        r"3 blocks: \d+\.\d evaluations per example; 20 of 20 examples inverted\.", lines[-1]
    )


def test_what_fails_shows_and_is_nan():
    branch = [layers.SpectralDense(8, activation="tanh"), layers.SpectralDense(3)]
    flow = tfi.ResidualFlow([layers.Rescale(2.0), layers.ResidualBlock(branch, max_iterations=1)])
    flow.build((None, 3))
    z = points(6, 3)
    z[4] = 0
    report = tfi.inverse_report(flow, z)  # of no bias: there 0 leads to 0 at once
    np.testing.assert_array_equal(report.solved, np.arange(6) == 4)
    np.testing.assert_array_equal(np.isnan(report.value).any(axis=1), ~report.solved)
    assert str(report).endswith("1 of 6 examples inverted.")


def test_of_a_layer_and_of_a_condition():
    flow = make(condition_size=2)
    x, condition = points(8), points(8, 2)
    z = flow.encode(x, condition)
    of_flow = tfi.inverse_report(flow, z, condition)
    np.testing.assert_allclose(of_flow.value, x, atol=1e-4)
    of_layer = tfi.inverse_report(flow.layer, z, condition)
    np.testing.assert_allclose(of_layer.value, of_flow.value, atol=1e-5)
    with pytest.raises(ValueError, match="Expected the condition"):
        tfi.inverse_report(flow, z)


def test_newton_krylov_counts_its_products():
    block = layers.ResidualBlock(
        [layers.SpectralDense(16, activation="sine"), layers.SpectralDense(4)],
        solver="newton_krylov",
    )
    flow = tfi.ResidualFlow([block])
    flow.build((None, 4))
    x = points(8)
    report = tfi.inverse_report(flow, flow.encode(x))
    np.testing.assert_allclose(report.value, x, atol=1e-4)
    assert np.all(report.products > 0)


def test_without_anything_to_solve():
    flow = tfi.ResidualFlow([layers.Rescale(2.0)])
    flow.build((None, 3))
    report = tfi.inverse_report(flow, points(5, 3))
    assert report.solved.all() and report.evaluations.shape == (0, 5)
    assert str(report).endswith("0 blocks: 0.0 evaluations per example; 5 of 5 examples inverted.")
