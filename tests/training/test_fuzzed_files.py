"""Configs and files of a workdir that are damaged at random: read, or refused in one line."""

import json
import random
import shutil

import numpy as np
import pytest
from support.mutations import mutate, mutate_members, read_all
from support.table_run import config_of_table
from training import test_config_mutations as configs
from training.test_damage import junk

from tf_iresnet.training import build, commands, train
from tf_iresnet.training.by_rows import fill_in
from tf_iresnet.training.checkpoints import Checkpoints, restore_config
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.saved_run import SavedRun
from tf_iresnet.training.scores import read_reference
from tf_iresnet.training.workdir import RunError, Workdir

# -- configs --------------------------------------------------------------------------------------

CONFIGS = ("toy", "digits", "digits_classifier", "digits_hybrid", "digits_image")


def up_to_the_model(config):
    """What a run does with a config before it makes a model."""
    resolved = train.resolve(config)
    build.check_model({k: v for k, v in resolved["model"].items() if v is not None})
    dataset = build.make_dataset(resolved)
    filled = fill_in(resolved, dataset)
    TrainingOptions(**filled["training"])


@pytest.mark.parametrize("count", [25, pytest.param(5000, marks=pytest.mark.slow)])
def test_fields_of_configs(count, capsys):
    source = random.Random(4)
    whole = {name: configs.load(name) for name in CONFIGS}

    def mutations():
        for _ in range(count):
            config = json.loads(json.dumps(whole[source.choice(CONFIGS)]))
            configs.mutate(config, source)
            yield config

    with capsys.disabled():
        assert read_all("configs", mutations(), up_to_the_model, named="onfig") > 0.3


@pytest.mark.parametrize("count", [50, pytest.param(10_000, marks=pytest.mark.slow)])
def test_config_files(count, tmp_path, monkeypatch, capsys):
    source, path = random.Random(5), tmp_path / "config.py"
    texts = [(configs.CONFIGS / f"{name}.py").read_text() for name in CONFIGS]
    monkeypatch.setattr(configs, "build_all", train.resolve)

    def read(text):
        path.write_text(text, "utf-8")
        line = configs.run_in_line(["train.py", f"--config={path}"], monkeypatch, capsys)
        if line is not None:
            raise RunError(line)

    mutations = (configs.mutate_text(source.choice(texts), source) for _ in range(count))
    refused = read_all("config files", mutations, read)
    with capsys.disabled():
        print(capsys.readouterr().out, end="")
    assert refused > 0.2


# -- files of a workdir ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The workdir of a finished run on a table, and its config."""
    folder = tmp_path_factory.mktemp("fuzzed")
    config = config_of_table(folder, steps_per_epoch=2, epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tf_iresnet.training.report.run_pictures", lambda *_: [])
        train.train_and_evaluate(config, folder / "run")
    return Workdir(folder / "run"), train.resolve(config)


def readers(copy, config):
    """Name of a file → what is done with it where its checksum doesn't tell."""
    saved, samples = SavedRun(str(copy.path)), np.zeros((3, 2), np.float32)
    model = build.make_model(config, saved.dataset())

    def config_json():
        restore_config(copy)
        copy.finished(config)

    def dataset_json():
        saved.condition_columns()
        commands.write_samples(copy.path / "samples.csv", samples, saved.meta())

    def manifest_json():
        if copy.finished(config) is None:
            raise RunError(f"{copy.manifest} isn't what it was: it is being made again")

    return {
        "config.json": config_json,
        "dataset.json": dataset_json,
        "manifest.json": manifest_json,
        "figures.json": copy.read_figures,
        "reference.npz": lambda: read_reference(copy.reference),
        "checkpoint.npz": lambda: Checkpoints(copy).load(model),
        "model.keras": lambda: SavedRun(model=str(copy.model)),
    }


FILES = {
    "config.json": 5000, "dataset.json": 5000, "manifest.json": 5000, "figures.json": 5000,
    "reference.npz": 5000, "checkpoint.npz": 3000, "model.keras": 2000,
}  # fmt: skip


@pytest.mark.slow  # tests/training/test_damage.py has quick ones
@pytest.mark.parametrize(("kind", "count"), FILES.items())
def test_files_of_a_workdir(kind, count, finished, tmp_path, capsys):
    copy, rng = Workdir(tmp_path / "run"), np.random.default_rng(6)
    shutil.copytree(finished[0].path, copy.path)
    read = readers(copy, finished[1])[kind]
    path = copy.path / kind
    if kind != "manifest.json":
        copy.manifest.unlink()
    if kind == "config.json":
        for checkpoint in copy.checkpoints:
            checkpoint.unlink()
    elif kind == "checkpoint.npz":
        copy.checkpoints[1].unlink(missing_ok=True)
    whole = path.read_bytes()

    def mutations():
        for k in range(count):
            if path.suffix == ".json" and k % 2:
                yield json.dumps(junk(json.loads(whole), rng)).encode()
            elif path.suffix in (".npz", ".keras") and k % 2:
                yield mutate_members(whole, rng)
            else:
                yield mutate(whole, rng)

    def damaged(content):
        path.write_bytes(content)
        read()

    refused = read_all(kind, mutations(), damaged)
    with capsys.disabled():
        print(capsys.readouterr().out.splitlines()[-1])
    assert refused > 0.1
