"""Anomaly scores: how unlikely is an image, and how often is the alarm false?

    python examples/anomalies.py --figures=runs/examples

Normal data are scikit-learn's handwritten digits without one of the ten; that digit is the anomaly,
which nobody knew of in training. A flow learns the density of normal images (of their 20 principal
components), and an image is the more anomalous the lower its log-density. The labels are the truth
with which the scores are compared. Blends, the mean of two normal images of different digits, are a
second kind of anomaly: they lie *between* the classes, where a Gaussian has its mode.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from matplotlib.figure import Figure
from sklearn import datasets, decomposition, ensemble, metrics

import tf_iresnet as tfi

FALSE_ALARMS = 0.05


def load(anomaly: int, components: int, seed: int) -> dict[str, np.ndarray]:
    """Whitened principal components `[n, components]` of training, validation and other images."""
    images, digits = datasets.load_digits(return_X_y=True)
    random = np.random.RandomState(seed)
    normal = random.permutation(np.flatnonzero(digits != anomaly))
    train, validation, test = np.split(normal, [len(normal) * 3 // 5, len(normal) * 4 // 5])
    other = random.permutation(test)
    pairs = [(i, j) for i, j in zip(test, other, strict=True) if digits[i] != digits[j]]
    rows = {
        "train": images[train],
        "validation": images[validation],
        "test": images[test],
        "anomalies": images[digits == anomaly],
        "blends": np.mean([images[list(pair)] for pair in zip(*pairs, strict=True)], axis=0),
    }
    pca = decomposition.PCA(components, whiten=True, random_state=seed).fit(rows["train"])
    return {name: pca.transform(x).astype("float32") for name, x in rows.items()}


def train_flow(x: np.ndarray, blocks: int, epochs: int, seed: int) -> tfi.ResidualFlow:
    keras.utils.set_random_seed(seed)  # of the order of the batches
    flow = tfi.mlp_flow(x.shape[1], blocks, hidden_units=(64, 64), activation="elu", seed=seed)
    steps = epochs * -(-len(x) // 128)
    rate = keras.optimizers.schedules.CosineDecay(5e-3, steps, alpha=0.01)
    flow.compile(optimizer=keras.optimizers.AdamW(rate, weight_decay=0.5))
    flow.fit(x, batch_size=128, epochs=epochs, verbose=0)
    return flow


def threshold(scores: np.ndarray) -> float:
    """A new normal score exceeds it with probability ≤ `FALSE_ALARMS`, whatever the scores are.

    That is split conformal prediction: held-out normal scores and the new one are exchangeable.
    """
    rank = int(np.ceil((len(scores) + 1) * (1 - FALSE_ALARMS)))
    return float(np.sort(scores)[rank - 1])


def run(
    anomaly: int = 8,
    components: int = 20,
    blocks: int = 6,
    epochs: int = 60,
    seed: int = 0,
    figures: str | os.PathLike[str] | None = None,
) -> dict[str, float]:
    """Trains, scores and compares; writes anomalies.png to `figures`. Returns the numbers."""
    data = load(anomaly, components, seed)
    flow = train_flow(data["train"], blocks, epochs, seed)
    forest = ensemble.IsolationForest(random_state=seed).fit(data["train"])
    log_prob = flow.log_prob(np.concatenate([*data.values()])).numpy()  # traced once
    ends = np.cumsum([len(x) for x in data.values()])[:-1]
    surprise = dict(zip(data, np.split(-log_prob, ends), strict=True))
    usual = surprise["validation"].mean()  # the entropy of normal data, in nats
    scores = {
        "flow": surprise,
        # Also anomalous is what is too likely: it isn't in the typical set (arXiv 1906.02994).
        "typicality": {name: np.abs(s - usual) for name, s in surprise.items()},
        # Components are white: this is the log-density of a Gaussian.
        "Mahalanobis": {name: np.square(x).sum(axis=1) for name, x in data.items()},
        "isolation forest": {name: -forest.score_samples(x) for name, x in data.items()},
    }
    numbers: dict[str, float] = {}
    for name, score in scores.items():
        limit = threshold(score["validation"])
        numbers[f"false alarms, {name}"] = float(np.mean(score["test"] > limit))
        for kind in ("anomalies", "blends"):
            truth = np.repeat([0, 1], [len(score["test"]), len(score[kind])])
            both = np.concatenate([score["test"], score[kind]])
            numbers[f"AUROC of {kind}, {name}"] = float(metrics.roc_auc_score(truth, both))
            numbers[f"found {kind}, {name}"] = float(np.mean(score[kind] > limit))
    share = FALSE_ALARMS * (1 - FALSE_ALARMS)  # the threshold is as random as the test data
    numbers["false alarms, standard error"] = float(
        np.sqrt(share / len(data["validation"]) + share / len(data["test"]))
    )
    numbers["certified Lipschitz constant"] = max(b.lipschitz for b in tfi.certify(flow).blocks)
    if figures is not None:
        draw(scores, pathlib.Path(figures), anomaly)
    return numbers


def draw(scores: dict[str, dict[str, np.ndarray]], folder: pathlib.Path, anomaly: int) -> None:
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    flow = scores["flow"]
    bins = np.linspace(*np.quantile(np.concatenate([*flow.values()]), [0, 0.97]), 50)
    kinds = {"test": "normal, test", "anomalies": f"the digit {anomaly}", "blends": "blends"}
    for kind, label in kinds.items():
        left.hist(flow[kind], bins, density=True, alpha=0.5, label=label)
    left.axvline(threshold(flow["validation"]), color="k", ls="--", lw=1, label="threshold")
    left.set(xlabel="-ln p(x), nats", yticks=[], title="Score of the flow")
    left.legend(frameon=False)
    for name, score in scores.items():
        truth = np.repeat([0, 1], [len(score["test"]), len(score["anomalies"])])
        both = np.concatenate([score["test"], score["anomalies"]])
        right.plot(*metrics.roc_curve(truth, both)[:2], label=name)
    right.set(xlabel="false alarms", ylabel="anomalies found", title=f"The digit {anomaly}")
    right.axvline(FALSE_ALARMS, color="k", ls="--", lw=1)
    right.legend(frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "anomalies.png", dpi=90)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", default="runs/examples", help="directory of the figure")
    for name, number in run(figures=parser.parse_args().figures).items():
        print(f"{name:<40}{number:>8.3f}")
