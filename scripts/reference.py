"""Builds the tables of the documentation site from the code: commands, metrics, variables, presets.

Each builder returns Markdown. A page of docs/ marks the place of a table with the comments
`<!-- generated: NAME -->` and `<!-- end: NAME -->`; `GENERATED` maps NAME to its builder.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel
from typer.core import TyperGroup

from engine import overrides
from engine.cli.help import Command
from engine.cli.main import build_command
from engine.config import Budget, Configuration, Execution, Term
from engine.environment import OTHER_VARIABLES, Section, variables_by_name
from engine.metrics.catalog import CATALOG, GROUP_TITLES
from engine.presets import BUDGET_PURPOSES, BUDGETS, CONFIGURATIONS
from engine.settings import PROGRAM, PROJECT_ROOT

NO_VALUE = "—"
OPTION_IN_HELP = re.compile(r"(?<!`)(--[a-z-]+(?: \w+=\w+)?)")
DEFAULT_IN_HELP = re.compile(r"  \[(default: .+|required)\]$")


def build_commands() -> str:
    """Lists all commands, then gives each command's usage, arguments, options and examples."""
    commands = list(iterate_commands(build_command()))
    rows = [(f"[`{name}`](#{_anchor(name)})", _summary(command)) for name, command in commands]
    sections = [_command_section(name, command) for name, command in commands]
    return "\n\n".join([_table(("command", "what it does"), rows), *sections])


def iterate_commands(group: TyperGroup, prefix: str = "") -> Iterator[tuple[str, Command]]:
    """Yields the name and the object of every command; a group yields the commands in it."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from iterate_commands(command, f"{prefix}{name} ")
        elif isinstance(command, Command):
            yield f"{prefix}{name}", command


def build_metrics() -> str:
    """Lists the metrics, one table per group."""
    better = {"up": "↑ higher", "down": "↓ lower", "none": NO_VALUE}
    header = ("name", "label", "unit", "better", "what it measures")
    sections = []
    for group, title in GROUP_TITLES.items():
        rows = []
        for name, metric in CATALOG.items():
            if metric.group == group:
                unit, direction = metric.unit or NO_VALUE, better[metric.better]
                rows.append((f"`{name}`", metric.label, unit, direction, metric.description))
        sections.append(f"### {title}\n\n{_table(header, rows)}")
    return "\n\n".join(sections)


def build_configurations() -> str:
    """Lists the built-in configurations with their recipes, optimisers and outputs."""
    keys = (*overrides.CONFIGURATION_KEYS, "output")
    rows = [
        (
            f"`{name}`",
            str(configuration.recipe),
            *(_setting_value(getattr(configuration, key)) for key in keys),
        )
        for name, configuration in CONFIGURATIONS.items()
    ]
    return _table(("configuration", "generator loss", *(f"`{key}`" for key in keys)), rows)


def build_budgets() -> str:
    """Lists the budgets with their purposes."""
    purposes = [(f"`{name}`", purpose) for name, purpose in BUDGET_PURPOSES.items()]
    return _table(("budget", "for"), purposes)


def build_budget_settings() -> str:
    """Lists all settings of the budgets side by side."""
    settings = [name for name in Budget.model_fields if name != "name"]
    rows = [
        (f"`{name}`", *(_setting_value(getattr(budget, name)) for budget in BUDGETS.values()))
        for name in settings
    ]
    return _table(("setting", *(f"`{name}`" for name in BUDGETS)), rows)


def build_settings() -> str:
    """Lists every key of `--set` with its values and its meaning."""
    weight = _allowed_values(Term.model_json_schema()["properties"]["weight"])
    terms = [
        (f"`{term}`", weight, f"weight of the term `{term}`; 0 leaves the term out")
        for term in overrides.TERM_KEYS
    ]
    tables = [("Generator loss", terms)]
    models: tuple[tuple[str, Sequence[str], type[BaseModel]], ...] = (
        ("Optimisers and palettes", overrides.CONFIGURATION_KEYS, Configuration),
        ("Budget", overrides.BUDGET_KEYS, Budget),
        ("Execution", overrides.EXECUTION_KEYS, Execution),
    )
    for title, keys, model in models:
        meanings = attribute_docs(model)
        schemas = model.model_json_schema()["properties"]
        rows = [(f"`{key}`", _allowed_values(schemas[key]), meanings.get(key, "")) for key in keys]
        tables.append((title, rows))
    return "\n\n".join(
        f"### {title}\n\n{_table(('key', 'values', 'meaning'), rows)}" for title, rows in tables
    )


def build_variables(section: Section) -> str:
    """Lists the environment variables of a section with their values and their meanings."""
    rows = []
    for name, variable in variables_by_name().items():
        if variable.section == section:
            kind = variable.kind
            rows.append((f"`{name}`", kind.type, kind.values, variable.default, variable.meaning))
    return _table(("variable", "type", "values", "default", "meaning"), rows)


def build_other_variables() -> str:
    """Lists the environment variables that other programs read."""
    rows = [(f"`{name}`", *text.split(": ", maxsplit=1)) for name, text in OTHER_VARIABLES.items()]
    return _table(("variable", "read by", "meaning"), rows)


def build_decisions() -> str:
    """Lists the decision records with their titles."""
    rows = []
    for path in decision_records():
        heading = path.read_text().splitlines()[0].removeprefix("# ")
        number, _, title = heading.partition(". ")
        rows.append((number, f"[{title}]({path.name})"))
    return _table(("no.", "decision"), rows)


def decision_records() -> list[Path]:
    """Returns the paths of the decision records, in the order of their numbers."""
    return sorted((PROJECT_ROOT / "docs" / "adr").glob("[0-9]*.md"))


def attribute_docs(documented: type) -> dict[str, str]:
    """Returns attribute name -> text of the `Attributes:` section of a class docstring."""
    docstring = inspect.getdoc(documented) or ""
    section = re.search(r"^Attributes:\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE)
    texts: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", section[1]) if section else ():
        names, _, text = entry.partition(":")
        texts.update({name.strip(): " ".join(text.split()) for name in names.split(",")})
    return texts


def _command_section(name: str, command: Command) -> str:
    context = typer.Context(command, info_name=f"{PROGRAM} {name}")
    usage = " ".join([PROGRAM, name, *command.collect_usage_pieces(context)])
    parts = [f"## `{name}` {{ #{_anchor(name)} }}", command.help or "", f"```text\n{usage}\n```"]
    rows = [
        (f"`{argument}`", _meaning(text))
        for argument, text in (*command.argument_rows(), *command.option_rows(context))
        if "--help" not in argument
    ]
    if rows:
        parts.append(_table(("argument", "meaning"), rows))
    if command.epilog:
        parts.append(f"```sh\n{_examples(command.epilog)}\n```")
    return "\n\n".join(parts)


def _examples(epilog: str) -> str:
    """Returns the examples of a command, with the sentences between them as comments."""
    lines = [
        line.strip().replace("PROGRAM", PROGRAM) if line.startswith(" ") else f"# {line}"
        for line in epilog.strip().splitlines()
    ]
    return "\n".join(lines)


def _summary(command: Command) -> str:
    return OPTION_IN_HELP.sub(r"`\1`", command.get_short_help_str())


def _meaning(help_text: str) -> str:
    """Returns the meaning of an argument with its options and its default set as code."""
    text = DEFAULT_IN_HELP.sub(r" (\1)", help_text)
    return OPTION_IN_HELP.sub(r"`\1`", text)


def _allowed_values(schema: dict[str, Any]) -> str:
    """Returns the values that a field's JSON schema allows, in words."""
    if "anyOf" in schema:
        return " or ".join(_allowed_values(option) for option in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "boolean":
        return "`true`, `false`"
    kind = {"integer": "whole number", "number": "number", "string": "text"}[schema["type"]]
    bounds = (
        ("minimum", "from"),
        ("exclusiveMinimum", "above"),
        ("maximum", "to"),
        ("exclusiveMaximum", "below"),
    )
    limits = [f"{word} {_number(schema[key])}" for key, word in bounds if key in schema]
    return " ".join([kind, *limits])


def _setting_value(value: object) -> str:
    if value is None:
        return "all"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return _number(value) if isinstance(value, int | float) else f"`{value}`"


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Escapes the bars outside code, which would begin another cell."""
    return re.sub(r"(`[^`]*`)|\|", lambda match: match[1] or r"\|", text)


GENERATED: dict[str, Callable[[], str]] = {
    "commands": build_commands,
    "metrics": build_metrics,
    "configurations": build_configurations,
    "budgets": build_budgets,
    "budget settings": build_budget_settings,
    "settings": build_settings,
    "decisions": build_decisions,
    "other variables": build_other_variables,
} | {
    f"{section} variables": functools.partial(build_variables, section)
    for section in get_args(Section)
}
