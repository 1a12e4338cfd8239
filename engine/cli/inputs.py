"""What commands are given: paths, the store that is there; and where they tell of their work."""

import sys
from pathlib import Path

from rich.console import Console

from engine.errors import BadInputError
from engine.settings import Settings
from engine.store import Store, is_absent

stderr = Console(stderr=True)


def read_path(text: str, option: str) -> Path:
    """The path that was given to an option, or `BadInputError`."""
    if not text.strip() or "\0" in text:
        raise BadInputError(f"{option} must name a file or folder, not {text[:40]!r}.")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise BadInputError(f"{option}: {text[:80]!r} names a home that is not here.") from error


def open_existing(settings: Settings) -> Store:
    """The store, or `BadInputError` where there is none yet: questions make no database."""
    if is_absent(settings.database_url):
        raise BadInputError(
            "There are no studies yet. `python -m engine study --data openmoji --budget demo` "
            "starts one."
        )
    return Store(settings.database_url)


def confirm(question: str, agreed: bool) -> bool:
    """Whether to go on with what cannot be undone: as was said before, or as is typed now.

    Raises:
        BadInputError: nobody is there to be asked.
    """
    if agreed:
        return True
    if not sys.stdin.isatty():
        raise BadInputError(f"{question} Add --yes if that is what you want.")
    stderr.print(f"{question} Go on? [y/N] ", end="", markup=False, highlight=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
