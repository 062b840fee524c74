"""Models that begin from the data: their preprocessing, their base, and samples of columns."""

import csv

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from sklearn.mixture import GaussianMixture

from tf_iresnet import data
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.training import build, commands, report, sampling
from tf_iresnet.training.fitted_base import choose_mixture, fit_base, shrunk
from tf_iresnet.training.table_fit import Beside
from tf_iresnet.training.train import resolve, train_and_evaluate

ROWS = 600


def mixed(random):
    """Correlated columns: heavy tails, half zeros, steps of 0.5 and 0.01, a share, a count."""
    z = random.normal(size=(ROWS, 6)) @ np.linalg.cholesky(0.5 * np.eye(6) + 0.5).T
    u = scipy.stats.norm.cdf(z)
    rain = np.where(u[:, 1] < 0.5, 0.0, scipy.stats.gamma(0.7, scale=5).ppf(2 * u[:, 1] - 1))
    columns = {
        "heavy": z[:, 0] ** 3 + 100,
        "rain": rain,
        "halves": np.round(2 * (5 + 2 * z[:, 2])) / 2,
        "cents": np.exp(z[:, 3]).round(2),
        "share": scipy.stats.beta(0.7, 0.7).ppf(u[:, 4]),
        "count": scipy.stats.poisson(2).ppf(u[:, 5]),
    }
    return columns


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "mixed.csv"
    columns = mixed(np.random.default_rng(0))
    np.savetxt(
        path, np.stack([*columns.values()], 1), "%.9g", ",", header=",".join(columns), comments=""
    )
    return data.load("table", path=path)


def flow_of(table, preprocessing):
    """A flow without blocks: what preprocessing alone makes of the data."""
    flow = ResidualFlow(build.make_preprocessing(preprocessing, table))
    flow.build((None, *table.event_shape))
    return flow


def mean_log_prob(flow, rows):
    return float(np.mean(flow.log_prob(rows)))


def test_each_preprocessing_is_nearer_to_the_data_than_the_one_before(table):
    """By nats on held-out rows; a normal distribution can't hold half zeros or heavy tails."""
    held_out = np.concatenate([table.validation, table.test])
    values = [
        mean_log_prob(flow_of(table, name), held_out)
        for name in ("standardize", "gaussianize", "copula")
    ]
    assert values[1] > values[0] + 2
    assert values[2] > values[1] + 0.5


def test_samples_are_values_that_the_columns_can_have(table, tmp_path):
    samples = sampling.draw(flow_of(table, "copula"), 10_000, seed=0, batch_size=2000)
    meta = sampling.describe_data(table)
    commands.write_samples(tmp_path / "samples.csv", samples, meta)
    with open(tmp_path / "samples.csv") as file:
        rows = list(csv.DictReader(file))
    texts = {name: [row[name] for row in rows] for name in rows[0]}
    heavy, rain, halves, cents, share, count = (np.array(t, float) for t in texts.values())
    assert rain.min() == 0 and abs(np.mean(rain == 0) - 0.5) < 0.06
    assert np.all(2 * halves == np.rint(2 * halves))
    assert np.all(cents == cents.round(2)) and cents.min() >= 0
    assert max(map(len, texts["cents"])) <= 6, "no digits beyond the step"
    assert share.min() >= 0 and share.max() <= 1
    assert count.min() >= 0 and all(text.isdigit() for text in texts["count"])
    assert np.median(heavy) == pytest.approx(100, abs=0.5)
    original = mixed(np.random.default_rng(1))
    for name, found in (("heavy", heavy), ("cents", cents), ("share", share)):
        assert scipy.stats.ks_2samp(found, original[name]).statistic < 0.1, name
    commands.write_samples(tmp_path / "samples.npz", samples, meta)
    with np.load(tmp_path / "samples.npz") as file:
        np.testing.assert_array_equal(file["samples"][:, 1] == 0, rain == 0)


def test_the_report_says_what_was_found_and_how_it_is_mapped(table):
    rows = table.training_rows()
    beside = Beside(rows, rows, "rows")
    section = report.table_section(flow_of(table, "copula"), table, beside)
    found = dict(zip(table.columns, zip(section.forms, section.maps, strict=True), strict=True))
    assert found["rain"][0] == "continuous at least 0; many cells are 0, as cells of width 10"
    assert found["halves"][0] == "steps of 0.5"
    assert "spline of" in found["heavy"][1]
    assert found["share"] == ("continuous from 0 to 1", found["share"][1])
    assert "logit" in found["share"][1]
    assert "halves: steps of 0.5" in table.describe()
    plain = report.table_section(flow_of(table, "standardize"), table, beside)
    assert set(plain.maps) == {"standardised"}


def test_categories_are_written_as_texts(tmp_path):
    forms = (
        data.columns.ColumnForm.of_categories("kind", ("red", "green")),
        data.columns.ColumnForm("x"),
    )
    meta = sampling.describe_unknown_data((2,)) | {
        "columns": ["kind", "x"],
        "forms": [form.to_dict() for form in forms],
    }
    samples = np.array([[0.3, 0.1], [0.6, 0.2], [-3.0, 0.25]], "float32")
    commands.write_samples(tmp_path / "a.csv", samples, meta)
    assert (tmp_path / "a.csv").read_text() == "kind,x\nred,0.1\ngreen,0.2\nred,0.25\n"
    commands.write_samples(tmp_path / "a.npz", samples, meta)
    with np.load(tmp_path / "a.npz") as file:
        assert file["samples"][:, 0].tolist() == [0, 1, 0]
        assert file["texts_kind"].tolist() == ["red", "green", "red"]


@pytest.mark.parametrize("wrong", [1e6, -999.0])
def test_one_wrong_cell_among_200_rows_leaves_the_rest_as_well_modelled(tmp_path, wrong):
    """The likelihood of new rows, with and without the cell, within what one row is worth."""
    random = np.random.default_rng(2)
    rows = np.stack([random.normal(50, 10, 200), random.exponential(size=200)], axis=1)
    new = np.stack([random.normal(50, 10, 5000), random.exponential(size=5000)], axis=1)
    spoilt = rows.copy()
    first = data.load("table", path=_save(tmp_path, rows)).training_rows()[0]
    spoilt[np.argmin(np.abs(rows - first).sum(axis=1)), 0] = wrong  # in the training part
    losses = {}
    for name, table in (("good", rows), ("spoilt", spoilt)):
        dataset = data.load("table", path=_save(tmp_path, table))
        log_prob = flow_of(dataset, "gaussianize").log_prob(new.astype("float32"))
        losses[name] = np.asarray(log_prob)
        assert (len(dataset.notes) > 0) == (name == "spoilt")
    difference = losses["good"] - losses["spoilt"]
    assert abs(difference.mean()) < 0.02


def _save(tmp_path, rows):
    np.save(tmp_path / "rows.npy", rows)
    return tmp_path / "rows.npy"


def test_images_have_no_columns_to_fit(monkeypatch):
    images = data.load("digits_image")
    with pytest.raises(ValueError, match=r"Expected vectors .*'copula'.*shape \(8, 8, 1\)"):
        build.make_preprocessing("copula", images)


# -- the base -------------------------------------------------------------------------------------


def groups(n, seed=0):
    random = np.random.default_rng(seed)
    first = random.normal(size=(n, 2)) @ np.array([[1.0, 0.9], [0.0, 0.2]])
    second = random.normal(size=(n, 2)) @ np.array([[0.4, -0.3], [0.0, 0.1]]) + [4, 4]
    return np.where(random.uniform(size=(n, 1)) < 0.6, first, second)


def test_the_mixture_of_least_bic_is_chosen():
    assert len(choose_mixture(groups(500)).weights_) == 2
    assert len(choose_mixture(np.random.default_rng(0).normal(size=(300, 3))).weights_) == 1
    assert len(choose_mixture(groups(4)).weights_) == 1


def test_rows_are_gaussianized_where_that_makes_a_mixture_likelier(tmp_path):
    """Groups are what a mixture is made of; skewed columns are not."""
    for rows, expected in (
        (groups(1000), "Rescale"),
        (np.exp(np.random.default_rng(0).normal(size=(1000, 2))), "Gaussianize"),
    ):
        (layer,) = build.make_preprocessing("auto", data.load("table", path=_save(tmp_path, rows)))
        assert type(layer).__name__ == expected


def test_covariances_are_shrunk_where_that_helps(tmp_path):
    """Many independent columns of few rows ask for it; nearly equal columns don't."""
    random = np.random.default_rng(0)
    independent = random.normal(size=(80, 20))
    alike = random.normal(size=(80, 1)) + 0.01 * random.normal(size=(80, 20))
    kept = {}
    for name, rows in (("independent", independent), ("alike", alike)):
        dataset = data.load("table", path=_save(tmp_path, rows))
        flow = fit_base(flow_of(dataset, "standardize"), dataset)
        z = np.asarray(flow.layer(dataset.training_rows()), np.float64)
        mixture = choose_mixture(z)
        assert mixture.n_components == 1
        held_out = np.asarray(flow.layer(dataset.validation), np.float64)
        plain, pulled = (
            scipy.stats.multivariate_normal(mixture.means_[0], covariance).logpdf(held_out).mean()
            for covariance in (mixture.covariances_[0], shrunk(mixture, z)[0])
        )
        kept[name] = pulled > plain
        found = float(np.mean(flow.base.log_prob(held_out.astype("float32"))))
        np.testing.assert_allclose(found, max(plain, pulled), rtol=1e-3)
    assert kept == {"independent": True, "alike": False}
    np.testing.assert_allclose(
        np.trace(shrunk(mixture, z)[0]), np.trace(mixture.covariances_[0]), rtol=1e-12
    )


def test_a_start_that_training_only_spoils_is_kept(tmp_path):
    config = {
        "data": {"name": "table", "path": str(_save(tmp_path, groups(600)))},
        "model": {"num_blocks": 2, "hidden_units": (8,), "base": "fitted_mixture"},
        "training": {
            "learning_rate": 1.0, "epochs": 2, "steps_per_epoch": 3, "warmup_steps": 0,
            "ema_momentum": 0.0, "keep_start": True,
        },
    }  # fmt: skip
    config["model"]["initial_gain"] = 0.1
    figures = train_and_evaluate(config, tmp_path / "run")
    assert figures["best_epoch"] == 0 and figures["epochs"] == 2
    kept = keras.models.load_model(tmp_path / "run" / "model.keras")
    dataset = build.make_dataset(config)
    start = build.make_model(resolve(config), dataset)
    np.testing.assert_allclose(
        kept.log_prob(dataset.validation), start.log_prob(dataset.validation), rtol=1e-4
    )
    page = (tmp_path / "run" / "report.html").read_text()
    assert "epoch 0 of 2, as it began" in page and "the weights that it began with" in page


def test_a_flow_begins_as_the_mixture(tmp_path):
    """An untrained flow has nearly the likelihood of scikit-learn's mixture of the same rows."""
    np.save(tmp_path / "groups.npy", groups(1000))
    config = {
        "data": {"name": "table", "path": str(tmp_path / "groups.npy")},
        "model": {"num_blocks": 2, "hidden_units": (8,), "base": "fitted_mixture"},
        "training": {"seed": 1},
    }
    dataset = build.make_dataset(config)
    flow = build.make_model(config, dataset)
    assert flow.base.describe().startswith("learned mixture of")
    new = groups(4000, seed=1)
    expected = GaussianMixture(2, random_state=0).fit(dataset.training_rows()).score(new)
    found = mean_log_prob(flow, new.astype("float32"))
    assert found > expected - 0.15
    again = build.make_model(config, dataset)
    np.testing.assert_array_equal(again.log_prob(new[:20]), flow.log_prob(new[:20]))
    before = [weight.numpy() for weight in flow.base.trainable_variables]
    flow.fit(tf.constant(groups(256), tf.float32), epochs=1, verbose=0)
    assert all(np.any(a != w) for a, w in zip(before, flow.base.trainable_variables, strict=True))
    assert mean_log_prob(flow, new.astype("float32")) > expected - 0.15
