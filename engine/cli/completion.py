"""Shell completion: the command completion, and the values that shells offer for arguments.

A shell starts `chromabench` with the variable `_CHROMABENCH_COMPLETE` each time the user presses
Tab, so that the functions below use only names in memory and, if the database is a file, the
numbers of its studies and runs.
"""

import re
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer
import typer.completion

from engine import weights
from engine.data.sources.published import DATA_SETS
from engine.errors import EngineError
from engine.presets import BUDGET_PURPOSES, CONFIGURATIONS
from engine.settings import Settings
from engine.store import Store, check_address, is_absent, is_current

if TYPE_CHECKING:  # the type of commands and groups, which Typer exports under no public name
    from typer._click import Command

COMMAND = "chromabench"
# The variable with which the printed scripts start the command, for example `complete_bash`.
VARIABLE = "_CHROMABENCH_COMPLETE"
MAX_NUMBERS = 100

# Values with their descriptions, which zsh and fish show.
Items: TypeAlias = list[tuple[str, str]]

app = typer.Typer()


@app.command(
    epilog="""
bash, in ~/.bashrc:
  source <(chromabench completion bash)
zsh, in ~/.zshrc after compinit:
  source <(chromabench completion zsh)
fish, once:
  chromabench completion fish > ~/.config/fish/completions/chromabench.fish
"""
)
def completion(
    context: typer.Context,
    shell: Annotated[
        Literal["bash", "zsh", "fish"],
        typer.Argument(metavar="SHELL", help="Shell that runs the script: bash, zsh or fish."),
    ],
) -> int:
    """Prints the script with which a shell completes the arguments of chromabench."""
    return answer_shell(context.find_root().command, f"source_{shell}")


def answer_shell(command: "Command", request: str) -> int:
    """Prints a completion script, or the values that complete the user's words.

    Args:
        command: the group of all commands.
        request: `source_SHELL` for the script, or `complete_SHELL` for the values; the shell passes
            the user's words in further variables.
    """
    # This function registers the formats of the shells; its result belongs to options of Typer.
    typer.completion.get_completion_inspect_parameters()
    return typer.completion.shell_complete(command, {}, COMMAND, VARIABLE, request)


def complete_budget() -> Items:
    """Returns the budgets with their purposes."""
    return list(BUDGET_PURPOSES.items())


def complete_configuration() -> Items:
    """Returns the configurations with their recipes."""
    return [(name, str(entry.recipe)) for name, entry in CONFIGURATIONS.items()]


def complete_configurations(incomplete: str) -> list[str]:
    """Returns the lists that continue an incomplete list of configurations."""
    return continue_list(incomplete, CONFIGURATIONS)


def complete_data_set() -> Items:
    """Returns the published data sets."""
    return [(name, data_set.about) for name, data_set in DATA_SETS.items()]


def complete_weights() -> Items:
    """Returns the feature weights that can be downloaded."""
    return [(name, entry.purpose) for name, entry in weights.CATALOG.items() if entry.url]


def complete_study() -> Items:
    """Returns the numbers of the newest studies with their names."""
    return _read(lambda store: [(str(study.id), study.name) for study in store.studies.read_all()])


def complete_run() -> Items:
    """Returns the numbers of the newest runs with their configurations and states."""
    return _read(
        lambda store: [
            (str(run.id), f"study {run.study_id}, {run.config.label}, {run.state}")
            for run in reversed(store.runs.read_all())
        ]
    )


def continue_list(incomplete: str, names: Iterable[str]) -> list[str]:
    """Returns the comma-separated lists that continue an incomplete list by one name."""
    *complete_names, _ = incomplete.split(",")
    prefix = "".join(f"{name}," for name in complete_names)
    return [f"{prefix}{name}" for name in names if name not in complete_names]


def _read(list_items: Callable[[Store], Items]) -> Items:
    """Returns values from the database; none if it is no file or cannot be read.

    A database server may take seconds to answer, which is too long after each Tab, and opening a
    file of an older release would upgrade it. Texts of users lose their signs, because the script
    for zsh evaluates descriptions as code.
    """
    try:
        url = Settings.from_environment().database_url
        if is_absent(url) or check_address(url) != "sqlite" or not is_current(url):
            return []
        with closing(Store(url)) as store:
            items = list_items(store)[:MAX_NUMBERS]
    except EngineError:
        return []
    return [(number, re.sub(r"[^\w ,.-]", "", text)) for number, text in items]
