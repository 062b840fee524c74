"""The config files that train.py takes: which there are, and what is wrong with one."""

import ast
import os
import pathlib
import re
import traceback
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags
from tabulate import tabulate

# What absl calls the type of a flag.
_KINDS = {"int": "a whole number", "float": "a number", "bool": "True or False"}


def define_config(values: flags.FlagValues = flags.FLAGS) -> flags.FlagHolder:
    """Defines --config, and --config.section.field for every field, also those not in the file.

    Whether there is such a field is known to what reads the section, and said there.
    """
    return config_flags.DEFINE_config_file(
        "config",
        None,
        "A file of configs/, with its argument after a colon if it takes one.",
        flag_values=values,
        lock_config=False,
        accept_new_attributes=True,
    )


def check_readable(values: flags.FlagValues = flags.FLAGS) -> None:
    """Raises OSError if --config is among parsed flags, and is a file that can't be read.

    ml_collections raises it where the config is first looked at.
    """
    if "config" in values:
        getattr(values["config"].value, "to_dict", None)


def split_none(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns a command line without its `--config.section.field=None`, and these fields.

    ml_collections parses a value by the type of the one in the file, and knows no None of a number.
    A later value of the same field counts.
    """
    argv = [argv[0], *flags.FLAGS.read_flags_from_files(list(argv[1:]), force_gnu=False)]
    for place in range(len(argv) - 1, 0, -1):  # "--field None" is "--field=None"
        if argv[place] == "None" and re.fullmatch(r"--?config\.[^=]+", argv[place - 1]):
            argv[place - 1 : place + 1] = [f"{argv[place - 1]}=None"]
    fields = [re.fullmatch(r"--?config\.([^=]+)=(.*)", flag, re.DOTALL) for flag in argv]
    last = {found[1]: found[2] for found in fields if found}
    emptied = [name for name, value in last.items() if value == "None"]
    kept = [
        flag
        for flag, found in zip(argv, fields, strict=True)
        if not found or (found[2] != "None" and found[1] not in emptied)
    ]
    return kept, emptied


def set_none(fields: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Sets fields `section.field` of the config among parsed flags to None."""
    for path in fields:
        *sections, name = path.split(".")
        holder: Any = values["config"].value
        for section in sections:
            holder = holder[section]
        holder[name] = None


def list_configs(folder: pathlib.Path) -> str:
    """Returns the config files in a folder with the first line of their docstrings, as a table."""
    rows = []
    for path in sorted(folder.glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        rows.append((os.path.relpath(path), text.partition("\n")[0]))
    return tabulate(rows, tablefmt="plain")


def explain(error: BaseException, argv: Sequence[str]) -> str | None:
    """Returns what is wrong with the config file of a command line, or with an override.

    None if the error has nothing to do with it.
    """
    given = [flag.partition("=")[2] for flag in argv if flag.startswith(("--config=", "-config="))]
    if not given:
        return None
    path = given[-1].partition(":")[0]
    if not os.path.exists(path):
        expected = "Expected a config file; scripts/train.py --list shows those there are."
        return f"{expected} Received: --config={path}, which doesn't exist."
    for cause in reversed(_causes(error)):  # from the first
        if isinstance(cause, SyntaxError):
            return f"{cause.filename or path}, line {cause.lineno}: {cause.msg}."
        places = traceback.extract_tb(cause.__traceback__)
        lines = [place.lineno for place in places if _same(place.filename, path)]
        if lines and isinstance(cause, ValueError):
            return f"{path}, line {lines[-1]}: {cause}"  # the file's own words
        if lines:
            return f"{path}, line {lines[-1]}: {type(cause).__name__}: {_text(cause)}"
        if isinstance(cause, TypeError) and "get_config()" in str(cause):
            return f"{path}: {cause}; an argument of it is what follows a colon in --config."
        if isinstance(cause, AttributeError) and "get_config" in str(cause):
            return f"Expected a file that defines get_config(). Received: --config={path}."
        if isinstance(cause, OSError):
            return f"Expected a readable config file. Received: --config={path} ({cause})."
    if str(error).startswith(f"flag --config={given[-1]}:"):
        return f"{path}: {_text(_causes(error)[-1])}."
    wrong = re.match(r"flag --(config\.([^=]+))=(.*?): ", str(error), re.DOTALL)
    kind = _KINDS.get(flags.FLAGS[wrong[1]].parser.flag_type()) if wrong else None
    if wrong and kind:
        expected = f"Expected {wrong[1]} to be {kind}, or None where nothing is a choice."
        return f"{expected} Received: {wrong[2].rpartition('.')[2]}={wrong[3]!r}."
    if isinstance(error, (KeyError, AttributeError)):
        fields = ", ".join(flag for flag in argv if "config." in flag.partition("=")[0])
        expected = f"Expected flags --config.section.field=value of sections in {path}."
        return f"{expected} Received: {fields} ({_text(error)})."
    return None


def _causes(error: BaseException | None) -> list[BaseException]:
    """An error, what caused it, and so on."""
    found = []
    while error is not None:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _same(filename: str | None, path: str) -> bool:
    return filename is not None and os.path.abspath(filename) == os.path.abspath(path)


def _text(error: BaseException) -> str:
    """The text of an error; ml_collections nests them, and that of a KeyError is quoted."""
    inner = error.args[0] if error.args else ""
    return _text(inner) if isinstance(inner, BaseException) else " ".join(str(inner).split())
