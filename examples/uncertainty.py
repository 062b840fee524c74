"""A classifier that knows how far it is from its data: bounded features under a Gaussian process.

    python examples/uncertainty.py --figures=runs/examples

Two moons whose densities are known, so that the true probability of each class is, too. Residual
blocks `x + g(x)` whose branches have `Lip(g) ≤ L < 1` distort no distance by more than a factor:

    Π(1 − L)·‖x − x'‖  ≤  ‖h(x) − h(x')‖  ≤  Π(1 + L)·‖x − x'‖

so a Gaussian process on the features h, here one of random Fourier features with the Laplace
approximation of its posterior, is unsure of inputs far from the data: SNGP (Liu et al., arXiv
2006.10108). It is compared with the same network without the bound, and with that under an ordinary
linear head, by labels, by true probabilities, and on strangers: points where there are no data.
"""

import argparse
import dataclasses
import math
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from matplotlib.figure import Figure
from scipy.special import expit
from sklearn import metrics

import tf_iresnet as tfi

WIDTH, FOURIER, LENGTH, DEVIATION = 64, 512, 2.0, 3.0
KINDS = {"bounded GP": (0.7, True), "unbounded GP": (None, True), "unbounded linear": (None, False)}
MOONS = tfi.data.toy.get("moons")
# Each moon by itself, wide enough to overlap with the other.
MOON = [
    dataclasses.replace(MOONS, scale=0.5, arms=lambda t, k=k: MOONS.arms(t)[k : k + 1])
    for k in (0, 1)
]


def sample(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`num` points `[num, 2]`, half of them of each moon, and labels `[num]`."""
    points = [moon.sample(num // 2, seed, step=k).numpy() for k, moon in enumerate(MOON)]
    return np.concatenate(points), np.repeat([0, 1], num // 2)


def truth(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probability of the second moon given `x` `[n, 2]`, and the log-density, `[n]` each."""
    first, second = (moon.log_prob(x.astype("float64")).numpy() for moon in MOON)
    return expit(second - first), np.logaddexp(first, second) - math.log(2)


class Classifier:
    """Residual features, with a bound or without, under a Gaussian process or a linear head."""

    def __init__(self, coefficient: float | None, gaussian_process: bool, blocks: int, seed: int):
        keras.utils.set_random_seed(seed)
        branch = [
            tfi.layers.SpectralDense(WIDTH, coefficient, activation="relu", normalization="gram"),
            tfi.layers.SpectralDense(WIDTH, coefficient, normalization="gram"),
        ]
        block = tfi.layers.ResidualBlock(branch, constrained=coefficient is not None)
        self.features = tfi.layers.InvertibleSequential(
            [
                tfi.layers.ChannelPad(WIDTH - 2),  # zeros: distances stay as they are
                tfi.layers.Repeated(block, blocks),
            ]
        )
        self.gaussian_process = gaussian_process
        self.layers = [keras.Input([2]), self.features]
        if gaussian_process:  # a cos(Wh + b) with random W and b: arXiv 2006.10108, eq. 7
            normal = keras.initializers.RandomNormal(stddev=1 / LENGTH)
            uniform = keras.initializers.RandomUniform(0, 2 * math.pi)
            self.layers += [
                keras.layers.Dense(FOURIER, keras.ops.cos, True, normal, uniform, trainable=False),
                keras.layers.Rescaling(DEVIATION * math.sqrt(2 / FOURIER)),
            ]
        self.basis = keras.Sequential(self.layers)

    def fit(self, x: np.ndarray, y: np.ndarray, epochs: int) -> "Classifier":
        # The Gaussian process is a regression on the basis with weights N(0, 1) a priori.
        prior = keras.regularizers.L2(0.5 / len(x)) if self.gaussian_process else None
        self.head = keras.layers.Dense(1, kernel_regularizer=prior)
        model = keras.Sequential([*self.layers, self.head])
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-2), loss)
        model.fit(x, y[:, np.newaxis], batch_size=100, epochs=epochs, verbose=0)
        if self.gaussian_process:  # its Laplace approximation: eq. 9
            basis = self.basis(x).numpy().astype("float64")
            p = expit(self.head(basis).numpy())
            self.covariance = np.linalg.inv(np.eye(FOURIER) + basis.T @ (p * (1 - p) * basis))
        return self

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The probability of the second moon, and how unsure of it the classifier is."""
        basis = self.basis(x).numpy()
        logits = self.head(basis).numpy()[:, 0]
        if not self.gaussian_process:
            return expit(logits), -np.abs(logits)
        variance = np.sum(basis @ self.covariance * basis, axis=1)
        return expit(logits / np.sqrt(1 + math.pi / 8 * variance)), variance


def stretching(classifier: Classifier, x: np.ndarray) -> dict[str, float]:
    """The least and largest ‖h(x) − h(x')‖ / ‖x − x'‖ of pairs, and the bounds on both."""
    proven = np.array([block.lipschitz for block in tfi.certify(classifier.features).blocks])
    first, second = np.triu_indices(len(x), 1)
    h = classifier.features(x).numpy()
    before, after = (np.linalg.norm(z[first] - z[second], axis=1) for z in (x, h))
    return {
        "proven least stretching": float(np.prod(np.maximum(0, 1 - proven))),
        "least stretching": float(np.min(after / before)),
        "largest stretching": float(np.max(after / before)),
        "proven largest stretching": float(np.prod(1 + proven)),
    }


def run(
    kinds: tuple[str, ...] = tuple(KINDS),
    blocks: int = 3,
    epochs: int = 60,
    seed: int = 0,
    figures: str | os.PathLike[str] | None = None,
) -> dict[str, dict[str, float]]:
    """Trains and compares; writes uncertainty.png to `figures`. Returns each kind's numbers."""
    (x, y), (test, labels) = sample(500, 2 * seed), sample(4000, 2 * seed + 1)
    square = np.random.RandomState(seed).uniform(-8, 8, (4000, 2)).astype("float32")
    strangers = square[truth(square)[1] < -12]
    true = truth(test)[0]

    def scores(p: np.ndarray) -> dict[str, float]:
        return {
            "accuracy": float(np.mean((p > 0.5) == labels)),
            "negative log-likelihood": float(metrics.log_loss(labels, p)),
            "mean error of p": float(np.mean(np.abs(p - true))),
        }

    classifiers = {kind: Classifier(*KINDS[kind], blocks, seed).fit(x, y, epochs) for kind in kinds}
    numbers = {"truth": scores(true)}
    for kind, classifier in classifiers.items():
        (p, usual), (_, strange) = classifier(test), classifier(strangers)
        is_strange = np.repeat([0, 1], [len(usual), len(strange)])
        auroc = metrics.roc_auc_score(is_strange, np.concatenate([usual, strange]))
        numbers[kind] = scores(p) | {"AUROC of strangers": float(auroc)}
        numbers[kind] |= stretching(classifier, np.concatenate([test[::20], strangers[:200]]))
    if figures is not None:
        draw(classifiers, x, y, pathlib.Path(figures))
    return numbers


def draw(classifiers: dict[str, Classifier], x: np.ndarray, y: np.ndarray, folder: pathlib.Path):
    """The probability of the second moon all over the square, as each classifier sees it."""
    axis = np.linspace(-8, 8, 81, dtype="float32")
    plane = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    seen = {"truth": truth(plane)[0]} | {kind: c(plane)[0] for kind, c in classifiers.items()}
    figure = Figure(figsize=(2.4 * len(seen) + 0.6, 2.5), layout="constrained")
    plots = figure.subplots(1, len(seen), sharex=True, sharey=True, squeeze=False)[0]
    for plot, (title, p) in zip(plots, seen.items(), strict=True):
        levels = np.linspace(0, 1, 11)
        picture = plot.contourf(axis, axis, p.reshape(81, 81), levels, cmap="RdBu")
        for label, colour in enumerate(["#ffd8b0", "#a8e0ff"]):
            plot.plot(*x[y == label][::3].T, ".", color=colour, ms=2)
        plot.set(title=title, aspect="equal")
    figure.colorbar(picture, ax=plots, label="p(second moon)", ticks=[0, 0.5, 1])
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "uncertainty.png", dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", default="runs/examples", help="directory of the figure")
    for kind, numbers in run(figures=parser.parse_args().figures).items():
        print(
            kind, *(f"    {name:<28}{number:>9.4f}" for name, number in numbers.items()), sep="\n"
        )
