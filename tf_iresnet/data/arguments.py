"""What an argument may be: read from the annotations of what takes it."""

import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

INT32 = range(-(2**31), 2**31)  # of whole numbers without bounds of their own; all become tensors
_WORDS = {float: "a finite number", str: "a text", bool: "True or False"}


def parameters_of(
    *functions: Callable[..., Any], without: Sequence[str] = ()
) -> dict[str, inspect.Parameter]:
    """Returns the parameters that some function has a name for, but for those `without`."""
    return {
        name: parameter
        for function in functions
        for name, parameter in inspect.signature(function, eval_str=True).parameters.items()
        if name not in without and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def check_types(
    values: Mapping[str, Any],
    parameters: Mapping[str, inspect.Parameter],
    place: str = "",
    error: type[Exception] = ValueError,
) -> None:
    """Raises an `error` for a value of another type than its parameter's annotation says.

    An annotation `Annotated[int, range(…)]` bounds a whole number.

    Args:
        values: by name, each the name of a parameter.
        place: what stands before names in the message, such as "config.data.".
    """
    for name, value in values.items():
        hint = parameters[name].annotation
        if not _suits(value, hint):
            received = " ".join(f"{name}={value!r}".split())
            raise error(
                f"Expected {place}{name} to be {_words(hint, value)}. Received: {received}."
            )


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
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and _is_finite(value)
    if hint in (str, bool):
        return isinstance(value, hint)
    if origin is Mapping:
        return isinstance(value, Mapping)
    if hint is os.PathLike or (origin is not None and issubclass(origin, os.PathLike)):
        return isinstance(value, (str, os.PathLike))
    if origin is not None and issubclass(origin, Sequence):
        return _is_list(value) and all(_suits(entry, arguments[0]) for entry in value)
    return True


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _is_list(value: Any) -> bool:
    """Whether a value is a list or the like, such as an array with one axis, or pandas' Index."""
    others = isinstance(value, (str, bytes, Mapping)) or getattr(value, "ndim", 1) != 1
    return isinstance(value, Collection) and not others


def _words(hint: Any, value: Any) -> str:
    """What values of a type are called; with their bounds if this `value` may be beyond them."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return f"a whole number from {arguments[1].start} to {arguments[1].stop - 1}"
    if hint is int:
        far = isinstance(value, numbers.Integral) and value not in INT32
        return _words(typing.Annotated[int, INT32], value) if far else "a whole number"
    if origin in (typing.Union, types.UnionType):
        choices = list(dict.fromkeys(_words(argument, value) for argument in arguments))
        joined = ", ".join(choices[:-1]).replace(" or ", ", ")
        return " or ".join(filter(None, [joined, choices[-1]]))
    if origin is typing.Literal:
        return f"one of {', '.join(arguments)}"
    if origin is not None and issubclass(origin, Sequence):
        entry = arguments[0]
        return "a list" if entry is Any else f"a list, each entry {_words(entry, None)}"
    if origin is Mapping:
        return "a dictionary"
    if origin is not None and issubclass(origin, os.PathLike):
        return _WORDS[str]
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)).replace("NoneType", "None"))
