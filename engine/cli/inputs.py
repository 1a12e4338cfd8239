"""Arguments that several commands share, the settings, the store, and confirmations."""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console

from engine.cli import completion
from engine.data.sources.registry import SOURCE_KINDS
from engine.errors import BadInputError
from engine.settings import PROGRAM, Settings, ignored_variables
from engine.store import Store, is_absent

stderr = Console(stderr=True)


def parse_id(text: str) -> int:
    """Parses the number of a study or run.

    Raises:
        typer.BadParameter: the text is not a whole number from 1 up.
    """
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
        raise typer.BadParameter(f"must be a whole number from 1 up, not {text[:40]!r}")
    return int(text)


def parse_whole_number(value: str | int) -> int:
    """Parses a whole number; Typer passes the text of the user or the default of the option.

    Raises:
        typer.BadParameter: the text is not a whole number.
    """
    try:
        return int(value)
    except ValueError:
        text = str(value)[:40]
        raise typer.BadParameter(f"must be a whole number, not {text!r}") from None


def parse_number(value: str | float) -> float:
    """Parses a number; Typer passes the text of the user or the default of the option.

    Raises:
        typer.BadParameter: the text is not a number.
    """
    try:
        return float(value)
    except ValueError:
        text = str(value)[:40]
        raise typer.BadParameter(f"must be a number, not {text!r}") from None


# Arguments of `typer.Option` and `typer.Argument` for the number of a study or run.
STUDY_NUMBER: dict[str, Any] = {
    "metavar": "STUDY",
    "parser": parse_id,
    "autocompletion": completion.complete_study,
}
RUN_NUMBER: dict[str, Any] = {
    "metavar": "RUN",
    "parser": parse_id,
    "autocompletion": completion.complete_run,
}

JsonFlag: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
YesFlag: TypeAlias = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
WaitFlag: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--wait", help="Show progress until all runs have ended, then print the comparison table."
    ),
]
FetchWeightsFlag: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--fetch-weights",
        help="First download the feature weights that the study uses and that are missing.",
    ),
]
StudyId: TypeAlias = Annotated[
    int,
    typer.Argument(help="Number of the study.", **STUDY_NUMBER),
]
RunId: TypeAlias = Annotated[
    int,
    typer.Argument(help="Number of the run.", **RUN_NUMBER),
]
RunIds: TypeAlias = Annotated[
    list[int] | None,
    typer.Argument(help="Numbers of the runs; or give --study.", **RUN_NUMBER),
]
# The options of a command that works on the runs given by number or on those of a study.
StudyOfRuns: TypeAlias = Annotated[
    int | None,
    typer.Option("--study", help="Instead of RUN: all runs of this study.", **STUDY_NUMBER),
]
SourceText: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help=f"Data source: {', '.join(SOURCE_KINDS)}.",
        autocompletion=lambda: ["openmoji"],
    ),
]
SettingTexts: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one setting, for example epochs=5; can be given several times.",
    ),
]
# A text and no closed set, because the command refuses a device that this machine does not have.
DeviceName: TypeAlias = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cuda|mps|cpu",
        help="Device that computes; auto uses a GPU if there is one.",
        autocompletion=lambda: ["auto", "cuda", "mps", "cpu"],
    ),
]


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


def load_settings() -> Settings:
    """Loads the settings of a command, and prints a warning for each variable without an effect.

    Raises:
        BadInputError: a variable has an invalid value.
    """
    settings = Settings.from_environment()
    for sentence in ignored_variables():
        sys.stderr.write(f"warning: {sentence}\n")
    return settings


@contextmanager
def open_store(settings: Settings) -> Iterator[Store]:
    """Opens the store, creates a missing database, and closes the store at the end."""
    store = Store(settings.database_url)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def open_existing(settings: Settings) -> Iterator[Store]:
    """Opens the store without creating a database, and closes the store at the end.

    Raises:
        BadInputError: there is no database yet.
    """
    if is_absent(settings.database_url):
        raise BadInputError(
            f"There are no studies yet. Start one: `{PROGRAM} study --data openmoji --budget demo`."
        )
    with open_store(settings) as store:
        yield store


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


def refuse_options(values: Mapping[str, object | None], sentence: str) -> None:
    """Raises `BadInputError` if one of the options was given.

    Args:
        values: option -> its value, or None if it was not given.
        sentence: the message with `{options}` in place of the given options.
    """
    given = [option for option, value in values.items() if value is not None]
    if given:
        raise BadInputError(sentence.format(options=", ".join(given)))


def print_line(text: str) -> None:
    """Prints one unwrapped line of plain text to stderr."""
    stderr.print(text, markup=False, highlight=False, soft_wrap=True)
