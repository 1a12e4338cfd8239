"""The commands `chromabench` and `python -m engine`."""

import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command of this process's arguments and exits with its status."""
    try:
        from engine.cli import main as cli  # inside the `try`, because this import takes a while

        is_console_script = Path(sys.argv[0]).stem == "chromabench"
        program = "chromabench" if is_console_script else "python -m engine"
        sys.exit(cli.main(sys.argv[1:], program))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
