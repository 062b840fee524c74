"""Whatever happens to the files of a finished run ends in one line, or is made again."""

import json
import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from support.table_run import config_of_table
from training.test_not_finite import fitted, pretend

from tf_iresnet.data import DataError
from tf_iresnet.models.recipes import mlp_flow
from tf_iresnet.training import commands, train
from tf_iresnet.training.checkpoints import Checkpoints
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.scores import read_reference
from tf_iresnet.training.train import train_and_evaluate
from tf_iresnet.training.workdir import RunError, Workdir

FILES = ("config.json", "dataset.json", "model.keras", "reference.npz")  # what commands read
MADE = (*FILES, "figures.json", "manifest.json", "metrics.csv", "report.html")
NAMES = (*MADE, "checkpoint.npz", "checkpoint2.npz", "pictures/learning_curve.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on a table; its folder, config and figures."""
    folder = tmp_path_factory.mktemp("damage")
    config = config_of_table(folder, steps_per_epoch=3, epochs=2)
    return folder / "run", config, train_and_evaluate(config, folder / "run")


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    return Workdir(tmp_path / "run")


def spoil(path, kind, random):
    """Leaves the file empty, a part of it, with some bits flipped or bytes of another kind."""
    content = path.read_bytes()
    if kind == "empty":
        content = b""
    elif kind == "cut":
        content = content[: random.integers(len(content))]
    elif kind == "flipped":
        changed = np.frombuffer(content, np.uint8).copy()
        places = random.integers(len(changed), size=1 + random.integers(3))
        changed[places] ^= np.uint8(1) << random.integers(8, size=len(places), dtype=np.uint8)
        content = changed.tobytes()
    elif kind == "other":
        content = bytes(random.integers(256, size=200, dtype=np.uint8))
    path.write_bytes(content)


def outcome(call):
    """What the call raises as a user's error, None if nothing; other errors are the test's."""
    try:
        call()
    except (RunError, DataError) as error:
        assert "\n" not in str(error) and len(str(error)) > 40
        return str(error)
    return None


KINDS = ("empty", "cut", "flipped", "other")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_commands_name_a_damaged_file_and_say_what_makes_it_again(name, kind, copy, tmp_path):
    """Of the checksum; `sample` needs no reference."""
    spoil(copy.path / name, kind, np.random.default_rng(1))
    where = {"workdir": str(copy.path)}
    table = str(copy.path.parent / "new.csv")
    pd.DataFrame(np.zeros((3, 2)), columns=["a", "b"]).to_csv(table, index=False)
    calls = {
        "evaluate": lambda: commands.evaluate(**where, table=table, examples=3),
        "certify": lambda: commands.certify(**where, data="test", examples=3),
        "sample": lambda: commands.sample(str(tmp_path / "s.csv"), **where, num=3),
    }
    if name == "reference.npz":
        calls = {"evaluate": calls["evaluate"]}
    for call in calls.values():
        said = outcome(call)
        assert name in said and "erun the training command" in said
    assert not (tmp_path / "s.csv").exists()


def no_training(*_, **__):
    raise AssertionError("training was over")


def test_all_that_is_gone_or_damaged_is_made_again_without_training(run, copy, monkeypatch, capsys):
    """Bit by bit: from the checkpoint alone, damaged config included."""
    _, config, figures = run
    before = {p: p.read_bytes() for p in copy.path.rglob("*") if p.is_file()}
    monkeypatch.setattr(train, "train_epochs", no_training)
    assert train_and_evaluate(config, copy.path) == figures
    copy.config.write_bytes(b"")
    copy.model.write_bytes(before[copy.model][:-1])
    for path in (copy.report, copy.figures, copy.reference, copy.dataset, copy.metrics):
        path.unlink()
    shutil.rmtree(copy.pictures)
    assert train_and_evaluate(config, copy.path) == figures
    said = capsys.readouterr().out
    assert "config.json is restored from the checkpoint" in said
    assert "It is being made again." in said
    for path, content in before.items():
        if "tensorboard" not in path.parts and path not in (copy.model, copy.manifest, copy.report):
            assert path.read_bytes() == content, path
    models = [keras.models.load_model(w / "model.keras") for w in (run[0], copy.path)]
    for a, b in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", MADE)
def test_a_finished_run_notices_any_damage(name, run, copy, capsys):
    """A config.json that is other JSON is refused as another config."""
    spoil(copy.path / name, "flipped", np.random.default_rng(2))
    resolved = train.resolve(run[1])

    def look():
        assert copy.finished(resolved) is None

    said = outcome(look) or capsys.readouterr().out
    assert name in said and ("made again" in said or name == "config.json")


@pytest.mark.parametrize("name", ["model.keras", "dataset.json"])
def test_a_directory_in_the_place_of_a_file_is_called_one(name, run, copy, capsys):
    (copy.path / name).unlink()
    (copy.path / name).mkdir()
    with pytest.raises(RunError, match=f"{name}.* a directory.*ove it away"):
        commands.certify(workdir=str(copy.path), data="test")
    with pytest.raises(RunError, match=f"to write .*{name}.*directory.*Move it away"):
        train_and_evaluate(run[1], copy.path)
    assert "Received: a directory. Move it away." in capsys.readouterr().out


def test_no_output_replaces_a_file_unasked(copy, tmp_path, run):
    """Of all that a command writes, what the user hasn't named included."""
    where, table = {"workdir": str(copy.path)}, str(run[0].parent / "my.csv")
    calls = {
        "s.csv": lambda output: commands.sample(output, num=3, **where),
        "c.keras": lambda output: commands.certify(enforce=True, output=output, **where),
        "e.json": lambda output: commands.evaluate(output=output, **where),
        "t.json": lambda output: commands.evaluate(output=output, table=table, **where),
        "t.csv": lambda output: commands.evaluate(scores=output, table=table, **where),
    }
    for name, call in {**calls, "t.png": calls["t.json"]}.items():
        path = tmp_path / name
        path.write_text("mine")
        with pytest.raises(RunError, match=f"{name}, which exists; add --overwrite"):
            call(str(tmp_path / name.replace("png", "json")))
        assert path.read_text() == "mine"
        path.unlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_flags_without_effect_are_refused(run, copy):
    table = str(run[0].parent / "my.csv")
    with pytest.raises(RunError, match="Received: split=validation, data="):
        commands.evaluate(workdir=str(copy.path), table=table, split="validation")
    with pytest.raises(RunError, match=r"Expected --data with --examples.*examples=5"):
        commands.certify(workdir=str(copy.path), examples=5)


def test_mutated_models_are_refused_in_one_line(tmp_path):
    flow, path, random = (
        mlp_flow(2, 1, (4,), seed=0),
        tmp_path / "a.keras",
        np.random.default_rng(0),
    )
    flow.save(path)
    content, refused = path.read_bytes(), 0
    for _ in range(60):
        path.write_bytes(content)
        spoil(path, KINDS[random.choice(4, p=[0.02, 0.1, 0.86, 0.02])], random)
        refused += outcome(lambda: SavedRun(model=str(path))) is not None
    assert 20 < refused <= 60


def test_data_described_by_others_are_refused(run, tmp_path):
    """Beside a model without a manifest: JSON of a wrong kind is named, not traced."""
    for name in ("model.keras", "dataset.json"):
        shutil.copy(run[0] / name, tmp_path / name)
    meta = json.loads((tmp_path / "dataset.json").read_text())
    wrong = [
        [], {}, {**meta, "columns": ["a"]}, {**meta, "forms": [{}]}, {**meta, "forms": 3},
        {**meta, "forms": [{**meta["forms"][0], "step": None}, *meta["forms"][1:]]},
        {**meta, "forms": [{**meta["forms"][0], "atoms": {}}, *meta["forms"][1:]]},
        {**meta, "forms": meta["forms"][1:]},
        {**meta, "deviation": ["a", "b"]}, {**meta, "levels": "many"}, {**meta, "condition": [1]},
        {**meta, "image_shape": [2, 2]}, {**meta, "columns": None},
    ]  # fmt: skip
    saved = SavedRun(model=str(tmp_path / "model.keras"))
    assert saved.meta() == meta
    for content in wrong:
        (tmp_path / "dataset.json").write_text(json.dumps(content))
        assert "dataset.json" in outcome(saved.meta)


def junk(content, random):
    """JSON with a value somewhere replaced by one of another kind, or gone."""
    if not isinstance(content, (dict, list)) or not content or random.random() < 0.2:
        others = (None, -1, 1e99, "", "ä", [], {}, [[]], {"a": None}, True, [1, 2], "normal")
        return others[random.integers(len(others))]
    keys = list(content) if isinstance(content, dict) else range(len(content))
    key, copy = keys[random.integers(len(keys))], content.copy()
    if random.random() < 0.2:
        copy.pop(key)
    else:
        copy[key] = junk(content[key], random)
    return copy


MUTATIONS = 200  # of each kind of file


@pytest.mark.slow
def test_thousands_of_mutated_files_never_trace_back(run, copy, tmp_path, capsys):
    """Of bytes and of JSON; with a manifest, without, of a run begun again, of a checkpoint."""
    random, counts = np.random.default_rng(0), {}
    config, samples = train.resolve(run[1]), np.zeros((3, 2), np.float32)
    model = train.build.make_model(config, SavedRun(str(run[0])).dataset())
    copy.checkpoints[1].unlink()

    def read():
        saved = SavedRun(str(copy.path))
        saved.condition_columns(), saved.dataset()
        read_reference(copy.check(copy.reference))
        commands.write_samples(tmp_path / "s.csv", samples, saved.meta())

    def loosely():
        copy.manifest.unlink(missing_ok=True)
        read()

    def again():
        if copy.finished(config) is None:
            raise RunError("Expected a finished run. Received: one that is made again.")

    names = {read: FILES, again: MADE, loosely: FILES}
    names[lambda: Checkpoints(copy).load(model)] = ("checkpoint.npz",)
    for call, files in names.items():
        for path in (copy.path / name for name in files):
            content, refused = path.read_bytes(), 0
            for index in range(MUTATIONS):
                path.write_bytes(content)
                if path.suffix == ".json" and index % 2:
                    path.write_text(json.dumps(junk(json.loads(content), random)))
                else:
                    spoil(path, KINDS[random.choice(4, p=[0.02, 0.2, 0.75, 0.03])], random)
                refused += outcome(call) is not None
            path.write_bytes(content)
            counts[f"{call.__name__}: {path.name}"] = refused
    with capsys.disabled():
        print(f"\n{MUTATIONS * len(counts)} mutated files, {MUTATIONS} of each kind; refused:")
        print(*(f"{count:5d} {kind}" for kind, count in counts.items()), sep="\n")
    assert all(counts[f"read: {name}"] == MUTATIONS for name in FILES)
    assert all(counts[f"again: {name}"] == MUTATIONS for name in MADE if name != "manifest.json")


def test_a_run_whose_checkpoints_are_gone_says_that_it_begins_anew(
    run, tmp_path, monkeypatch, capsys
):
    pretend(monkeypatch, None)
    workdir, told = Workdir(tmp_path / "run"), "There is no checkpoint any more"
    fitted(run[1], workdir.path)
    for path in workdir.checkpoints:
        path.unlink(missing_ok=True)
    fitted(run[1], workdir.path)
    assert told not in capsys.readouterr().out  # nothing is lost
    for path in workdir.checkpoints:
        path.unlink(missing_ok=True)
    workdir.metrics.touch()
    fitted(run[1], workdir.path)
    assert told in capsys.readouterr().out
