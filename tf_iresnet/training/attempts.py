"""What can't be made of a trained model is named in its report, and the rest is completed."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from tf_iresnet.data import DataError
from tf_iresnet.data.errors import plain_text
from tf_iresnet.training.workdir import RunError


class Attempts:
    """The warnings of a report: `with attempts("the picture"): …` notes any error in the block.

    Those that the user can correct, and errors of files, are raised all the same.

    Attributes:
        warnings: so far.
        model_is_finite: whether the errors are told in their own words. What another library says
            of NaN explains nothing.
    """

    def __init__(self, warnings: list[str] | None = None):
        self.warnings = list(warnings or [])
        self.model_is_finite = True

    @contextlib.contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        try:
            yield
        except (RunError, DataError, OSError):
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {plain_text(error)}"
            if not self.model_is_finite:
                text = "log-densities, samples or inverses of the model aren't finite"
            self.warnings.append(f"Without {what}, which could not be made: {text[:300]}.")

    def finite(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Returns figures with None for numbers that aren't finite, which JSON doesn't know.

        Beside them are the `warnings` so far, if there are any, which name these, too.
        """
        found = self._finite(figures, "")
        return {**found, "warnings": self.warnings} if self.warnings else found

    def _finite(self, figures: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        found = {}
        for name, value in figures.items():
            if isinstance(value, Mapping):
                value = self._finite(value, f"{prefix}{name}.")
            elif isinstance(value, float) and not math.isfinite(value):
                self.warnings.append(f"{prefix}{name} is {value}, and left out.")
                value = None
            found[name] = value
        return found
