"""A workdir is entered by its own run only, and no file in it is ever half-written."""

import json
import os

import pytest

from tf_iresnet.training.workdir import RunError, Workdir, differences

CONFIG = {"model": {"num_blocks": 4, "hidden_units": [8, 8]}, "data": {"name": "digits"}}


def test_config_is_written_once_and_the_same_one_is_let_in_again(tmp_path):
    run = Workdir(tmp_path / "deep" / "run")
    for _ in range(2):
        with run.claim(CONFIG):
            assert json.loads(run.config.read_text()) == CONFIG


def test_another_config_is_refused_by_the_names_of_what_differs(tmp_path):
    run = Workdir(tmp_path)
    with run.claim(CONFIG):
        pass
    other = {"model": {"num_blocks": 5, "hidden_units": [8, 8]}, "data": {"name": "digits"}}
    refusal = r"model\.num_blocks: 4 → 5\. Put .* another --workdir"
    with pytest.raises(RunError, match=refusal), run.claim(other):
        pytest.fail("a run of another config was let in")
    assert json.loads(run.config.read_text()) == CONFIG


def test_differences_name_added_and_removed_leaves():
    assert differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 1, "d": 3}}) == [
        "a.d: 'absent' → 3",
        "c: 2 → 'absent'",
    ]


def test_a_directory_of_something_else_is_left_as_it_was(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match=r"thesis\.tex"), Workdir(tmp_path).claim(CONFIG):
        pytest.fail("somebody's directory was entered")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_start_that_was_killed_before_its_config_was_whole_can_start_again(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".partial.config.json").write_text('{"model"')
    run = Workdir(tmp_path)
    with run.claim(CONFIG):
        assert json.loads(run.config.read_text()) == CONFIG


def test_two_runs_at_once_in_one_workdir_are_refused(tmp_path):
    pytest.importorskip("fcntl")
    run = Workdir(tmp_path)
    with (
        run.claim(CONFIG),
        pytest.raises(RunError, match=rf"in use now by process {os.getpid()} of .*; wait"),
        run.claim(CONFIG),
    ):
        pytest.fail("two runs in one directory")


def test_figures_of_a_run_that_has_not_ended_are_not_made_up(tmp_path):
    run = Workdir(tmp_path)
    assert run.finished(CONFIG) is None
    with run.claim(CONFIG):
        assert run.finished(CONFIG) is None
    with pytest.raises(RunError, match="Rerun the training command"):
        run.read_figures()
