"""Of the last two checkpoints the newer one that is whole is used; no damage goes unnoticed."""

import shutil
import tracemalloc
import zipfile

import keras
import numpy as np
import pytest
from support.regression import make_model, train

from tf_iresnet.training.checkpoints import Checkpoints, RunState, restore_config
from tf_iresnet.training.workdir import RunError, Workdir


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir with the checkpoints of two epochs, the older one first; and what they hold."""
    path = tmp_path_factory.mktemp("checkpoints")
    train(path)
    newest, older = Checkpoints(Workdir(path))._newest_first()
    return path, older, newest


def copy(run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(run[0], path)
    return path, path / run[1].name, path / run[2].name


def load(path, model=None):
    """The state, and every value, after loading what lies in `path`."""
    model, checkpoints = model or make_model(), Checkpoints(Workdir(path))
    state = checkpoints.load(model)
    arrays = [*model.variables, *model.optimizer.variables, *state.best_weights]
    return state, [np.asarray(v).tobytes() for v in arrays]


def test_the_newer_of_two_is_used_and_writing_replaces_the_older(run, tmp_path):
    path, older, newest = copy(run, tmp_path)
    assert load(path)[0].epoch == 3
    checkpoints, model, before = Checkpoints(Workdir(path)), make_model(), newest.read_bytes()
    state = checkpoints.load(model)
    checkpoints.save(model, state)
    assert newest.read_bytes() == before != older.read_bytes()
    newest.unlink()
    assert load(path)[0].epoch == 3


def test_the_older_of_two_can_be_used_and_kept(run, tmp_path):
    path, older, newest = copy(run, tmp_path)
    checkpoints, model, first = Checkpoints(Workdir(path)), make_model(), older.read_bytes()
    state, after = checkpoints.load(model), newest.read_bytes()
    checkpoints.save(model, state, keep_older=True)
    assert older.read_bytes() == first and newest.read_bytes() != after
    assert load(path)[0].epoch == 3
    state = checkpoints.load(model, older=True)
    assert state.epoch == 2
    checkpoints.save(model, state)  # which counts as the newest, and replaces the one that did
    assert older.read_bytes() == first
    assert load(path)[0].epoch == 2
    assert checkpoints._newest_first() == [newest, older]
    older.write_bytes(b"")  # damaged: the whole one is kept
    after = newest.read_bytes()
    checkpoints.save(model, state, keep_older=True)
    assert newest.read_bytes() == after and older.read_bytes() != b""


def spoil(content, kind):
    if kind == "empty":
        return b""
    if kind == "cut":
        return content[: len(content) // 2]
    if kind == "text":
        return b"PK\x03\x04 half a file"
    flipped = bytearray(content)
    flipped[int(kind * len(content))] ^= 16
    return bytes(flipped)


@pytest.mark.parametrize("kind", ["empty", "cut", "text", 0.3, 0.5])
def test_a_damaged_newer_one_is_named_and_the_older_is_used(kind, run, tmp_path, capsys):
    path, older, newest = copy(run, tmp_path)
    expected = load(path)
    newest.write_bytes(spoil(newest.read_bytes(), kind))
    state, _ = load(path)
    told = capsys.readouterr().out
    assert state.epoch == 2
    assert told.startswith(f"Damaged: {newest} (") and told.endswith(f"from {older} instead.\n")
    assert told.count("\n") == 1
    train(path)  # goes on, and replaces the damaged one
    assert load(path)[0].rows == expected[0].rows
    assert capsys.readouterr().out.count("Damaged") == 1
    older.write_bytes(spoil(older.read_bytes(), kind))
    newest.write_bytes(spoil(newest.read_bytes(), kind))
    with pytest.raises(RunError, match=r"checkpoint\.npz.*checkpoint2\.npz.*Delete") as error:
        load(path)
    assert "\n" not in str(error.value)


def test_no_flipped_bit_changes_what_is_loaded(run, tmp_path, capsys):
    """A bit anywhere: either nothing that counts was there, or the file is refused."""
    path, older, newest = copy(run, tmp_path)
    model = make_model()
    expected, content = load(path, model), newest.read_bytes()
    older.unlink()
    random, refused, arrays = np.random.default_rng(0), 0, {"best_weights": None}
    for _ in range(300):
        spoiled = bytearray(content)
        spoiled[random.integers(len(content))] ^= 1 << random.integers(8)
        newest.write_bytes(spoiled)
        try:
            found = load(path, model)
        except RunError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert (vars(found[0]) | arrays, found[1]) == (vars(expected[0]) | arrays, expected[1])
    assert refused > 100


def test_what_zip_does_not_see_the_checksum_does(run, tmp_path):
    """An array exchanged with another of its shape, and a field, with all sums of zip right."""
    path, older, newest = copy(run, tmp_path)
    older.unlink()
    with zipfile.ZipFile(newest) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    twins = [
        (a, b) for a in members for b in members
        if a < b and len(members[a]) == len(members[b]) and members[a] != members[b]
    ]  # fmt: skip
    changed = {
        "arrays": {**members, twins[0][0]: members[twins[0][1]]},
        "field": {
            **members,
            "header.json": members["header.json"].replace(b'"epoch": 3', b'"epoch": 1', 1),
        },
        "missing": {name: content for name, content in members.items() if name != twins[0][0]},
    }
    for content in changed.values():
        with zipfile.ZipFile(newest, "w") as archive:
            for name, value in content.items():
                archive.writestr(name, value)
        with pytest.raises(RunError, match="Expected a whole checkpoint"):
            load(path)


def test_another_architecture_is_refused_and_left_as_it_was(run):
    model = make_model(units=5)
    before = [np.asarray(w) for w in model.weights]
    with pytest.raises(RunError, match=r"checkpoint2?\.npz to hold the variables of this model"):
        Checkpoints(Workdir(run[0])).load(model)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_writing_needs_the_memory_of_some_arrays_not_of_all(tmp_path):
    model = keras.Sequential([keras.Input((128,)), *(keras.layers.Dense(128) for _ in range(12))])
    model.compile("adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    state = RunState(best_weights=model.get_weights())
    tracemalloc.start()
    Checkpoints(Workdir(tmp_path)).save(model, state)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < Workdir(tmp_path).checkpoints[0].stat().st_size / 5


def test_a_config_that_is_damaged_or_gone_is_restored_from_the_checkpoint(tmp_path, capsys):
    run, model, config = Workdir(tmp_path), make_model(), {"training": {"epochs": 3}}
    run.config.write_text("")
    with pytest.raises(RunError, match=r"or a checkpoint to restore it from.*Delete it"):
        restore_config(run)
    model.optimizer.build(model.trainable_variables)
    Checkpoints(run).save(model, RunState(config=config))
    for content in (b"", b"{", b"[1]", b"\xff\xfe", None):
        run.config.unlink() if content is None else run.config.write_bytes(content)
        restore_config(run)
        assert run.read_config() == config
    assert capsys.readouterr().out.count("restored from the checkpoint") == 5


def test_a_config_is_not_called_restored_before_it_is(tmp_path, capsys):
    run, model = Workdir(tmp_path), make_model()
    model.optimizer.build(model.trainable_variables)
    Checkpoints(run).save(model, RunState(config={"training": {"epochs": 3}}))
    run.config.mkdir()
    with pytest.raises(RunError, match=r"to write .*config.json.*directory.*Move it away\. Then"):
        restore_config(run)
    assert "restored" not in capsys.readouterr().out
