"""The posterior of a simulator for every observation at once, calibrated and beside the truth.

    python examples/simulator.py --figures=runs/examples

A ball is thrown at an angle and a speed that vary from throw to throw; what is seen is how far it
flew, to 2.5 m. Which throws may it have been? A conditional flow is trained on simulated pairs
alone (neural posterior estimation, Papamakarios and Murray, arXiv 1605.06376) and answers for any
distance. Simulation-based calibration (Talts et al., arXiv 1804.06788) tests it over all of them;
here the likelihood is known as well, so that each posterior can be computed on a grid.
"""

import argparse
import os
import pathlib
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

import tf_iresnet as tfi

NOISE = 2.5  # m
OBSERVED = (20.0, 35.0, 50.0)  # m, for the comparison with the truth
EXTENT = (-4, 4)  # of the grid, in prior deviations
STATISTICS = ("angle", "speed", "distance")


def throw(parameters: np.ndarray) -> np.ndarray:
    """Angles in degrees and speeds in m/s, `[..., 2]`, of parameters with a normal prior."""
    return parameters * [10, 2.5] + [45, 20]


def distance(parameters: np.ndarray) -> np.ndarray:
    """How far the ball flies, in m."""
    angle, speed = np.moveaxis(throw(parameters), -1, 0)
    return speed**2 * np.sin(2 * np.radians(angle)) / 9.81


def simulate(num: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Parameters `[num, 2]` from the prior, and noisy distances `[num, 1]`."""
    parameters = random.standard_normal((num, 2))
    seen = distance(parameters) + NOISE * random.standard_normal(num)
    return parameters.astype("float32"), seen[:, None].astype("float32")


def standardized(seen: np.ndarray) -> np.ndarray:
    """Distances as the flow's condition: of about mean 0 and deviation 1."""
    return np.float32((seen - 38) / 10)


def train(num: int, epochs: int, num_blocks: int, random: np.random.Generator) -> tfi.ResidualFlow:
    """A conditional flow fitted to simulated pairs: `y` of `fit` is the condition."""
    parameters, seen = simulate(num, random)
    flow = tfi.mlp_flow(
        2, num_blocks, (64, 64), activation="sine", branch="lipschitz_mlp", condition_size=1,
        tolerance=1e-4, seed=0,
    )  # fmt: skip
    steps = epochs * (num // 500)
    schedule = keras.optimizers.schedules.CosineDecay(4e-3, steps)
    flow.compile(keras.optimizers.Adam(schedule, clipnorm=1.0))
    flow.fit(parameters, standardized(seen), batch_size=500, epochs=epochs, verbose=0)
    return flow


def ranks(
    flow: tfi.ResidualFlow, num: int, random: np.random.Generator, draws: int = 99
) -> np.ndarray:
    """Ranks `[num, 3]` of true values among `draws` of the posterior, each uniform on 0 … 99."""
    parameters, seen = simulate(num, random)
    condition = np.repeat(standardized(seen), draws, axis=0)
    samples = flow.sample(num * draws, condition=condition, seed=1).numpy()
    samples = samples.reshape(num, draws, 2)
    values, truths = (np.dstack([a, distance(a)]) for a in (samples, parameters[:, None]))
    return np.sum(values < truths, axis=1)


def uniformity(of_ranks: np.ndarray, bins: int = 20) -> np.ndarray:
    """p-value of χ² for each column of ranks from 0 to 99."""
    counts = [np.bincount(column * bins // 100, minlength=bins) for column in of_ranks.T]
    return np.array([stats.chisquare(count).pvalue for count in counts])


def posterior_on_grid(flow: tfi.ResidualFlow, seen: float, size: int) -> tuple[np.ndarray, ...]:
    """The posterior given a distance and the flow's, as probabilities of cells `[size, size]`."""
    low, high = EXTENT
    axis = low + (high - low) * (np.arange(size) + 0.5) / size
    cells = np.stack(np.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)
    log_likelihood = -0.5 * ((distance(cells) - seen) / NOISE) ** 2
    truth = np.exp(log_likelihood - 0.5 * np.sum(cells**2, axis=1))
    condition = np.full((len(cells), 1), standardized(seen))
    density = np.exp(flow.log_prob(cells.astype("float32"), condition=condition).numpy())
    model = density * ((high - low) / size) ** 2  # not normalised: the flow's own mass
    return tuple(p.reshape(size, size) for p in (truth / truth.sum(), model))


def run(
    num: int = 200_000, epochs: int = 10, num_blocks: int = 6, simulations: int = 2000,
    size: int = 200, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Calibration, and KL(truth‖flow) in nats and total variation for each observation."""
    keras.utils.set_random_seed(seed)  # `fit` shuffles by it
    random = np.random.default_rng(seed)
    flow = train(num, epochs, num_blocks, random)
    of_ranks = ranks(flow, simulations, random)
    maps = [posterior_on_grid(flow, seen, size) for seen in OBSERVED]
    divergences = [np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])) for p, q in maps]
    variations = [0.5 * np.abs(p - q).sum() for p, q in maps]
    return {
        "flow": flow, "ranks": of_ranks, "p_values": uniformity(of_ranks), "maps": maps,
        "divergences": np.array(divergences), "variations": np.array(variations),
        "mass": np.array([q.sum() for _, q in maps]),
    }  # fmt: skip


def figure(result: dict) -> Figure:
    picture = Figure(figsize=(9, 4.6), layout="constrained")
    panels = picture.subplots(2, 4)
    (left, bottom), (right, top) = throw(np.array([[EXTENT[0]] * 2, [EXTENT[1]] * 2]))
    for column, (seen, maps) in enumerate(zip(OBSERVED, result["maps"], strict=True)):
        for panel, name, values in zip(panels[:, column], ("truth", "flow"), maps, strict=True):
            levels = np.linspace(0.02, 1, 10) * maps[0].max()
            panel.contourf(values, levels, extent=(left, right, bottom, top), cmap="magma",
                           extend="both")  # fmt: skip
            panel.set_title(f"{name}, {seen:.0f} m", fontsize=9)
        panels[1, column].set_xlabel("angle, degrees")
    for panel in panels[:, 0]:
        panel.set_ylabel("speed, m/s")
    for panel, column, name in zip(panels[:, 3], (0, 1), STATISTICS, strict=False):
        panel.hist(result["ranks"][:, column], bins=np.arange(0, 101, 5), color="#1f5a99")
        panel.axhline(len(result["ranks"]) / 20, color="#d1603d")
        panel.set_title(f"ranks of the {name}", fontsize=9)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", type=pathlib.Path, default="runs/examples", help="folder")
    figures = parser.parse_args().figures
    result = run()
    for name, p_value in zip(STATISTICS, result["p_values"], strict=True):
        print(f"ranks of the {name}: p = {p_value:.3f}")
    rows = zip(OBSERVED, *(result[k] for k in ("divergences", "variations", "mass")), strict=True)
    for seen, divergence, variation, mass in rows:
        print(f"given {seen:.0f} m: KL(truth‖flow) {divergence:.4f} nats, total variation "
              f"{variation:.3f}, mass of the flow on the grid {mass:.4f}")  # fmt: skip
    figures.mkdir(parents=True, exist_ok=True)
    figure(result).savefig(figures / "simulator.png", dpi=90)


if __name__ == "__main__":
    main()
