"""Eight schools: a flow as the surrogate posterior of `tfp.vi`, against HMC and the exact means.

    python examples/eight_schools.py --figures=runs/examples

Coaching raised the test scores of eight schools by `EFFECTS`, each measured with a known error. How
far do the schools differ (`tau`), and what is left of each effect, given the others? (Rubin 1981;
Gelman et al., Bayesian Data Analysis, section 5.5.) The effect in school j is
theta_j ~ N(mu, tau²), with mu ~ N(0, 5²) and tau ~ HalfCauchy(5).
"""

import argparse
import os
import pathlib
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.figure import Figure
from scipy import stats

import tf_iresnet as tfi

tfd = tfp.distributions
EFFECTS = np.float32([28, 8, -3, 7, -1, 1, 18, 12])
ERRORS = np.float32([15, 10, 16, 11, 9, 11, 10, 18])
NAMES = ("mu", "tau", *(f"theta_{school}" for school in range(1, 9)))
PRIOR = tfd.MultivariateNormalDiag(tf.zeros(10))


def quantities(x: tf.Tensor) -> tf.Tensor:
    """mu, tau and the eight theta, `[..., 10]`, of coordinates whose prior is standard normal.

    This non-centred parametrisation has no funnel, and a posterior with the tails of a normal.
    """
    below, above = (tfd.Normal(0.0, 1.0).cdf(side * x[..., 1:2]) for side in (1, -1))
    mu = 5 * x[..., :1]
    tau = 5 * tf.sin(np.pi / 2 * below) / tf.sin(np.pi / 2 * above)  # 5 tan(…), in either tail
    return tf.concat([mu, tau, mu + tau * x[..., 2:]], -1)


def log_joint(x: tf.Tensor) -> tf.Tensor:
    likelihood = tfd.Normal(quantities(x)[..., 2:], ERRORS).log_prob(EFFECTS)
    return PRIOR.log_prob(x) + tf.reduce_sum(likelihood, -1)


def fit_surrogate(steps: int, num_blocks: int) -> Any:
    """A flow fitted by variational inference, as a distribution."""
    flow = tfi.mlp_flow(10, num_blocks, (40, 40), activation="sine", branch="lipschitz_mlp", seed=0)
    flow.layer(PRIOR.sample(256, seed=0), training=True)  # ActNorm standardises by what it meets
    # The layer's own direction is base → parameters here: a sample and its density take one pass.
    surrogate = tfd.TransformedDistribution(PRIOR, tfi.bijectors.InvertibleBijector(flow.layer))
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, steps))
    optimizer.build(flow.trainable_variables)

    @tf.function(autograph=False)
    def step(index: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            # An importance-weighted bound, which punishes a surrogate that is narrower than the
            # posterior: its weights are to be used below.
            loss = tfp.vi.monte_carlo_variational_loss(
                log_joint, surrogate, sample_size=8, importance_sample_size=16,
                seed=tf.stack([index, 1]),
            )  # fmt: skip
        optimizer.apply(tape.gradient(loss, flow.trainable_variables), flow.trainable_variables)

    for index in range(steps):
        step(tf.constant(index))
    return surrogate


def importance_sample(surrogate: Any, num: int) -> dict[str, Any]:
    """Posterior means by weighted samples of the surrogate, whose log-density is exact."""
    sample = tf.function(surrogate.experimental_sample_and_log_prob)
    x, log_density = sample(num, seed=tf.constant([0, 2]))
    values = quantities(x).numpy().astype("float64")
    weights = np.exp((log_joint(x) - log_density).numpy().astype("float64"))
    tail = np.sort(weights)[-int(3 * np.sqrt(num)) :]
    k_hat = stats.genpareto.fit(tail[1:] - tail[0], floc=0)[0]
    weights /= weights.sum()
    means = weights @ values
    errors = np.sqrt(weights**2 @ (values - means) ** 2)
    size = 1 / np.sum(weights**2)
    return {
        "values": values, "weights": weights, "means": means, "errors": errors, "size": size,
        "k_hat": k_hat,
    }  # fmt: skip


def hmc(chains: int, steps: int) -> dict[str, Any]:
    """Posterior means by Hamiltonian Monte Carlo; errors from the spread of independent chains."""
    kernel = tfp.mcmc.HamiltonianMonteCarlo(log_joint, step_size=0.2, num_leapfrog_steps=8)
    kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(
        kernel, 2 * steps // 5, target_accept_prob=0.95
    )

    @tf.function(autograph=False)
    def run() -> tf.Tensor:
        start = 0.1 * PRIOR.sample(chains, seed=(0, 3))  # where tau isn't extreme
        return tfp.mcmc.sample_chain(
            steps, start, kernel=kernel, num_burnin_steps=steps // 2, trace_fn=None, seed=(0, 4)
        )  # fmt: skip

    values = quantities(run()).numpy().astype("float64")  # [steps, chains, 10]
    of_chains = values.mean(axis=0)
    errors = of_chains.std(axis=0, ddof=1) / np.sqrt(chains)
    return {"values": values, "means": of_chains.mean(axis=0), "errors": errors}


def exact_means() -> np.ndarray:
    """The same means by quadrature over tau, given which everything is normal."""
    y, noise = EFFECTS.astype("float64"), ERRORS.astype("float64") ** 2
    u = np.linspace(0, 1, 200_001)[1:-1]  # tau's prior quantiles
    tau = 5 * np.tan(np.pi / 2 * u)[:, None]
    variance = noise + tau**2
    precision = 1 / 25 + np.sum(1 / variance, axis=1)
    mu = np.sum(y / variance, axis=1) / precision
    squares = np.sum(y**2 / variance + np.log(variance), axis=1) - precision * mu**2
    weights = np.exp(-0.5 * (squares + np.log(precision)))
    theta = (y * tau**2 + mu[:, None] * noise) / variance
    return weights @ np.column_stack([mu, tau, theta]) / weights.sum()


def run(
    steps: int = 800, num_blocks: int = 4, num: int = 50_000, chains: int = 200,
    chain_steps: int = 1000,
) -> dict[str, Any]:  # fmt: skip
    """The three estimates of the posterior means, `[10]`, with their Monte-Carlo errors."""
    surrogate = fit_surrogate(steps, num_blocks)
    ours, theirs = importance_sample(surrogate, num), hmc(chains, chain_steps)
    deviation = (ours["means"] - theirs["means"]) / np.hypot(ours["errors"], theirs["errors"])
    return {"flow": ours, "hmc": theirs, "exact": exact_means(), "deviation": deviation}


def figure(result: dict) -> Figure:
    picture = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = picture.subplots(1, 2, width_ratios=(2, 3))
    bins = np.linspace(0, 20, 41)
    ours, theirs = result["flow"], result["hmc"]
    options = {"bins": bins, "density": True}
    left.hist(theirs["values"][..., 1].ravel(), color="#c8d5e6", label="HMC", **options)
    for label, weights, style in (("flow, weighted", ours["weights"], "-"), ("flow", None, ":")):
        left.hist(ours["values"][:, 1], weights=weights, histtype="step", color="#d1603d",
                  linestyle=style, label=label, **options)  # fmt: skip
    left.set(xlabel="tau", ylabel="posterior density", xlim=(0, 20))
    left.legend()
    for shift, (label, colour, estimate) in enumerate(
        (("HMC", "#1f5a99", theirs), ("flow, weighted", "#d1603d", ours))
    ):
        at, offset = np.arange(10) + 0.3 * shift - 0.15, estimate["means"] - result["exact"]
        right.errorbar(at, offset, 3 * estimate["errors"], fmt="o", color=colour, label=label)
    right.axhline(0, color="black", linewidth=0.8)
    right.set_xticks(range(10), NAMES, rotation=45)
    right.set(ylabel="mean minus exact mean", title="with 3 Monte-Carlo errors")
    right.margins(y=0.2)
    right.legend(loc="upper left", ncols=2)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", type=pathlib.Path, default="runs/examples", help="folder")
    figures = parser.parse_args().figures
    result = run()
    ours, theirs = result["flow"], result["hmc"]
    print(
        "             exact    HMC              flow, weighted   difference in errors   unweighted"
    )
    for i, name in enumerate(NAMES):
        columns = [f"{e['means'][i]:7.3f} ± {e['errors'][i]:.3f}" for e in (theirs, ours)]
        deviation, biased = result["deviation"][i], ours["values"][:, i].mean()
        print(f"{name:8} {result['exact'][i]:9.3f}", *columns, f"{deviation:12.2f} {biased:16.3f}")
    share = ours["size"] / len(ours["weights"])
    print(f"effective sample size {ours['size']:.0f} ({share:.0%}), k-hat {ours['k_hat']:.2f}")
    figures.mkdir(parents=True, exist_ok=True)
    figure(result).savefig(figures / "eight_schools.png", dpi=100)


if __name__ == "__main__":
    main()
