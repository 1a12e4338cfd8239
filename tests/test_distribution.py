"""The files and texts of the distribution, checked without building it as `test_wheel.py` does."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path, PurePath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engine.settings import DISTRIBUTION, PROJECT_ROOT, read_version

PYPROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())
# Imported, but no requirement: parts of the interfaces of kaleido and requests, which need these
# packages, and the reference of `bench metrics`.
IMPORTED_WITHOUT = ("choreographer", "urllib3", "torchmetrics")
REQUIREMENT_NAMES = {"PIL": "pillow", "dotenv": "python-dotenv", "mlflow": "mlflow-skinny"}
# A requirement after `pip install` and its options, or with extras anywhere.
INSTALL_ADVICE = re.compile(
    r"pip install (?:-{1,2}[\w-]+ )*[\"'`]*([A-Za-z][\w.-]*)|\b([a-z][\w.-]*)\[[a-z]+(?:,[a-z]+)*\]"
)


def tracked_files(*folders):
    """The files of the repository, with those that will be added to it."""
    command = ["git", "-C", str(PROJECT_ROOT), "ls-files", "--cached", "--others"]
    listing = subprocess.run(
        [*command, "--exclude-standard", "--", *folders],
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("this folder is not a git repository")
    return [Path(line) for line in listing.stdout.splitlines() if (PROJECT_ROOT / line).is_file()]


def package_of(path):
    """The innermost package that contains a file, which setuptools searches for its patterns."""
    return next(
        folder for folder in path.parents if (PROJECT_ROOT / folder / "__init__.py").is_file()
    )


def test_every_data_file_of_both_packages_is_in_the_wheel_and_every_pattern_has_files():
    patterns_by_package = PYPROJECT["tool"]["setuptools"]["package-data"]
    paths = [path for path in tracked_files("engine", "dashboard") if path.suffix != ".py"]

    used, unmatched = set(), []
    for path in paths:
        package = package_of(path)
        names = ("*", ".".join(package.parts))
        matches = {
            (name, pattern)
            for name in names
            for pattern in patterns_by_package.get(name, [])
            if is_match(path.relative_to(package), pattern)
        }
        used |= matches
        unmatched += [] if matches else [str(path)]

    assert paths
    assert unmatched == []
    assert used == {
        (name, pattern) for name, patterns in patterns_by_package.items() for pattern in patterns
    }


def is_match(path, pattern):
    """Whether a relative path matches a pattern, whose `*` matches no slash."""
    return len(path.parts) == len(PurePath(pattern).parts) and path.match(pattern)


def test_every_folder_of_both_packages_with_modules_is_a_package():
    folders = {path.parent for path in tracked_files("engine", "dashboard") if path.suffix == ".py"}

    assert [str(folder) for folder in folders if not is_package(folder)] == []


def is_package(folder):
    return (PROJECT_ROOT / folder / "__init__.py").is_file()


def test_every_imported_library_is_a_requirement():
    allowed = {canonicalize_name(name) for name in (*runtime_requirements(), *IMPORTED_WITHOUT)}

    imported = {
        canonicalize_name(REQUIREMENT_NAMES.get(name, name))
        for path in tracked_files("engine", "dashboard")
        if path.suffix == ".py"
        for name in imported_packages((PROJECT_ROOT / path).read_text(encoding="utf-8"))
    }

    assert len(imported) > 20
    assert imported - allowed == set()


def imported_packages(code):
    """The names of the packages that a module imports, without ours and the standard library."""
    nodes = list(ast.walk(ast.parse(code)))
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    names = {module.partition(".")[0] for module in modules}
    return names - sys.stdlib_module_names - {"engine", "dashboard"}


def runtime_requirements():
    """The requirements of the app and of the extras for users, with their own extras."""
    project = PYPROJECT["project"]
    extras = [
        line
        for extra, lines in project["optional-dependencies"].items()
        if extra not in ("dev", "docs")
        for line in lines
    ]
    requirements = [Requirement(line) for line in (*project["dependencies"], *extras)]
    return {each.name: each for each in requirements}


def test_the_page_of_dependencies_lists_every_runtime_requirement_and_no_other():
    page = (PROJECT_ROOT / "docs" / "dependencies.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)(?:\[\w+\])?` \|(.*)\|$", page, re.MULTILINE)

    assert {name for name, _ in rows} == set(runtime_requirements())
    for name, cells in rows:
        assert re.fullmatch(r"[^|]+\| [\w.]+, \d{4}-\d{2} \|[^|]+\|[^|]+", cells), name


def test_the_code_names_the_distribution_of_the_project_file():
    assert PYPROJECT["project"]["name"] == DISTRIBUTION


def test_the_installed_version_the_citation_and_the_changelog_agree_with_the_project_file():
    version = PYPROJECT["project"]["version"]
    citation = (PROJECT_ROOT / "CITATION.cff").read_text()
    changelog = (PROJECT_ROOT / "CHANGELOG.md").read_text()

    assert read_version() == version
    assert f"\nversion: {version}\n" in citation
    (date,) = re.findall(r'^date-released: "(.+)"$', citation, re.MULTILINE)
    headings = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    assert headings[:2] == ["[Unreleased]", f"[{version}] - {date}"]


def test_no_text_tells_to_install_a_distribution_of_this_name_that_is_not_ours():
    paths = tracked_files("engine", "dashboard", "docs", "scripts", "*.md", ".github")
    paths += [Path("Makefile"), Path("Dockerfile"), Path("compose.yaml"), Path("pyproject.toml")]
    paths = [path for path in paths if path.suffix not in (".png", ".svg")]

    advice = [
        (str(path), name)
        for path in paths
        for name in advised_distributions((PROJECT_ROOT / path).read_text(encoding="utf-8"))
    ]

    assert len(paths) > 200
    assert [(path, name) for path, name in advice if "chromabench" in name.lower()] == []


def advised_distributions(text):
    """The names of the distributions that a text tells to install, without ours and its files."""
    names = [match[1] or match[2] for match in INSTALL_ADVICE.finditer(" ".join(text.split()))]
    return [name for name in names if not name.replace("_", "-").startswith(DISTRIBUTION)]


@pytest.mark.parametrize(
    "text",
    [
        "pip install chromabench",
        "`pip install 'chromabench[mlflow]'`",
        'pip install -U "chromabench_bench"',
        "the extra chromabench[fetch,onnx]",
    ],
)
def test_advice_to_install_another_distribution_is_recognised(text):
    (name,) = advised_distributions(text)

    assert name.startswith("chromabench")
