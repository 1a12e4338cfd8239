"""The README and the documentation describe what exists."""

import ast
import re
from dataclasses import replace

import pytest

from engine import overrides
from engine.cli.main import build_command
from engine.environment import OTHER_VARIABLES, variables_by_name
from engine.metrics.catalog import CATALOG, COMPARED_METRICS, COST_METRICS
from engine.presets import BUDGETS, CONFIGURATIONS, default_configurations
from engine.records.curves import MetricPoint
from engine.report.comparison import build_comparison
from engine.report.tables import to_markdown
from engine.settings import PROJECT_ROOT
from scripts import reference
from tests.support.comparisons import measured, study_of

DOCS = PROJECT_ROOT / "docs"
README = (PROJECT_ROOT / "README.md").read_text()
PACKAGES = sorted(
    path.parent.relative_to(PROJECT_ROOT)
    for root in ("engine", "dashboard", "scripts")
    for path in (PROJECT_ROOT / root).rglob("__init__.py")
)
MAX_MODULES, MAX_ROOT_MODULES = 16, 10
MAX_README_LINES = 220


def test_the_readme_has_at_most_220_lines():
    assert len(README.splitlines()) <= MAX_README_LINES


def test_links_and_pictures_in_the_readme_lead_to_files():
    targets = re.findall(r"\]\(([^)]+)\)", README) + re.findall(r'src(?:set)?="([^"]+)"', README)

    for target in targets:
        assert target.startswith("https://") or (PROJECT_ROOT / target).is_file(), target


def test_every_generated_block_of_the_pages_has_a_builder():
    pages = [path.read_text() for path in DOCS.rglob("*.md")]
    begins = [name for page in pages for name in re.findall(r"<!-- generated: (.+) -->", page)]
    ends = [name for page in pages for name in re.findall(r"<!-- end: (.+) -->", page)]

    assert sorted(begins) == sorted(ends) == sorted(reference.GENERATED)


def test_every_command_is_in_the_reference_with_its_options():
    text = reference.build_commands()

    for name, command in reference.iterate_commands(build_command()):
        section = text.partition(f"## `{name}` ")[2].partition("\n## ")[0]
        assert command.help, name
        for parameter in command.params:
            label = parameter.opts[0] if parameter.opts[0].startswith("--") else parameter.metavar
            assert f"| `{label}" in section, (name, label)
            assert parameter.help, (name, label)


@pytest.mark.parametrize("metric", CATALOG)
def test_every_metric_is_in_the_reference(metric):
    assert f"| `{metric}` | {CATALOG[metric].label} |" in reference.build_metrics()


def test_every_configuration_is_in_the_reference_with_the_recipe_that_runs():
    text = reference.build_configurations()

    for name, configuration in CONFIGURATIONS.items():
        assert f"| `{name}` | {configuration.recipe} |" in text


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_budget_is_in_the_reference(budget):
    assert f"| `{budget}` |" in reference.build_budgets()
    assert f"| `{budget}` |" in reference.build_budget_settings()


def test_every_key_of_set_is_in_the_reference_with_its_meaning():
    text = reference.build_settings()

    for key in (
        *overrides.TERM_KEYS,
        *overrides.CONFIGURATION_KEYS,
        *overrides.BUDGET_KEYS,
        *overrides.EXECUTION_KEYS,
    ):
        assert re.search(rf"^\| `{key}` \| .+ \| .+ \|$", text, re.MULTILINE), key


@pytest.mark.parametrize("name", variables_by_name())
def test_every_environment_variable_is_in_the_reference(name):
    variable = variables_by_name()[name]
    kind = variable.kind
    cells = (f"`{name}`", kind.type, kind.values, variable.default, variable.meaning)

    assert all(cells)
    assert f"| {' | '.join(cells)} |" in reference.build_variables(variable.section)


@pytest.mark.parametrize("name", OTHER_VARIABLES)
def test_every_variable_of_another_program_is_in_the_reference_with_its_reader(name):
    assert re.search(rf"^\| `{name}` \| .+ \| .+ \|$", reference.build_other_variables(), re.M)


def test_every_environment_variable_in_code_and_containers_is_a_setting_or_of_another_program():
    files = [PROJECT_ROOT / name for name in ("compose.yaml", "Dockerfile", "Makefile", ".ci/run")]
    files += [
        path
        for folder in ("engine", "dashboard", "scripts", "tests")
        for path in (PROJECT_ROOT / folder).rglob("*.py")
        if path.name not in ("test_environment.py", "environment.py")
    ]
    own_name = r"\b((?:CHROMABENCH_|MLFLOW_TRACKING_)[A-Z_]*[A-Z])\b"
    read_name = r"environ(?:ment)?(?:\.get\(|\.setdefault\(|\[)\"([A-Z_]+)\""

    existing = variables_by_name().keys() | OTHER_VARIABLES.keys()

    unknown = set()
    for path in files:
        names = set(re.findall(own_name, path.read_text()))
        if "tests" not in path.parts:
            names |= set(re.findall(read_name, path.read_text()))
        unknown |= {(path, name) for name in names - existing}

    assert variables_by_name().keys() & OTHER_VARIABLES.keys() == set()
    assert unknown == set()


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
def test_a_package_has_at_most_16_files_and_the_engine_10(package):
    count = sum(1 for path in (PROJECT_ROOT / package).iterdir() if path.is_file())

    assert count <= (MAX_ROOT_MODULES if package.name == "engine" else MAX_MODULES)


def test_the_readmes_comparison_has_the_shape_that_the_command_prints(store):
    after_begin = README.partition("<!-- demo table: begin -->")[2]
    table_in_readme = after_begin.partition("<!-- demo table: end -->")[0]
    study, runs = study_of(store, seeds=1, names=default_configurations("sketch"))
    names = [
        name
        for name in COMPARED_METRICS
        if CATALOG[name].network != "inception" and name not in COST_METRICS
    ]
    values = [measured(run, 0.5, name) for run in runs for name in names]
    values += [measured(run, 0.5, "inference_ms") for run in runs]
    values += [measured(run, 0.5, "inference_images_per_second") for run in runs]
    values = [
        replace(value, reference=1.0) if value.name in ("colorfulness", "weave") else value
        for value in values
    ]
    epochs = ("images_per_second", "epoch_seconds", "peak_memory_mb")
    costs = [MetricPoint(run.id, 1, 1, name, 1.0) for run in runs for name in epochs]
    printed = to_markdown(build_comparison(study, runs, values, costs))

    assert shape(table_in_readme) == shape(printed)


def shape(table):
    """Heads and row names of Markdown tables, without their numbers."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    heads = [line for line in lines if not line.startswith("| `")]
    rows = [line.split("|")[1] for line in lines if line.startswith("| `")]
    return [re.sub(r"targets [0-9.,]+", "targets", line) for line in heads], rows


def test_every_decision_states_context_decision_and_consequence():
    records = reference.decision_records()

    assert records
    for record in records:
        for part in ("**Context.**", "**Decision.**", "**Consequence.**"):
            assert part in record.read_text(), record
