"""The entry point of the command line.

The exit status is 0 on success, 1 if the work failed, 2 if the request is invalid and 130 if the
user interrupted the command. An error is one line on stderr. With `--json`, stdout holds exactly
one JSON document.
"""

import io
import os
import sys
import textwrap
from collections.abc import Sequence

from engine.cli.parser import build_parser
from engine.errors import EngineError
from engine.settings import PROGRAM, Settings, ignored_variables

MAX_ERROR_LENGTH = 800


def main(arguments: Sequence[str], program: str = PROGRAM) -> int:
    """Runs a command and returns its exit status.

    Args:
        arguments: the arguments of the command line.
        program: the name under which the user started it, for usage texts.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        args = build_parser(program).parse_args(arguments)
        settings = Settings.from_environment()
        for sentence in ignored_variables():
            sys.stderr.write(f"warning: {sentence}\n")
        status: int = args.run(args, settings)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader closed the pipe (for example `head`); avoid the flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        sys.stderr.write(f"error: {error}.\n")
        return 1
    except EngineError as error:
        sys.stderr.write(f"error: {textwrap.shorten(str(error), MAX_ERROR_LENGTH)}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"Interrupted. Background runs continue; see `{program} runs`.\n")
        return 130
