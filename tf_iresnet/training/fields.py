"""What a field of a config may be: read from the signature of what it is an argument of."""

import contextlib
import difflib
import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tf_iresnet.data import DataError
from tf_iresnet.training.workdir import RunError

INT32 = range(-(2**31), 2**31)  # of whole numbers without bounds of their own; all become tensors
_WORDS = {float: "a finite number", str: "a text", bool: "True or False"}


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

    An annotation `Annotated[int, range(…)]` bounds a whole number. Raises RunError for a field that
    none of them takes, or a value of another type than theirs or beyond their bounds.
    """
    parameters = {
        name: parameter
        for function in functions
        for name, parameter in inspect.signature(function, eval_str=True).parameters.items()
        if name not in without and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    check_names(f"config.{section}", list(values), list(parameters))
    for name, value in values.items():
        hint = parameters[name].annotation
        if not _suits(value, hint):
            expected = f"Expected config.{section}.{name} to be {_words(hint, value)}."
            raise RunError(f"{expected} Received: {name}={value!r}.")


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
    parameters = inspect.signature(function).parameters
    default = {name: parameter.default for name, parameter in parameters.items()}
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
        text = " ".join(str(error).split())
        if not isinstance(error, (ValueError, TypeError, ImportError)):
            text = f"{type(error).__name__}: {text}"
        raise RunError(f"config.{section}: {text}") from error


def _suits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_suits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return isinstance(value, str) and value in arguments
    if origin is typing.Annotated:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return whole and int(value) in arguments[1]
    if hint in (None, types.NoneType):
        return value is None
    if hint is int:
        return _suits(value, typing.Annotated[int, INT32])
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and _finite(value)
    if hint in (str, bool):
        return isinstance(value, hint)
    if origin is Mapping:
        return isinstance(value, Mapping)
    if origin is not None and issubclass(origin, os.PathLike):
        return isinstance(value, (str, os.PathLike))
    if origin is not None and issubclass(origin, Sequence):
        listed = isinstance(value, (list, tuple))
        return listed and all(_suits(entry, arguments[0]) for entry in value)
    return True


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _words(hint: Any, value: Any = None) -> str:
    """What a value of a type is called; its bounds as well if that `value` may be beyond them."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is int:
        far = isinstance(value, numbers.Integral) and value not in INT32
        return f"a whole number{_bounds(INT32) if far else ''}"
    if origin is typing.Annotated:
        return f"a whole number{_bounds(arguments[1])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(argument, value) for argument in arguments))
    if origin is typing.Literal:
        return f"one of {', '.join(arguments)}"
    if origin is not None and issubclass(origin, Sequence):
        return f"a list, each entry {_words(arguments[0])}"
    if origin is Mapping:
        return "a dictionary"
    if origin is not None and issubclass(origin, os.PathLike):
        return _WORDS[str]
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)).replace("NoneType", "None"))


def _bounds(bounds: range) -> str:
    return f" from {bounds.start} to {bounds.stop - 1}"
