"""The comparison of estimators: what it says of one is so."""

import json

import numpy as np
import pytest
import tensorflow as tf

from comparisons import estimators, solvers
from tf_iresnet import log_det


@pytest.fixture(scope="module")
def problem():
    """Two small blocks, their log-determinants in float64, and all terms of the series."""
    branches = estimators.branches_of(solvers.strongly_contracting(size=6, width=8, blocks=2))
    truth = estimators.network(branches, log_det.Exact(), tf.float64)(0)[0].numpy()
    return (
        branches,
        truth,
        estimators.network(branches, log_det.PowerSeries(300), **estimators.DOUBLE)(0),
    )


def test_errors_are_those_of_the_estimator(problem):
    branches, truth, whole = problem
    exact = estimators.figures(branches, log_det.Exact(), truth, whole, draws=2)
    assert exact["products"] == 6 and abs(exact["bias"]) < 1e-5 and exact["noise"] < 1e-5
    rows = {n: estimators.cut_off(branches, log_det.PowerSeries(n), whole) for n in (2, 8, 300)}
    assert rows[300]["cut_off"] < 1e-12 < rows[8]["cut_off"] < rows[2]["cut_off"]
    assert all(row["cut_off"] <= row["bound"] + 1e-12 for row in rows.values())
    krylov = estimators.cut_off(branches, log_det.Krylov(6), whole)
    assert krylov["cut_off"] < 1e-6, "as many steps as dimensions"


def test_exact_traces_make_less_noise(problem):
    branches, truth, whole = problem
    noise = [
        estimators.figures(branches, log_det.Krylov(6, exact_trace=e), truth, whole, 40)["noise"]
        for e in (True, False)
    ]
    assert noise[0] < 0.7 * noise[1]


@pytest.mark.parametrize(
    ("estimator", "count"),
    [
        (log_det.Exact(), 6),
        (log_det.PowerSeries(5, probes=2), 10),
        (log_det.Krylov(8), 6),
        (log_det.RussianRoulette(exact_terms=2, survival=0.5), 3),
        (log_det.Krylov(8, tolerance=1e-3), None),
    ],
)
def test_products_are_counted(estimator, count):
    assert estimators.products(estimator, 6, 0.9) == count


@pytest.mark.slow
def test_it_prints_and_writes_what_it_measures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(estimators, "TERMS", 100)
    changes = {
        "model": {"num_blocks": 2, "hidden_units": (8,)},
        "training": {"epochs": 1, "steps_per_epoch": 2},
    }
    rows = estimators.compare(tmp_path, changes, rounds=2, draws=2)
    output = capsys.readouterr().out
    printed = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert [{"suite": "estimators", **row} for row in rows] == printed
    assert len(rows) == 4 * len(estimators.ESTIMATORS)
    assert all(np.isfinite(row["bias"]) and row["milliseconds"] > 0 for row in rows)
    assert {p.name for p in tmp_path.iterdir()} == {"digits", "estimators.csv", "estimators.png"}
