"""examples/neutra.py: the moments of Neal's funnel, and effective samples per gradient."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats


def judge(example, result):
    """Through the flow the known moments come out."""
    flow = result["flow"]
    assert np.all(np.abs(flow["means"] - example.TRUTH) < 4 * flow["errors"])


def test_the_funnel_is_neals(example):
    random = np.random.default_rng(0)
    v = 3 * random.standard_normal(100)
    x = 2 * random.standard_normal((100, example.SIZE - 1))
    expected = stats.norm(0, 3).logpdf(v)
    expected += stats.norm(0, np.exp(v / 2)[:, None]).logpdf(x).sum(axis=1)
    points = tf.constant(np.column_stack([v, x]), tf.float32)
    np.testing.assert_allclose(example.funnel(points), expected, rtol=1e-4)
    np.testing.assert_allclose(example.TRUTH[2], stats.norm(0, 3).cdf(-5), rtol=1e-5)


def test_shortened(example):
    result = example.run(
        size=3, num_blocks=2, fit_steps=600, chains=50, steps=200, plain=((8, 0.8),)
    )
    judge(example, result)
    assert result["ratio"] > 1.5


@pytest.mark.slow
def test_the_figures_of_the_documentation(example, tmp_path):
    result = example.run()
    judge(example, result)
    assert result["ratio"] >= 5
    example.figure(result).savefig(tmp_path / "neutra.png")
