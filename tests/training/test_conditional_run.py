"""A density of some columns given others, from a table to samples, scores and a certificate."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from tf_iresnet import data
from tf_iresnet.training import commands
from tf_iresnet.training.train import train_and_evaluate
from tf_iresnet.training.workdir import RunError

MODEL = {"num_blocks": 2, "hidden_units": (8,), "preprocessing": "gaussianize"}
TRAINING = {
    "epochs": 2, "steps_per_epoch": 4, "batch_size": 32, "evaluation_examples": 20,
    "evaluation_batch_size": 100,
}  # fmt: skip


def frame(seed, rows):
    rng = np.random.default_rng(seed)
    kind = rng.choice(["u", "v"], rows)
    x = rng.normal(50, 9, rows)
    y = x + np.where(kind == "u", 0, 30) + rng.normal(size=rows)
    return pd.DataFrame({"x": x, "y": y, "kind": kind, "count": np.rint(x / 9)})


def config(path, **options):
    section = {"name": "table", "path": str(path), **options}
    return {"model": MODEL, "data": section, "training": TRAINING}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conditional")
    frame(0, 300).to_csv(folder / "my.csv", index=False, sep=";", decimal=",")
    options = {"target": "y,count", "separator": ";", "decimal": ","}
    figures = train_and_evaluate(config(folder / "my.csv", **options), folder / "run")
    return folder, figures


def written(path, table):
    table.to_csv(path, index=False, sep=";", decimal=",")
    return str(path)


def test_training_ends_with_figures_and_a_picture_of_calibration(run):
    folder, figures = run
    assert np.isfinite(figures["negative_log_likelihood"]) and figures["invertible"]
    assert set(figures["calibration"]) == {"y", "count"}
    assert 0 <= figures["coverage_90"] <= 1 and figures["predicted_examples"] == 30
    assert json.loads((folder / "run" / "figures.json").read_text()) == figures
    assert (folder / "run" / "pictures" / "calibration.png").exists()


def test_samples_are_drawn_for_each_given_row_and_written_beside_it(run, tmp_path):
    given = written(tmp_path / "x.csv", pd.DataFrame({"kind": ["v", "u"], "x": [40.5, 60.25]}))
    options = {"workdir": str(run[0] / "run"), "given": given, "num": 5}
    commands.sample(str(tmp_path / "s.csv"), **options)
    table = pd.read_csv(tmp_path / "s.csv")
    assert list(table) == ["x", "kind", "y", "count"]
    assert table["kind"].tolist() == ["v"] * 5 + ["u"] * 5
    assert table["x"].tolist() == [40.5] * 5 + [60.25] * 5
    assert len(set(table["y"])) == 10 and np.all(table["count"] == np.rint(table["count"]))
    commands.sample(str(tmp_path / "s.npz"), **options)
    with np.load(tmp_path / "s.npz") as archive:
        assert archive["columns"].tolist() == ["y", "count"]
        assert archive["given_columns"].tolist() == ["x", "kind"]
        np.testing.assert_array_equal(archive["given"][:, 1], [1] * 5 + [0] * 5)
        np.testing.assert_allclose(archive["samples"][:, 0], table["y"], rtol=1e-5)


def test_evaluation_is_that_of_training(run, tmp_path):
    folder, trained = run
    figures = commands.evaluate(workdir=str(folder / "run"), output=str(tmp_path / "e.json"))
    for name in ("negative_log_likelihood", "coverage_90", "reconstruction_error"):
        assert figures[name] == pytest.approx(trained[name], rel=1e-3), name


def test_any_new_rows_are_scored_each_by_a_line(run, tmp_path):
    new = frame(1, 4)
    new.loc[1, "y"], new.loc[2, "x"] = 1e6, -500.0  # outside of the training range
    for name, table in {"one": new[:1], "constant": new.loc[[3, 3, 3]], "odd": new}.items():
        path, scores = written(tmp_path / f"{name}.csv", table), tmp_path / f"{name}_scores.csv"
        output = tmp_path / f"{name}.json"
        commands.evaluate(
            workdir=str(run[0] / "run"), table=path, scores=str(scores), output=str(output)
        )
        found = pd.read_csv(scores)
        assert list(found) == [
            "log_density", "standard_error", "quantile", "columns_that_stand_out",
        ]  # fmt: skip
        assert len(found) == len(table) and np.isfinite(found["log_density"]).all()
        assert found["quantile"].between(0, 1).all()
        json.loads(output.read_text(), parse_constant=lambda name: pytest.fail(name))
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert found["quantile"][1] == 0
    assert found["columns_that_stand_out"][1].startswith("y (+")


def test_a_certificate_may_be_compared_with_given_rows(run, tmp_path, capsys):
    path = written(tmp_path / "new.csv", frame(1, 20))
    for measured in ("test", path):
        assert commands.certify(workdir=str(run[0] / "run"), data=measured, examples=10) == 0
        assert "on data" in capsys.readouterr().out


def test_what_is_missing_or_too_much_is_said_in_one_line(run, tmp_path):
    workdir, output = str(run[0] / "run"), str(tmp_path / "s.csv")
    with pytest.raises(RunError, match=r"--given=x\.csv, a table of the columns x, kind"):
        commands.sample(output, workdir=workdir)
    with pytest.raises(data.TableError, match="column named 'kind'"):
        given = written(tmp_path / "x.csv", pd.DataFrame({"x": [1.0, 2.0]}))
        commands.sample(output, workdir=workdir, given=given)
    with pytest.raises(data.TableError, match="categories u, v"):
        given = written(tmp_path / "x.csv", pd.DataFrame({"x": [1.0], "kind": ["w"]}))
        commands.sample(output, workdir=workdir, given=given)
    copy = shutil.copy(run[0] / "run" / "model.keras", tmp_path / "alone.keras")
    for call in (
        lambda: commands.sample(output, model=str(copy)),
        lambda: commands.evaluate(
            model=str(copy), table=str(tmp_path / "x.csv"), output=str(tmp_path / "e.json")
        ),
    ):
        with pytest.raises(RunError, match=r"Expected --workdir of a run.*given"):
            call()
    with pytest.raises(RunError, match=r"Expected --data=new\.csv with --scores"):
        commands.evaluate(workdir=workdir, scores=str(tmp_path / "scores.csv"))


@pytest.mark.parametrize("base", ["fitted_mixture"])
def test_a_base_that_takes_no_condition_is_refused(run, tmp_path, base):
    options = {"target": "y", "separator": ";", "decimal": ","}
    refused = config(run[0] / "my.csv", **options)
    refused["model"] = MODEL | {"base": base}
    with pytest.raises(RunError, match="a base that isn't fitted"):
        train_and_evaluate(refused, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_density_of_all_columns_is_given_nothing_and_may_go_without_a_test_part(tmp_path):
    path = tmp_path / "my.csv"
    frame(0, 100)[["x", "y"]].to_csv(path, index=False)
    figures = train_and_evaluate(config(path, test=0), tmp_path / "run")
    assert figures["split"] == "validation" and figures["examples"] == 10
    assert "predicted_examples" not in figures
    with pytest.raises(RunError, match="density of all columns"):
        commands.sample(str(tmp_path / "s.csv"), workdir=str(tmp_path / "run"), given=str(path))
