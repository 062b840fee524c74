"""Neal's funnel by NeuTra: HMC in the latent space of a flow, beside HMC on the funnel itself.

    python examples/neutra.py --figures=runs/examples

The funnel (Neal, Slice sampling, Ann. Statist. 31, 2003): v ~ N(0, 3²), x_i ~ N(0, exp(v)), whose
scales span four decades, so that no step size suits HMC everywhere. NeuTra (Hoffman et al., arXiv
1903.03704) fits a flow to it by reverse KL, and runs HMC on the latents, whose density is then
nearly a standard normal. The samples are those of the funnel, however good the flow is: only their
number depends on it.
"""

import argparse
import os
import pathlib
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.figure import Figure

import tf_iresnet as tfi

tfd = tfp.distributions
SIZE = 10
Map = Callable[[tf.Tensor], tuple[tf.Tensor, Any]]
# Known expectations of v, of v² and of whether v is in the neck.
TRUTH = np.array([0.0, 9.0, float(tfd.Normal(0.0, 3.0).cdf(-5.0))])


def funnel(x: tf.Tensor) -> tf.Tensor:
    """Log-density of `(v, x_1, …)`."""
    v = x[..., :1]
    others = tfd.Normal(0.0, tf.exp(v / 2)).log_prob(x[..., 1:])
    return tfd.Normal(0.0, 3.0).log_prob(v[..., 0]) + tf.reduce_sum(others, -1)


def fit(size: int, num_blocks: int, steps: int) -> tuple[tfi.ResidualFlow, float]:
    """A flow from latents to the funnel, and its divergence KL(flow‖funnel) in nats at the end."""
    flow = tfi.mlp_flow(
        size, num_blocks, (40, 40), activation="elu", branch="lipschitz_mlp", seed=0
    )
    latent = tfd.MultivariateNormalDiag(tf.zeros(size))
    flow.layer(latent.sample(256, seed=0), training=True)  # ActNorm standardises by what it meets
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    optimizer = keras.optimizers.Adam(schedule, clipnorm=10.0)
    optimizer.build(flow.trainable_variables)

    @tf.function(autograph=False)
    def step(index: tf.Tensor) -> tf.Tensor:
        z = latent.sample(128, seed=tf.stack([index, 1]))
        with tf.GradientTape() as tape:
            x, log_det = flow.layer.forward_with_log_det(z)
            loss = tf.reduce_mean(latent.log_prob(z) - log_det - funnel(x))
        weights = flow.trainable_variables
        optimizer.apply(tape.gradient(loss, weights), weights)
        return loss

    losses = [float(step(tf.constant(index))) for index in range(steps)]
    return flow, float(np.mean(losses[-steps // 10 :]))


def sample(
    to_funnel: Map, start: tf.Tensor, steps: int, leapfrogs: int, accepted: float
) -> dict[str, Any]:
    """Chains of HMC on latents, and what they say of `TRUTH`; `start` is `[chains, size]`.

    `to_funnel` maps latents to the funnel, with its log-determinant. The first half of the chains
    adapts the step size and is dropped. Effective samples, for each gradient of the funnel's
    log-density, are those of v or those of v², whichever are fewer.
    """

    def log_density(z: tf.Tensor) -> tf.Tensor:
        x, log_det = to_funnel(z)
        return funnel(x) + log_det

    kernel = tfp.mcmc.HamiltonianMonteCarlo(
        log_density, step_size=0.1, num_leapfrog_steps=leapfrogs
    )
    kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(kernel, steps // 2, accepted)

    @tf.function(autograph=False)
    def run() -> tf.Tensor:
        half = steps // 2
        z = tfp.mcmc.sample_chain(
            half, start, kernel=kernel, num_burnin_steps=half, trace_fn=None, seed=(0, 3)
        )
        x, _ = to_funnel(tf.reshape(z, [-1, z.shape[-1]]))
        return tf.reshape(x, z.shape)

    chains = len(start)
    x = run()  # [steps / 2, chains, size]
    v = x[..., 0].numpy().astype("float64")
    values = np.stack([v, v**2, v < -5])  # [3, steps / 2, chains]
    sizes = tfp.mcmc.effective_sample_size(
        tf.constant(np.moveaxis(values[:2], 0, -1)), cross_chain_dims=1
    )
    of_chains = values.mean(axis=1)
    gradients = chains * (steps // 2) * leapfrogs
    return {
        "x": x.numpy(),
        "means": of_chains.mean(axis=1),
        "errors": of_chains.std(axis=1, ddof=1) / np.sqrt(chains),
        "per_gradient": float(tf.reduce_min(sizes)) / gradients,
    }


def run(
    size: int = SIZE, num_blocks: int = 8, fit_steps: int = 1500, chains: int = 100,
    steps: int = 400, plain: Any = ((8, 0.8), (8, 0.95), (32, 0.95)),
) -> dict[str, Any]:  # fmt: skip
    """HMC with the flow, and the best of several settings without it, which get 4 times the steps.

    `plain` are pairs of the number of leapfrog steps and the acceptance that the step size aims at.
    """
    flow, divergence = fit(size, num_blocks, fit_steps)
    start = tf.random.stateless_normal([chains, size], seed=(0, 2))
    # The layer's own direction is latent → funnel here, so that nothing is solved for.
    through = sample(flow.layer.forward_with_log_det, start, steps, 4, 0.8)
    without = [sample(lambda x: (x, 0.0), start, 4 * steps, *setting) for setting in plain]
    best = max(without, key=lambda result: result["per_gradient"])
    ratio = through["per_gradient"] / best["per_gradient"]
    return {"divergence": divergence, "flow": through, "plain": best, "ratio": ratio}


def figure(result: dict[str, Any]) -> Figure:
    picture = Figure(figsize=(9, 3.2), layout="constrained")
    panels = picture.subplots(1, 3)
    random = np.random.default_rng(0)
    for panel, name in zip(panels, ("plain", "flow"), strict=False):
        points = result[name]["x"]
        points = points.reshape(-1, points.shape[-1])
        points = points[random.choice(len(points), 3000)]
        panel.plot(points[:, 1], points[:, 0], ".", markersize=1, color="#1f5a99")
        panel.set(xlim=(-30, 30), ylim=(-11, 11), xlabel="x₁", ylabel="v")
        panel.set_title({"plain": "HMC", "flow": "HMC through the flow"}[name])
    at = np.linspace(-11, 11, 61)
    for name, colour in (("plain", "#1f5a99"), ("flow", "#d1603d")):
        v = result[name]["x"][..., 0].ravel()
        panels[2].hist(v, at, density=True, histtype="step", color=colour, label=name)
    panels[2].plot(at, tfd.Normal(0.0, 3.0).prob(at), color="black", linewidth=0.8, label="truth")
    panels[2].set(xlabel="v", ylabel="density")
    panels[2].legend()
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", type=pathlib.Path, default="runs/examples", help="folder")
    figures = parser.parse_args().figures
    result = run()
    print(f"KL(flow‖funnel) {result['divergence']:.3f} nats")
    print("                  mean of v         of v²           P(v < -5)        per gradient")
    print("truth          {:10.3f}  {:14.3f}  {:15.4f}".format(*TRUTH))
    for name in ("plain", "flow"):
        means, errors = result[name]["means"], result[name]["errors"]
        columns = [f"{m:8.3f} ± {e:.3f}" for m, e in zip(means, errors, strict=True)]
        print(f"HMC, {name:8}  {'  '.join(columns)}  {result[name]['per_gradient']:10.5f}")
    print(f"effective samples per gradient: {result['ratio']:.1f} times as many with the flow")
    figures.mkdir(parents=True, exist_ok=True)
    figure(result).savefig(figures / "neutra.png", dpi=100)


if __name__ == "__main__":
    main()
