"""The command line that the scripts share: a user's mistake ends in one line, not a traceback."""

import math
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from absl import app, flags

from tf_iresnet.data import DataError
from tf_iresnet.data.arguments import INT32
from tf_iresnet.training import config_files
from tf_iresnet.training.workdir import RunError

USAGE_ERROR = 2  # exit status of a command line that can't be carried out
INTERRUPTED = 130
SHOWN = 200  # characters of a path, or of another library's text, at most


def run(main: Callable[[], int | None]) -> None:
    """Parses the flags, runs `main()` and exits with the status that it returns.

    An error that the user can correct is one line on standard error; others keep their traceback.
    """

    def guarded(argv: Sequence[str]) -> int:
        if len(argv) > 1:
            return _complain(argv, f"Expected only flags. Received: {' '.join(argv[1:])}.")
        before = signal.getsignal(signal.SIGINT)
        if callable(before):  # isn't ignored: what runs from here on may have to clean up
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return main() or 0
        except (RunError, DataError) as error:
            _complain(argv, error)
            return getattr(error, "status", USAGE_ERROR)
        except OSError as error:  # such as no permission
            return _complain(argv, _of_file(error))
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            return _complain(argv, _of_memory(error))
        except KeyboardInterrupt as error:
            print(str(error) or "\nInterrupted.", file=sys.stderr)
            return getattr(error, "status", INTERRUPTED)
        finally:
            if callable(before):
                signal.signal(signal.SIGINT, before)

    app.run(guarded, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    try:
        kept, emptied = config_files.split_none(argv)
        rest = flags.FLAGS(kept)
        config_files.check_readable(flags.FLAGS)
        config_files.set_none(emptied, flags.FLAGS)
        _check_numbers(flags.FLAGS)
        return rest
    except Exception as error:  # in the flags, or any at all in the config file that they name
        known = config_files.explain(error, argv) or _of_required(error)
        sys.exit(_complain(argv, known or error))


def _of_required(error: Exception) -> str | None:
    """What a flag is that has to be given and isn't, in place of absl's words; None for others."""
    found = re.fullmatch(r"flag --(\w+)=None: .* must have a value other than None\.", str(error))
    return found and f"Expected --{found[1]}: {flags.FLAGS[found[1]].help} Received: none."


def _check_numbers(values: flags.FlagValues) -> None:
    """Raises RunError for a number among parsed flags that no tensor holds.

    A bound of absl's lets NaN through. Fields of a config are checked by what reads them.
    """
    for name in values:
        value = values[name].value
        if "." in name or isinstance(value, bool):
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise RunError(f"Expected --{name} to be a finite number. Received: --{name}={value}.")
        if isinstance(value, int) and value not in INT32:
            most = INT32.stop - 1
            raise RunError(f"Expected --{name} to be {most} at most. Received: --{name}={value}.")


def _of_file(error: OSError) -> str:
    """What is wrong with a file or directory, in a sentence of bounded length."""
    if error.filename is None:
        return str(error)
    name = str(error.filename)
    name = name if len(name) <= SHOWN else f"{name[:SHOWN]}… ({len(name)} characters)"
    return f"Expected a path that can be used. Received: {name} ({error.strerror}). Choose another."


def _of_memory(error: Exception) -> str:
    found = str(error).partition("\n")[0][:SHOWN] or "more than there is"
    return (
        f"Expected enough memory. Received: {found}. Lower the batch size (--batch_size, "
        "--config.training.batch_size), or the number of samples or examples."
    )


def _complain(argv: Sequence[str], error: Any) -> int:
    print(f"{argv[0].rpartition('/')[2]}: {' '.join(str(error).split())}", file=sys.stderr)
    return USAGE_ERROR


def define_optional(
    name: str, implied: str, text: str, values: flags.FlagValues = flags.FLAGS
) -> flags.FlagHolder:
    """Defines a flag: None if absent, `implied` for `--name` alone, and otherwise its value."""

    class Parser(flags.ArgumentParser):
        def parse(self, argument: str) -> str:
            return implied if argument == "true" else argument

    flag = flags.Flag(Parser(), flags.ArgumentSerializer(), name, None, text)
    flag.boolean = True  # so that absl takes --name alone, as "true"
    return flags.DEFINE_flag(flag, values)
