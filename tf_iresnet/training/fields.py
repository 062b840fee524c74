"""What a field of a config may be: read from the signature of what it is an argument of."""

import contextlib
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tf_iresnet.data import DataError
from tf_iresnet.data.arguments import check_types, parameters_of
from tf_iresnet.data.errors import plain_text
from tf_iresnet.training.workdir import RunError


def check_names(place: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Raises RunError for a name in a config's `place` that isn't known; it tells the nearest."""
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}."
            raise RunError(f"Expected known fields in {place}. Received: {name} ({hint})")


def check_fields(
    section: str,
    values: Mapping[str, Any],
    *functions: Callable[..., Any],
    without: Sequence[str] = (),
) -> None:
    """Checks a section of a config against annotated parameters of `functions`, but for `without`.

    Raises RunError for a field that none of them takes, or a value of another type than theirs.
    """
    parameters = parameters_of(*functions, without=without)
    check_names(f"config.{section}", list(values), list(parameters))
    check_types(values, parameters, f"config.{section}.", RunError)


@contextlib.contextmanager
def naming(section: str) -> Iterator[None]:
    """Turns any error in the making of what a section of a config describes into a `RunError`."""
    try:
        yield
    except (DataError, RunError):
        raise  # names the file, or the field, already
    except Exception as error:
        text = plain_text(error)
        if not isinstance(error, (ValueError, TypeError, ImportError)):
            text = f"{type(error).__name__}: {text}"
        raise RunError(f"config.{section}: {text}") from error
