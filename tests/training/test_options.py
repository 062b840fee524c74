"""A mistake in the `training` section is named before anything starts."""

import dataclasses
import re

import pytest

from tf_iresnet.training.options import TrainingOptions
from tf_iresnet.training.workdir import RunError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("epochs", -1),
        ("learning_rate", 0.0),
        ("max_minutes", 0),
        ("patience", 0),
        ("checkpoint_minutes", 0),
        ("checkpoint_steps", 2.5),
        ("on_nan", "ignore"),
        ("clip_norm", -1.0),
        ("ema_momentum", 1.0),
        ("beta_1", -0.1),
        ("weight_decay", -1e-4),
        ("final_learning_rate", 1.5),
        ("jit_compile", "yes"),
        ("learning_rate", "fast"),
        ("optimizer", "adagrad"),
        ("momentum", 1.0),
        ("decay", "linear"),
        ("decay_epochs", (60, 120)),  # without decay="steps"
    ],
)
def test_useless_values_are_named(field, value):
    with pytest.raises(
        RunError, match=f"(?s)config.training.*{re.escape(str(value))}|config.training.*str"
    ):
        TrainingOptions.from_config({field: value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"decay_epochs.*such as \(60, 120, 160\).*\(\)"),
        ({"decay_epochs": (60, 60)}, r"decay_epochs.*increasing.*\(60, 60\)"),
        ({"decay_epochs": (0, 60)}, r"decay_epochs.*each entry a whole number from 1 "),
        ({"decay_epochs": (60,), "decay_factor": 0.0}, r"decay_factor.*in \(0, 1\].*0.0"),
    ],
)
def test_useless_steps_of_the_learning_rate_are_named(fields, message):
    with pytest.raises(RunError, match=message):
        TrainingOptions.from_config({"decay": "steps", **fields})


@pytest.mark.parametrize(
    "field", [f.name for f in dataclasses.fields(TrainingOptions) if isinstance(f.default, int)]
)
@pytest.mark.parametrize("value", [-1, 10**11, 10**30])
def test_a_number_that_no_tensor_holds_is_named(field, value):
    """Those whose default is a whole number, and of the others those that are one."""
    with pytest.raises(RunError, match=f"Expected config.training.{field} .* {field}={value}"):
        TrainingOptions.from_config({field: value})


@pytest.mark.parametrize("field", ["patience", "checkpoint_steps"])
def test_so_is_one_that_may_be_none(field):
    with pytest.raises(RunError, match=f"{field} to be a whole number from 1 to 2147483647 or Non"):
        TrainingOptions.from_config({field: 2**31})


def test_a_number_that_no_float_holds_is_named():
    with pytest.raises(RunError, match="learning_rate to be a finite number"):
        TrainingOptions.from_config({"learning_rate": 10**400})


@pytest.mark.parametrize(
    ("field", "value", "other", "needed"),
    [
        ("decay_factor", 0.5, {"decay": "cosine"}, "decay=steps"),
        ("final_learning_rate", 0.5, {"decay": "constant"}, "decay=cosine"),
        ("momentum", 0.5, {}, "optimizer=sgd"),
        ("beta_1", 0.5, {"optimizer": "sgd"}, "optimizer=adamw or config.training.optimizer=ada"),
        ("beta_2", 0.5, {"optimizer": "sgd"}, "optimizer=adamw"),
    ],
)
def test_a_value_without_effect_is_refused_unless_it_is_the_default(field, value, other, needed):
    with pytest.raises(RunError, match=f"Expected config.training.{needed}.*{field}={value}.*out"):
        TrainingOptions.from_config({field: value, **other})
    default = getattr(TrainingOptions(), field)
    assert TrainingOptions.from_config({field: default, **other})


def test_a_value_is_checked_even_where_it_has_no_effect():
    with pytest.raises(RunError, match=r"decay_factor to be in \(0, 1\]"):
        TrainingOptions.from_config({"decay_factor": 7.0})


def test_lists_are_as_good_as_tuples():
    """JSON knows no others."""
    options = TrainingOptions.from_config({"decay": "steps", "decay_epochs": [60, 120]})
    assert options == TrainingOptions(decay="steps", decay_epochs=(60, 120))


def test_a_misspelt_field_is_met_with_the_right_one():
    with pytest.raises(RunError, match=r"learning_rat .*did you mean learning_rate\?"):
        TrainingOptions.from_config({"learning_rat": 1e-3})


def test_none_switches_off():
    options = TrainingOptions.from_config(
        {"max_minutes": None, "patience": None, "clip_norm": None}
    )
    assert options.max_minutes is options.patience is options.clip_norm is None
