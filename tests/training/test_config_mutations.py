"""Whatever a config says, it is built or refused in one line that names the section."""

import collections
import importlib.util
import pathlib
import random
import sys

import numpy as np
import pytest
from absl import flags

from tf_iresnet.data import DataError
from tf_iresnet.training import build, cli, config_files
from tf_iresnet.training.train import resolve
from tf_iresnet.training.workdir import RunError

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
VALUES = [
    None, "x", "", -1, 0, -2.5, 1.5, True, float("nan"), float("inf"), [], [1, "a"], [-1], [0],
    {}, {"name": "x"}, {"name": None}, {"a": None},
]  # fmt: skip
SIZES = {"num_blocks": 2, "hidden_units": [4]}
IMAGE_SIZES = {"blocks": [1, 1], "width": 4}


def load(name):
    """A config as plain data, of a model that is quickly built."""
    spec = importlib.util.spec_from_file_location(f"config_{name}", CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config().to_dict()
    config["model"].update(IMAGE_SIZES if "architecture" in config["model"] else SIZES)
    if name == "toy":
        config["data"].update(validation_size=20, test_size=20)
    return config


def mutate(config, source):
    """Replaces, deletes or renames a field or two, or a section; returns what was done."""
    done = []
    for _ in range(source.choice([1, 1, 2])):
        section = source.choice(["model", "model", "data", "training"])
        value = source.choice(VALUES)
        if source.random() < 0.05 or not config.get(section):
            config[section] = value
            return [*done, (section, value)]
        if not isinstance(config[section], dict):
            return done
        name = source.choice(sorted(config[section]))
        done.append((section, name, value))
        kind = source.random()
        if kind < 0.15:
            del config[section][name]
        elif kind < 0.2:
            config[section][name[:-1]] = config[section].pop(name)
        else:
            config[section][name] = value
    return done


def build_all(config):
    """What a run does before it writes anything."""
    resolved = resolve(config)
    build.make_model(resolved, build.make_dataset(resolved))


def outcomes(names, count, seed, table):
    source, seen = random.Random(seed), collections.Counter()
    for _ in range(count):
        name = source.choice(names)
        config = load(name)
        if name == "tabular":
            config["data"]["path"] = str(table)
        done = mutate(config, source)
        try:
            build_all(config)
            seen["built"] += 1
        except (RunError, DataError) as refused:  # the scripts print these in a line
            seen["refused"] += 1
            assert len(str(refused).splitlines()) == 1, done
            assert isinstance(refused, DataError) or "config" in str(refused), done
    return seen


def mutate_text(text, source):
    """Damages the source of a config file: deletes, doubles, cuts or replaces something."""
    lines = text.splitlines()
    place = source.randrange(len(lines))
    kind = source.choice(["delete", "double", "cut", "value", "character"])
    if kind == "delete":
        del lines[place]
    elif kind == "double":
        lines.insert(place, lines[place] + " " + lines[place].strip())
    elif kind == "cut":
        return text[: source.randrange(len(text))]
    elif kind == "value":
        fields = [i for i, line in enumerate(lines) if line.startswith("    config.")]
        place = source.choice(fields)
        value = source.choice(["None", "'x'", "-1", "unknown", "1 / 0", "[][0]", "{}['a']", "..."])
        lines[place] = f"{lines[place].partition('=')[0]}= {value}"
    else:
        place = source.randrange(len(text))
        return text[:place] + source.choice("()[]:=.,'\"# \x00é0") + text[place + 1 :]
    return "\n".join(lines)


def run_in_line(argv, monkeypatch, capsys):
    """Parses a command line and builds what its config says; whether that was refused, and how."""
    sys.modules.pop("config_config", None)  # as in a new process
    values = flags.FlagValues()
    monkeypatch.setattr(cli.flags, "FLAGS", values)
    monkeypatch.setattr(sys, "argv", argv)
    holder = config_files.define_config(values)
    capsys.readouterr()
    try:
        cli._parse(argv)
        build_all(holder.value)
        return None
    except SystemExit as stopped:
        assert stopped.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line
    except (RunError, DataError) as refused:
        return str(refused)


@pytest.mark.slow
def test_damaged_files_are_built_or_refused_in_a_line(tmp_path, monkeypatch, capsys):
    source, seen = random.Random(3), collections.Counter()
    path = tmp_path / "config.py"
    text = (CONFIGS / "toy.py").read_text()
    sizes = ["--config.model.num_blocks=2", "--config.model.hidden_units=(4,)"]
    sizes += ["--config.data.validation_size=20", "--config.data.test_size=20"]
    for _ in range(250):
        path.write_text(mutate_text(text, source), "utf-8")
        line = run_in_line(["train.py", f"--config={path}", *sizes], monkeypatch, capsys)
        assert line is None or ("\n" not in line and "Traceback" not in line), path.read_text()
        seen["built" if line is None else "refused"] += 1
    assert seen["refused"] > 80 and seen["built"] > 20


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    rows = np.random.default_rng(0).normal(size=(60, 3))
    np.savetxt(path, rows, delimiter=",", header="a,b,c", comments="")
    return path


def test_a_few_mutations_are_built_or_refused(table):
    seen = outcomes(["toy", "tabular"], count=25, seed=1, table=table)
    assert seen["refused"] > 10


@pytest.mark.slow
def test_many_mutations_are_built_or_refused(table):
    seen = outcomes(
        ["toy", "tabular", "digits", "digits_classifier", "digits_hybrid", "digits_image"],
        count=400, seed=2, table=table,
    )  # fmt: skip
    assert seen["refused"] > 200 and seen["built"] > 20
