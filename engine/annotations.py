"""Validates the names, notes and tags of studies and runs before they are stored."""

from collections.abc import Sequence

from engine.errors import BadInputError

# Lengths in characters.
MAX_NAME, MAX_NOTE, MAX_TAG = 120, 10_000, 40
MAX_TAGS = 20
AGAIN = " (again)"


def check_name(name: str) -> str:
    """Returns the name of a study without outer spaces, or raises `BadInputError`."""
    name = name.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise BadInputError(
            f"A study's name has 1 to {MAX_NAME} printable characters, not {name[:40]!r}."
        )
    return name


def check_note(note: str) -> str:
    """Returns a note without outer spaces and NUL characters, or raises `BadInputError`."""
    note = note.strip().replace("\x00", "")
    if len(note) > MAX_NOTE:
        raise BadInputError(f"A note has at most {MAX_NOTE:,} characters, not {len(note):,}.")
    return note


def check_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Returns tags without outer spaces and without duplicates, or raises `BadInputError`."""
    unique_tags = tuple(dict.fromkeys(filter(None, (tag.strip() for tag in tags))))
    for tag in unique_tags:
        if len(tag) > MAX_TAG or not tag.isprintable():
            raise BadInputError(f"A tag has 1 to {MAX_TAG} printable characters, not {tag[:50]!r}.")
    if len(unique_tags) > MAX_TAGS:
        raise BadInputError(f"There can be {MAX_TAGS} tags, not {len(unique_tags)}.")
    return unique_tags


def name_again(name: str) -> str:
    """Returns the name of a study that repeats the named study."""
    return f"{name[: MAX_NAME - len(AGAIN)]}{AGAIN}"
