"""A mistake in the `training` section is named before anything starts."""

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
        ("clip_norm", -1.0),
        ("ema_momentum", 1.0),
        ("beta_1", -0.1),
        ("weight_decay", -1e-4),
        ("final_learning_rate", 1.5),
        ("jit_compile", "yes"),
        ("learning_rate", "fast"),
    ],
)
def test_useless_values_are_named(field, value):
    with pytest.raises(RunError, match=f"(?s)config.training.*{value}|config.training.*str"):
        TrainingOptions.from_config({field: value})


def test_a_misspelt_field_is_met_with_the_right_one():
    with pytest.raises(RunError, match=r"learning_rat .*did you mean learning_rate\?"):
        TrainingOptions.from_config({"learning_rat": 1e-3})


def test_none_switches_off():
    options = TrainingOptions.from_config(
        {"max_minutes": None, "patience": None, "clip_norm": None}
    )
    assert options.max_minutes is options.patience is options.clip_norm is None
