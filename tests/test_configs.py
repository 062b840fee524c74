"""Every config runs: its sections are understood, one step trains, the pictures suit the data."""

import dataclasses
import importlib.util
import inspect
import pathlib
import sys

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from tf_iresnet import image_classifier, image_flow, image_hybrid, mlp_flow
from tf_iresnet.data import toy
from tf_iresnet.data.registry import DATASETS
from tf_iresnet.models import architectures
from tf_iresnet.models.architectures import Architecture
from tf_iresnet.training import build
from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.train import resolve, train_and_evaluate

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
ALWAYS = {"learning_curve", "lipschitz", "spectra"}
IMAGES = {"samples", "reconstructions", "interpolations"} | ALWAYS
PICTURES = {
    "toy": {"density"} | ALWAYS - {"spectra"},  # whose branches have no spectral layers
    "digits": IMAGES,
    "digits_image": IMAGES,
    "digits_classifier": {"reconstructions"} | ALWAYS,
    "digits_hybrid": {"class_samples"} | IMAGES,
    "patches": IMAGES,
    "tabular": {"marginals"} | ALWAYS,
    "iresnet": IMAGES,
    "iresnet_classifier": {"reconstructions"} | ALWAYS,
    "resflow": IMAGES,
    "idensenet": IMAGES,
}
# Published experiments, and the data sets that they are for.
PUBLISHED = {
    "iresnet": ("mnist", "mnist28", "cifar10"),
    "iresnet_classifier": ("cifar10", "cifar10-54", "cifar100", "cifar100-54", "mnist-21"),
    "resflow": ("mnist", "mnist-small", "cifar10", "imagenet32", "imagenet64", "celeba256"),
    "idensenet": ("cifar10", "imagenet32"),
}
# Image models; test_images, test_classifier and test_hybrid make such ones quickly.
SLOW = {*PUBLISHED, "digits", "digits_classifier", "digits_hybrid", "digits_image", "patches"}


def load(name, *arguments):
    spec = importlib.util.spec_from_file_location(f"config_{name}", CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*arguments)


@pytest.fixture
def table(tmp_path):
    """A small table of the user's."""
    rows = np.random.default_rng(0).normal([170, 70, 40], [10, 9, 12], size=(100, 3))
    path = tmp_path / "table.csv"
    np.savetxt(path, rows, delimiter=",", header="height,weight,age", comments="")
    return str(path)


def test_each_config_is_tested_here():
    assert {p.stem for p in CONFIGS.glob("*.py")} == PICTURES.keys()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in PICTURES]
)
def test_one_step_of_a_smaller_model(name, table, tmp_path):
    config = load(name)
    if name in PUBLISHED:
        config.data = {"name": "digits_image"}  # for images that aren't on every machine
    if name == "tabular":
        config.data.path = table
    if "architecture" in config.model:
        config.model.update(blocks=(1, 1), width=4)
        if config.model.get("task") != "classifier":
            config.model.update(tail_blocks=1, tail_width=4)
        if name == "idensenet":
            config.model.update(growth=4, depth=2, tail_growth=4)
    else:
        config.model.update(num_blocks=2, hidden_units=(8,))
    config.training.update(
        epochs=1, steps_per_epoch=1, batch_size=16, evaluation_examples=20,
        evaluation_batch_size=200,
    )  # fmt: skip
    if name == "toy":
        config.data.update(validation_size=100, test_size=200)
    figures = train_and_evaluate(config, tmp_path / "run")
    task = config.model.get("task", "density")
    assert ("accuracy" in figures) == (task != "density")
    if task != "classifier":
        assert np.isfinite(figures["negative_log_likelihood"])
    assert figures["invertible"] and figures["inverse_converged"]
    assert ("kl_divergence" in figures) == (name == "toy")
    assert {p.stem for p in (tmp_path / "run" / "pictures").iterdir()} == PICTURES[name]


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        *[(name, None) for name in ("digits_image", "digits_classifier", "digits_hybrid")],
        *[
            (name, data)
            for name in PUBLISHED
            for data in PUBLISHED[name]
            if "mnist" in data or "cifar" in data
        ],
    ],
)
def test_image_arrays_take_the_place_of_published_images(name, argument):
    config = load(name, *filter(None, [argument]))
    options = set(config.data) - {"name"}
    assert options <= set(inspect.signature(DATASETS["image_arrays"]).parameters)


@pytest.mark.parametrize("name", PICTURES)
def test_fields_are_arguments_of_what_they_configure(name):
    """A field that nothing reads would be changed by a user in vain."""
    config = load(name)
    resolved = resolve(config)
    known = set(inspect.signature(mlp_flow).parameters)
    if "architecture" in config.model:
        task = config.model.get("task", "density")
        make = {"density": image_flow, "classifier": image_classifier, "hybrid": image_hybrid}
        known = set(inspect.signature(make[task]).parameters) | {"task"}
        known |= {field.name for field in dataclasses.fields(Architecture)}
    assert set(resolved["model"]) <= known
    assert TrainingOptions(**resolved["training"]) == TrainingOptions.from_config(
        dict(config.training)
    )
    assert load(name).to_json() == config.to_json()


def test_options_of_reading_are_set_as_messages_say(tmp_path, monkeypatch):
    """By what the command line makes of the flags."""
    path = tmp_path / "my.csv"
    table = np.random.default_rng(0).normal(size=(60, 4)).round(3)
    lines = [";".join(str(x).replace(".", ",") for x in row) for row in table]
    path.write_text("\n".join(["some words", *lines]))
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values)
    options = (
        f"path={path}", "exclude=x0,x3", "separator=;", "decimal=,", "header=False",
        "skip_lines=1", "target=x2", "test=0", "validation=0.2", "split_seed=3",
    )  # fmt: skip
    set_by = [f"--config.data.{option}" for option in options]
    command = ["train.py", f"--config={CONFIGS / 'tabular.py'}", *set_by]
    monkeypatch.setattr(sys, "argv", command)
    values(command)
    dataset = build.make_dataset(resolve(config.value))
    assert dataset.columns == ("x2",) and dataset.condition[0].name == "x1"
    assert len(dataset.validation) == 12 and not dataset.has_test


def test_every_option_of_reading_a_table_is_a_field_of_its_config():
    known = set(inspect.signature(DATASETS["table"]).parameters)
    assert set(load("tabular").data) == known | {"name"}


@pytest.mark.parametrize("density", toy.DENSITIES)
def test_the_toy_config_takes_every_density(density):
    config = load("toy", density)
    config.data.update(validation_size=10, test_size=10)
    dataset = build.make_dataset(resolve(config))
    assert dataset.name == density and dataset.validation.shape == (10, 2)


@pytest.mark.parametrize(
    ("name", "data"), [(name, data) for name, all_ in PUBLISHED.items() for data in all_]
)
def test_published_experiments_fit_together(name, data):
    config = resolve(load(name, data))
    chosen = architectures.get(config["model"]["architecture"])
    coefficient = config["model"].get("coefficient", chosen.coefficient)
    assert coefficient == chosen.coefficient
    options = dict(config["data"])
    inspect.signature(DATASETS[options.pop("name")]).bind(**options)
    assert (options.get("path", "") is None) == (data in ("imagenet32", "imagenet64", "celeba256"))
    images = {"mnist": 55e3, "cifar": 45e3, "image": 1.281e6, "celeb": 27e3}[data[:5]]
    images *= 2 if data == "mnist-small" else 1  # two passes between validations
    training = TrainingOptions(**config["training"])
    assert training.steps_per_epoch * training.batch_size == pytest.approx(images, rel=0.02)
    if name == "iresnet_classifier":
        assert sum(chosen.blocks) == (54 if data.endswith("-54") else 21)
        assert training.decay_epochs == (60, 120, 160)


@pytest.mark.parametrize("data", ["mnist", "mnist-21", "cifar10"])
def test_without_its_constraint_a_classifier_is_otherwise_the_same(data):
    bounded, free = (load("iresnet_classifier", f"{data}{end}") for end in ("", "-unconstrained"))
    assert bounded.model.coefficient == 0.9 and free.model.coefficient is None
    free.model.coefficient = 0.9
    assert (free.model, free.data) == (bounded.model, bounded.data)
    assert free.training.epochs == bounded.training.epochs


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_unknown_data_set_of_a_published_experiment_is_named(name):
    with pytest.raises(ValueError, match=r"Expected .*cifar10.* after the colon.*'cifar11'"):
        load(name, "cifar11")


@pytest.mark.parametrize("name", PICTURES)
def test_the_docstring_holds_a_command_that_names_the_config(name):
    text = (CONFIGS / f"{name}.py").read_text()
    assert f"python scripts/train.py --config=configs/{name}.py" in text
    assert "--workdir=" in text
