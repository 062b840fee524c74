"""What is wrong with a config file, or a flag that overrides it, is one line that says where."""

import pathlib
import sys

import pytest
from absl import flags

from tf_iresnet.training import cli, config_files
from tf_iresnet.training.train import resolve
from tf_iresnet.training.workdir import RunError

CONFIG = """
from ml_collections import ConfigDict
def get_config():
    config = ConfigDict({"model": {"activation": "sine"}, "data": {"name": "toy"}})
    config.training = {"epochs": 1, "learning_rate": 0.1}
    return config
"""
FILES = {
    "good": CONFIG,
    "syntax": "def get_config(:\n    pass\n",
    "missing": "x = 1\n",
    "key": "def get_config():\n    x = {}\n    return x['name']\n",
    "words": "def get_config(a='x'):\n    raise ValueError(f'Expected b. Received: {a}.')\n",
    "kind": "def get_config():\n    return len(3)\n",
    "module": "import a_module_that_nobody_has\n",
    "none": "def get_config():\n    pass\n",
    "number": "def get_config():\n    return 3\n",
    "unreadable": "\x00",
}


@pytest.fixture
def parse(tmp_path, monkeypatch, capsys):
    """`parse(name, *flags)`: the config, or the one line of an exit."""
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)

    def parsed(config, *arguments):
        sys.modules.pop("config_config", None)  # as in a new process
        values = flags.FlagValues()
        monkeypatch.setattr(cli.flags, "FLAGS", values)
        monkeypatch.setattr(sys, "argv", ["train.py", f"--config={config}", *arguments])
        holder = config_files.define_config(values)
        try:
            cli._parse(sys.argv)
            return holder.value
        except SystemExit as stopped:
            assert stopped.code == 2
            (line,) = capsys.readouterr().err.splitlines()
            return line.removeprefix("train.py: ")

    return parsed


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("syntax.py", "syntax.py, line 1: "),
        ("missing.py", "Expected a file that defines get_config(). Received: --config=missing.py."),
        ("key.py", "key.py, line 3: KeyError: name"),
        ("words.py:z", "words.py, line 2: Expected b. Received: z."),
        ("kind.py", "kind.py, line 2: TypeError: object of type 'int' has no len()"),
        ("module.py", "module.py, line 1: ModuleNotFoundError: No module named"),
        ("good.py:z", "good.py: get_config() takes 0 positional arguments but 1 was given"),
        ("nowhere.py", "Expected a config file; scripts/train.py --list shows those there are."),
        (".", "Expected a readable config file. Received: --config=. ([Errno 21]"),
        ("unreadable.py", "unreadable.py"),
    ],
)
def test_a_file_that_fails_is_named_with_the_line(parse, config, text):
    line = parse(config)
    assert text in line and "Traceback" not in line


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--config.training.epochs=abc", "config.training.epochs to be a whole number, or None"),
        ("--config.training.epochs=abc", "Received: epochs='abc'."),
        ("--config.modl.activation=elu", 'Did you mean "model" instead of "modl"?'),
        ("--config.training.epochs.x=3", "--config.training.epochs.x=3"),
        ("--config.training=3", "--config.training=3"),
        ("--confg.training.epochs=3", "confg.training.epochs"),
    ],
)
def test_a_flag_that_cannot_be_taken_is_named(parse, flag, text):
    assert text in parse("good.py", flag)


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--config.training.epoch=3", r"config.training. Received: epoch \(did you mean epochs\?"),
        ("--config.trainin=3", r"in config. Received: trainin \(did you mean training\?"),
        (
            "--config.training.seed=a",
            "config.training.seed to be a whole number from 0 to 2147483647. Received: seed='a",
        ),
    ],
)
def test_a_field_that_is_not_in_the_file_is_taken_or_the_nearest_is_named(parse, flag, text):
    assert parse("good.py", "--config.training.batch_size=7").training.batch_size == 7
    with pytest.raises(RunError, match=text):
        resolve(parse("good.py", flag))


@pytest.mark.parametrize("field", ["learning_rate", "epochs", "max_minutes", "decay_epochs"])
def test_any_field_can_be_none_on_the_command_line(parse, field):
    """Also those whose value in the file is a number; the last flag counts."""
    for name, last, value in (("good", "None", None), ("listed", "3", 3)):
        (pathlib.Path.cwd() / "listed.py").write_text(CONFIG.replace("0.1", "(1,)"))
        config = parse(
            f"{name}.py", f"--config.training.{field}=None", f"--config.training.{field}={last}"
        )
        found = config.training[field]
        assert found == value or found == (value,)
    assert parse("good.py", "--config.training.epochs=None").training.learning_rate == 0.1
    (pathlib.Path.cwd() / "flags").write_text(f"--config.training.{field}=None\n")
    for flag in ((f"--config.training.{field}", "None"), ("--flagfile=flags",)):
        assert parse("good.py", *flag).training[field] is None


def test_none_where_nothing_is_no_choice_is_refused_by_name(parse):
    config = parse("good.py", "--config.training.epochs=None")
    with pytest.raises(RunError, match=r"epochs to be a whole number from 1 .* epochs=None\.$"):
        resolve(config)
    assert resolve(parse("good.py", "--config.training.patience=None"))["training"]["epochs"] == 1


@pytest.mark.parametrize("name", ["none", "number"])
def test_what_is_no_config_is_refused_with_the_sections_of_one(parse, name):
    with pytest.raises(RunError, match=r"sections model, data, training.*no section model"):
        resolve(parse(f"{name}.py"))


def test_configs_are_listed_with_the_first_line_of_their_docstring():
    folder = pathlib.Path(__file__).parents[2] / "configs"
    lines = config_files.list_configs(folder).splitlines()
    assert len(lines) == len(list(folder.glob("*.py")))
    assert all("configs/" in line and line.endswith(".") for line in lines)
