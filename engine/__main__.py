"""The commands `chromabench` and `python -m engine`."""

import sys
from pathlib import Path
from typing import NoReturn

# Commands that run for a long time -> the subject of each line of their log.
LOGGED_COMMANDS = {"supervise": "supervisor", "serve": "model server"}


def main() -> NoReturn:
    """Runs the command of this process's arguments and exits with its status."""
    try:
        _configure_log(sys.argv[1:])
        from engine.cli import main as cli  # inside the `try`, because this import takes a while

        is_console_script = Path(sys.argv[0]).stem == "chromabench"
        program = "chromabench" if is_console_script else "python -m engine"
        sys.exit(cli.main(sys.argv[1:], program))
    except KeyboardInterrupt:
        sys.exit(130)


def _configure_log(arguments: list[str]) -> None:
    """Configures the log of a command that runs for a long time, before its imports."""
    subject = LOGGED_COMMANDS.get(arguments[0]) if arguments else None
    if subject is not None and not {"-h", "--help"}.intersection(arguments):
        from engine.system import logs

        logs.configure(subject)


if __name__ == "__main__":
    main()
