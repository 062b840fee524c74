"""The sampler of docs/inverse.md, as it stands there."""

import pathlib
import re

import numpy as np

import tf_iresnet as tfi

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "inverse.md").read_text()


def test_the_walk_finds_the_posterior_that_weights_find():
    """Mean of data given a noisy sum of them: against importance weights of 100,000 samples."""
    flow = tfi.mlp_flow(3, num_blocks=2, hidden_units=(16, 16), seed=0)
    flow.decode(flow.base.sample(2, (0, 0)))  # builds it

    def log_likelihood(x):
        return -0.5 * ((np.asarray(x).sum(axis=1) - 1.5) / 0.7) ** 2

    names = {
        "np": np, "flow": flow, "log_likelihood": log_likelihood, "steps": 400, "size": 0.6,
        "random": np.random.default_rng(0),
    }  # fmt: skip
    (walk,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    chain = []
    exec(walk + "    chain.append(x.copy())\n", {**names, "chain": chain})
    walks = np.mean(chain[50:], axis=0)  # of each of the 32 chains, which are independent
    samples = flow.sample(100_000, seed=1).numpy().astype("float64")
    weights = np.exp(log_likelihood(samples))
    expected = (weights @ samples) / weights.sum()
    error = walks.std(axis=0, ddof=1) / np.sqrt(len(walks))
    assert np.all(np.abs(walks.mean(axis=0) - expected) < 4 * error + 0.01)
    assert np.all(np.abs(samples.mean(axis=0) - expected) > 6 * error), "the data said something"
