"""A field of a config is what the signature of its reader says, or is refused by its name."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pytest
import tensorflow as tf

from tf_iresnet.training.fields import check_fields, naming
from tf_iresnet.training.workdir import RunError


def reader(
    path: str,
    count: int = 1,
    rate: float | None = 0.1,
    units: Sequence[int] = (),
    base: str | Mapping[str, Any] = "normal",
    mirrored: bool = False,
    anything: Any = None,
    seed: Annotated[int, range(2**32)] = 0,
) -> None:
    """Has every kind of parameter."""


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "my.csv", "count": 3, "rate": 1, "units": [64, 64], "mirrored": True},
        {"rate": None, "units": (), "base": {"name": "mixture"}, "anything": object()},
    ],
)
def test_values_of_their_types_are_taken(fields):
    check_fields("model", fields, reader)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("path", None, "to be a text."),
        ("count", 1.5, "to be a whole number."),
        ("count", True, "to be a whole number."),
        ("count", 2**31, "to be a whole number from -2147483648 to 2147483647."),
        ("seed", -1, "to be a whole number from 0 to 4294967295."),
        ("seed", True, "to be a whole number from 0 to 4294967295."),
        ("rate", 10**400, "to be a finite number or None."),
        ("rate", "x", "to be a finite number or None."),
        ("rate", float("nan"), "to be a finite number or None."),
        ("units", 64, "to be a list, each entry a whole number."),
        ("units", [64, "x"], "to be a list, each entry a whole number."),
        ("base", [], "to be a text or a dictionary."),
        ("mirrored", 1, "to be True or False."),
    ],
)
def test_another_type_is_refused_with_section_and_field(field, value, expected):
    with pytest.raises(RunError) as refused:
        check_fields("model", {field: value}, reader)
    assert str(refused.value) == (
        f"Expected config.model.{field} {expected} Received: {field}={value!r}."
    )


def test_an_unknown_field_is_refused_with_the_nearest_or_all():
    with pytest.raises(RunError, match=r"config.model. Received: unit \(did you mean units\?"):
        check_fields("model", {"unit": 3}, reader)
    with pytest.raises(RunError, match="known: path, count, rate"):
        check_fields("model", {"zzz": 3}, reader)
    with pytest.raises(RunError, match="Received: count"):
        check_fields("model", {"count": 3}, reader, without=["count"])


def test_what_tensorflow_says_comes_without_its_operations():
    with pytest.raises(RunError) as refused, naming("model"):
        tf.io.decode_png(b"nothing")
    said = str(refused.value)
    assert said.startswith("config.model: ") and "{{" not in said and "[Op:" not in said


@pytest.mark.parametrize("kind", [ValueError, KeyError, AttributeError, RuntimeError])
def test_whatever_goes_wrong_in_making_a_section_is_a_line_that_names_it(kind):
    with pytest.raises(RunError, match=r"config.model: .*two.*words") as refused, naming("model"):
        raise kind("two\n  words")
    assert "\n" not in str(refused.value)
