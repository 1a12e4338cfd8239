"""What people write about studies and runs: names, notes, tags; checked before it is stored."""

from collections.abc import Sequence

from engine.errors import BadInputError

MAX_NAME = 120
MAX_NOTE = 10_000
MAX_TAG, MAX_TAGS = 40, 20
AGAIN = " (again)"


def check_name(name: str) -> str:
    """A study's name as it is stored, or `BadInputError`."""
    name = name.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise BadInputError(
            f"A study's name has 1 to {MAX_NAME} printable characters, not {name[:40]!r}."
        )
    return name


def check_note(note: str) -> str:
    """A note as it is stored, or `BadInputError`."""
    note = note.strip().replace("\x00", "")
    if len(note) > MAX_NOTE:
        raise BadInputError(f"A note has at most {MAX_NOTE:,} characters, not {len(note):,}.")
    return note


def check_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags as they are stored, each once, or `BadInputError`."""
    found = tuple(dict.fromkeys(filter(None, (tag.strip() for tag in tags))))
    for tag in found:
        if len(tag) > MAX_TAG or not tag.isprintable():
            raise BadInputError(f"A tag has 1 to {MAX_TAG} printable characters, not {tag[:50]!r}.")
    if len(found) > MAX_TAGS:
        raise BadInputError(f"There can be {MAX_TAGS} tags, not {len(found)}.")
    return found


def name_again(name: str) -> str:
    """What a repetition of a study is called."""
    return f"{name[: MAX_NAME - len(AGAIN)]}{AGAIN}"
