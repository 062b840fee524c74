"""examples/simulator.py: calibrated, and beside the posterior computed on a grid."""

import numpy as np
import pytest


def test_ranks_that_are_not_uniform_are_found(example):
    random = np.random.default_rng(0)
    uniform = random.integers(0, 100, (2000, 3))
    narrow = np.clip(50 + (uniform - 50) * 1.1, 0, 99).astype(int)  # of a posterior 10 % too narrow
    assert np.all(example.uniformity(uniform) > 0.01)
    assert np.all(example.uniformity(narrow) < 0.01)


def test_shortened(example):
    """Trained too little, the flow is a density, and calibration finds it wrong."""
    result = example.run(num=20_000, epochs=3, num_blocks=2, simulations=200, size=100)
    np.testing.assert_allclose(result["mass"], 1, atol=0.01)
    assert np.all(result["divergences"] > 0) and np.all(result["divergences"] < 2)
    assert result["p_values"].min() < 1e-4


@pytest.mark.slow
def test_the_figures_of_the_documentation(example, tmp_path):
    result = example.run()
    assert np.all(result["p_values"] > 0.01)
    assert np.all(result["divergences"] < 0.05) and np.all(result["variations"] < 0.1)
    np.testing.assert_allclose(result["mass"], 1, atol=0.01)
    example.figure(result).savefig(tmp_path / "simulator.png")
