"""Names and prose keep to the field's plain words."""

import ast
import re

import pytest

from engine.settings import PROJECT_ROOT

EMPTY_NAMES = {"it", "found", "asked", "known", "made", "there"}
ARCHAISMS = re.compile(
    r"so-manyth|anew|in the midst|whoever|\bdeed|\bwish(es)?\b|though there be|as it is meant",
    re.IGNORECASE,
)
JS_NAME = re.compile(r"\b(?:const|let|var)\s+(\w+)|\(?\b(\w+)\)?\s*=>")


def files(*folders, suffixes):
    copied = PROJECT_ROOT / "tests" / "reference"
    paths = [path for folder in folders for path in (PROJECT_ROOT / folder).rglob("*")]
    return sorted(path for path in paths if path.suffix in suffixes and copied not in path.parents)


def assigned_names(path):
    """Yields (line, name) of every variable and parameter of a Python file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def test_variables_of_python_files_name_their_content():
    paths = files("engine", "dashboard", "scripts", "tests", suffixes={".py"})

    violations = [
        f"{path.relative_to(PROJECT_ROOT)}:{line}: {name}"
        for path in paths
        for line, name in assigned_names(path)
        if name in EMPTY_NAMES
    ]

    assert len(paths) > 300
    assert violations == []


def test_variables_of_scripts_in_the_browser_name_their_content():
    paths = files("dashboard", suffixes={".js"})

    violations = [
        f"{path.name}: {match.group()}"
        for path in paths
        for match in JS_NAME.finditer(path.read_text())
        if EMPTY_NAMES & set(match.groups())
    ]

    assert paths
    assert violations == []


@pytest.mark.parametrize("folder", ["engine", "dashboard", "docs"])
def test_prose_has_no_archaisms(folder):
    paths = files(folder, suffixes={".py", ".js", ".css", ".md"})

    violations = [
        f"{path.relative_to(PROJECT_ROOT)}: {match.group()}"
        for path in [*paths, PROJECT_ROOT / "README.md"]
        for match in ARCHAISMS.finditer(path.read_text())
    ]

    assert paths
    assert violations == []
