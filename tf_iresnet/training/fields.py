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

    Raises RunError for a field that none of them takes, or a value of another type than theirs or
    beyond their bounds.
    """
    parameters = parameters_of(*functions, without=without)
    check_names(f"config.{section}", list(values), list(parameters))
    check_types(values, parameters, f"config.{section}.", RunError)


def check_effects(
    section: str,
    values: Mapping[str, Any],
    function: Callable[..., Any],
    needs: Mapping[str, tuple[str, Sequence[Any]]],
) -> None:
    """Raises RunError for a value that has no effect, unless it is the default of `function`.

    Args:
        needs: name of a field → another one, and the values of that with which it has an effect.
    """
    default = {name: p.default for name, p in parameters_of(function).items()}
    for name, (other, effective) in needs.items():
        value, found = values.get(name, default[name]), values.get(other, default[other])
        if value in (None, default[name]) or found in effective:
            continue
        known = " or ".join(f"config.{section}.{other}={choice}" for choice in effective)
        raise RunError(
            f"Expected {known} with config.{section}.{name}, which has no effect otherwise. "
            f"Received: {other}={found!r}, {name}={value!r}. Leave {name} out"
            f"{'' if default[name] in (None, ()) else f', or at {default[name]!r}'}."
        )


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
