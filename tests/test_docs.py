"""The README tells the truth: what exists is in it."""

import re

import pytest

from engine import cli
from engine.metrics.catalog import QUALITY
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.settings import PROJECT_ROOT

README = (PROJECT_ROOT / "README.md").read_text()
FILES = README[README.index("## The files") :]


def commands(parser, prefix=""):
    """Every command of the parser, groups with their actions."""
    for action in parser._actions:
        for name, command in (getattr(action, "choices", None) or {}).items():
            if hasattr(command, "_actions"):
                nested = list(commands(command, f"{prefix}{name} "))
                yield from nested or [f"{prefix}{name}"]


@pytest.mark.parametrize("command", sorted(commands(cli.build_parser())))
def test_every_command_is_in_the_readme(command):
    assert f"`{command}" in README


@pytest.mark.parametrize("name", [*CONFIGURATIONS, *BUDGETS, *QUALITY])
def test_every_configuration_budget_and_metric_is_in_the_readme(name):
    assert f"`{name}`" in README


def test_every_recipe_in_the_readme_is_the_one_that_runs():
    for name, configuration in CONFIGURATIONS.items():
        assert re.search(rf"`{name}` \| {re.escape(str(configuration.recipe))}", README)


def test_every_make_target_is_in_the_readme():
    targets = re.findall(r"^([a-z]+):.*##", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE)

    assert len(targets) > 5
    for target in set(targets) - {"help"}:
        assert f"make {target}" in README or f"`{target}`" in README


def test_every_module_is_in_the_file_tree():
    for package in ("engine", "dashboard"):
        for path in (PROJECT_ROOT / package).rglob("*.py"):
            if path.name != "__init__.py":
                assert path.name in FILES or f"{path.stem}" in FILES, path


def test_pictures_in_the_readme_are_there():
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (PROJECT_ROOT / picture).is_file()


def test_every_decision_states_context_decision_and_consequence():
    records = list((PROJECT_ROOT / "docs" / "adr").glob("*.md"))

    assert records
    for record in records:
        for part in ("**Context.**", "**Decision.**", "**Consequence.**"):
            assert part in record.read_text(), record
