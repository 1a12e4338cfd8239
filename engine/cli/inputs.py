"""Arguments that several commands share: paths, an existing store, confirmations."""

import sys
from pathlib import Path

from rich.console import Console

from engine.errors import BadInputError
from engine.settings import PROGRAM, Settings
from engine.store import Store, is_absent

stderr = Console(stderr=True)


def parse_path(text: str, option: str) -> Path:
    """Parses the path given to an option.

    Raises:
        BadInputError: the text is empty, contains NUL, or names an unknown home folder.
    """
    if not text.strip() or "\0" in text:
        raise BadInputError(f"{option} must name a file or folder, not {text[:40]!r}.")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise BadInputError(f"{option}: {text[:80]!r} names a home that is not here.") from error


def open_existing(settings: Settings) -> Store:
    """Opens the store without creating a database.

    Raises:
        BadInputError: there is no database yet.
    """
    if is_absent(settings.database_url):
        raise BadInputError(
            f"There are no studies yet. Start one: `{PROGRAM} study --data openmoji --budget demo`."
        )
    return Store(settings.database_url)


def confirm(question: str, is_confirmed: bool) -> bool:
    """Asks the user to confirm an action and returns the answer.

    Args:
        question: what will happen, as one sentence.
        is_confirmed: True if `--yes` was given; the user is not asked.

    Raises:
        BadInputError: stdin is not a terminal and `--yes` was not given.
    """
    if is_confirmed:
        return True
    if not sys.stdin.isatty():
        raise BadInputError(f"{question} Add --yes to confirm.")
    stderr.print(f"{question} Continue? [y/N] ", end="", markup=False, highlight=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
