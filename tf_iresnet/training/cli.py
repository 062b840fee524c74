"""The command line that the scripts share: a user's mistake ends in one line, not a traceback."""

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags

from tf_iresnet.data import DataError
from tf_iresnet.training import config_files
from tf_iresnet.training.workdir import RunError

USAGE_ERROR = 2  # exit status of a command line that can't be carried out
INTERRUPTED = 130


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
        except (RunError, DataError, OSError) as error:  # OSError: a full disk, no permission
            _complain(argv, error)
            return getattr(error, "status", USAGE_ERROR)
        except KeyboardInterrupt as error:
            print(str(error) or "\nInterrupted.", file=sys.stderr)
            return getattr(error, "status", INTERRUPTED)
        finally:
            if callable(before):
                signal.signal(signal.SIGINT, before)

    app.run(guarded, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
        config_files.check_readable(flags.FLAGS)
        return rest
    except Exception as error:  # in the flags, or any at all in the config file that they name
        sys.exit(_complain(argv, config_files.explain(error, argv) or error))


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
