"""`python -m engine`."""

import sys

if __name__ == "__main__":
    try:
        from engine.cli.parser import main  # takes a second, in which somebody may think again

        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
