"""What fails is named and the rest goes on, but for what the user can mend."""

import json

import numpy as np
import pytest

from tf_iresnet.training.attempts import Attempts
from tf_iresnet.training.workdir import RunError


def test_errors_are_named_in_one_line_and_those_that_users_can_mend_are_raised():
    attempts = Attempts(["known before"])
    with attempts("the picture"):
        raise ZeroDivisionError("no\n axes")
    assert attempts.warnings == [
        "known before", "Without the picture, which could not be made: ZeroDivisionError: no axes."
    ]  # fmt: skip
    for error in (RunError("mend it"), OSError(28, "No space left on device"), KeyboardInterrupt()):
        with pytest.raises(type(error)), attempts("the picture"):
            raise error
    assert len(attempts.warnings) == 2


def test_of_a_model_that_is_not_finite_that_is_said():
    attempts = Attempts()
    attempts.model_is_finite = False
    with attempts("the picture"):
        raise IndexError("index -1 is out of bounds for axis 0 with size 0")
    (said,) = attempts.warnings
    assert said.endswith("log-densities, samples or inverses of the model aren't finite.")


def test_numbers_that_json_does_not_know_are_none_and_named():
    figures = {"a": 1.0, "b": float(np.nan), "c": {"d": -np.inf, "e": "text"}, "f": None, "g": 3}
    attempts = Attempts()
    found = attempts.finite(figures)
    warnings = ["b is nan, and left out.", "c.d is -inf, and left out."]
    assert found == {
        "a": 1.0, "b": None, "c": {"d": None, "e": "text"}, "f": None, "g": 3, "warnings": warnings,
    }  # fmt: skip
    json.dumps(found, allow_nan=False)
    assert Attempts().finite({"a": 1.0}) == {"a": 1.0}
