"""The README tells the truth: what exists is in it."""

import ast
import re
from dataclasses import replace

import pytest

from engine.cli import parser
from engine.metrics.catalog import CATALOG, COMPARED, COSTS, QUALITY
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.records.curves import MetricPoint
from engine.report.comparison import build_comparison
from engine.report.tables import to_markdown
from engine.settings import PROJECT_ROOT
from tests.engine.report.test_comparison import measured, study_of

README = (PROJECT_ROOT / "README.md").read_text()
PACKAGES = sorted(
    path.parent.relative_to(PROJECT_ROOT)
    for root in ("engine", "dashboard", "scripts")
    for path in (PROJECT_ROOT / root).rglob("__init__.py")
)
MAX_MODULES, MAX_ROOT_MODULES = 16, 10


def commands(parser, prefix=""):
    """Every command of the parser, groups with their actions."""
    for action in parser._actions:
        choices = getattr(action, "choices", None)
        for name, command in (choices if isinstance(choices, dict) else {}).items():
            if hasattr(command, "_actions"):
                nested = list(commands(command, f"{prefix}{name} "))
                yield from nested or [f"{prefix}{name}"]


@pytest.mark.parametrize("command", sorted(commands(parser.build_parser())))
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


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_the_package_map_of_the_readme_names_every_package(package):
    depth = 2 if package.parts[0] in ("engine", "dashboard") else 1

    assert f"| `{'/'.join(package.parts[:depth])}` |" in README


def test_every_package_in_the_map_of_the_readme_exists():
    package_map = README[README.index("## Where things are") :]

    for name in re.findall(r"^\| `([a-z/_]+)`", package_map, re.MULTILINE):
        assert (PROJECT_ROOT / name).is_dir(), name


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_the_docstring_of_a_package_lists_its_modules_and_what_is_elsewhere(package):
    folder = PROJECT_ROOT / package
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))

    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert set(re.findall(r"^    (\w+): ", docstring, re.MULTILINE)) == modules | packages
    assert "\nNot here: " in docstring


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_package_fits_in_the_head(package):
    count = sum(1 for path in (PROJECT_ROOT / package).iterdir() if path.is_file())

    assert count <= (MAX_ROOT_MODULES if package.name == "engine" else MAX_MODULES)


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
