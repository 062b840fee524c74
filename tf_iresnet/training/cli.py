"""What the mains of scripts/ share: a user's mistake is answered by one line, not a traceback."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags

USAGE_ERROR = 2  # exit status of a command line that can't be carried out
INTERRUPTED = 130


def run(main: Callable[[], int | None]) -> None:
    """Parses the flags, runs `main()` and exits with what it returns.

    Errors that the user can put right (wrong flags, config, workdir, data or file) come out as
    one line on standard error; anything else is our mistake and keeps its traceback.
    """

    def guarded(argv: Sequence[str]) -> int:
        if len(argv) > 1:
            return complain(argv, f"Expected only flags. Received: {' '.join(argv[1:])}.")
        from tf_iresnet.data import DataError
        from tf_iresnet.training.workdir import RunError

        try:
            return main() or 0
        except (RunError, DataError) as error:
            return complain(argv, error)
        except OSError as error:  # a disk that is full, a directory that may not be written
            return complain(argv, error)
        except KeyboardInterrupt:
            print("\nInterrupted.", file=sys.stderr)
            return INTERRUPTED

    app.run(guarded, flags_parser=parse)


def parse(argv: list[str]) -> list[str]:
    """Parses absl flags; what is wrong with them, or with the config they name, ends in a line."""
    try:
        return flags.FLAGS(argv)
    except (flags.Error, OSError, ValueError, AttributeError, TypeError, ImportError) as error:
        sys.exit(complain(argv, error))


def define_optional(
    name: str, implied: str, text: str, values: flags.FlagValues = flags.FLAGS
) -> flags.FlagHolder:
    """A flag that is None unless given, `implied` by `--name` alone, else what `--name=…` says."""

    class Parser(flags.ArgumentParser):
        def parse(self, argument: str) -> str:
            return implied if argument == "true" else argument

    flag = flags.Flag(Parser(), flags.ArgumentSerializer(), name, None, text)
    flag.boolean = True  # so that absl takes --name alone, as "true"
    return flags.DEFINE_flag(flag, values)


def complain(argv: Sequence[str], error: Any) -> int:
    """Writes one line to standard error and returns the exit status."""
    while isinstance(error, (AttributeError, KeyError)) and error.args:
        error = error.args[0]  # ml_collections nests them, and str() of a KeyError is quoted
    line = " ".join(str(error).split())
    print(f"{argv[0].rpartition('/')[2]}: {line}", file=sys.stderr)
    return USAGE_ERROR
