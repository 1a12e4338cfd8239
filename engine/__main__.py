"""`python -m engine`."""

import sys

if __name__ == "__main__":
    try:
        from engine.cli.main import main  # inside the `try`, because this import takes a while

        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
