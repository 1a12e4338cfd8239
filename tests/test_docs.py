"""The README tells the truth: what exists is in it."""

import re
from dataclasses import replace

import pytest

from engine import cli
from engine.metrics.catalog import CATALOG, COMPARED, COSTS, QUALITY
from engine.points import MetricPoint
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.report import build_comparison
from engine.settings import PROJECT_ROOT
from engine.tables import to_markdown
from tests.engine.test_report import measured, study_of

README = (PROJECT_ROOT / "README.md").read_text()
FILES = README[README.index("## The files") :]


def commands(parser, prefix=""):
    """Every command of the parser, groups with their actions."""
    for action in parser._actions:
        choices = getattr(action, "choices", None)
        for name, command in (choices if isinstance(choices, dict) else {}).items():
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


def test_the_readmes_comparison_has_the_shape_that_the_command_prints(store):
    shown = README.partition("<!-- demo table: begin -->")[2].partition("<!-- demo table: end -->")[
        0
    ]
    study, runs = study_of(store, seeds=1)
    names = [it for it in COMPARED if CATALOG[it].network != "inception" and it not in COSTS]
    values = [measured(run, 0.5, name) for run in runs for name in names]
    values += [measured(run, 0.5, "inference_ms") for run in runs]
    values += [measured(run, 0.5, "inference_images_per_second") for run in runs]
    values = [replace(it, reference=1.0) if it.name == "colorfulness" else it for it in values]
    epochs = ("images_per_second", "epoch_seconds", "peak_memory_mb")
    costs = [MetricPoint(run.id, 1, 1, name, 1.0) for run in runs for name in epochs]
    printed = to_markdown(build_comparison(study, runs, values, costs))

    assert shape(shown) == shape(printed)


def shape(table):
    """Heads and row names of Markdown tables, without their numbers."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    heads = [line for line in lines if not line.startswith("| `")]
    rows = [line.split("|")[1] for line in lines if line.startswith("| `")]
    return [re.sub(r"targets [0-9.,]+", "targets", line) for line in heads], rows


def test_pictures_in_the_readme_are_there():
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (PROJECT_ROOT / picture).is_file()


def test_every_decision_states_context_decision_and_consequence():
    records = list((PROJECT_ROOT / "docs" / "adr").glob("*.md"))

    assert records
    for record in records:
        for part in ("**Context.**", "**Decision.**", "**Consequence.**"):
            assert part in record.read_text(), record
