"""Selects the locked packages of a layer for pip, and renews `requirements.lock`.

Imports only the standard library, because `select` runs before any package is installed:

    python -m scripts.lock select torch app > packages.txt
    pip install --no-deps --require-hashes -r packages.txt

`renew` needs uv, which is part of the extra `dev`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PROJECT_FILE = ROOT / "pyproject.toml"
TORCH_PACKAGES = ("torch", "torchvision")
TORCH, APP = "torch", "app"
HEADER = """\
# The version and the SHA-256 hashes of every package of the app and its extras. `make lock` writes
# this file. The comment above a package names its layers: `torch`, `app`, or extras of
# pyproject.toml, which build on these two. See docs/installation.md.
"""
_PACKAGE = re.compile(
    r"^(?:# (?P<layers>[a-z ]+)\n)?(?P<name>[a-z0-9-]+)==(?P<version>[^ \n]+)"
    r"(?: ; (?P<marker>.+?))?(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})*)$",
    re.MULTILINE,
)


class LockError(Exception):
    """A layer cannot be selected, or the lock cannot be renewed; the message says what to do."""


@dataclass(frozen=True)
class LockedPackage:
    """One version of a package.

    Attributes:
        name: the normalised name.
        version: the version.
        marker: the environments that need this version (PEP 508); empty: all.
        hashes: the SHA-256 hashes of the files of this version, for all platforms.
        layers: the layers that need the package.
    """

    name: str
    version: str
    marker: str = ""
    hashes: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()

    @property
    def pin(self) -> str:
        """The requirement without hashes, such as `numpy==2.4.6 ; python_version < '3.12'`."""
        return f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")

    @property
    def requirement(self) -> str:
        """The requirement with hashes, as pip reads it."""
        return " \\\n".join([self.pin, *(f"    --hash=sha256:{digest}" for digest in self.hashes)])


def parse_lock(text: str) -> list[LockedPackage]:
    """Parses the text of a lock; other comments than those above a package are ignored."""
    return [
        LockedPackage(
            match["name"],
            match["version"],
            match["marker"] or "",
            tuple(re.findall("sha256:([0-9a-f]+)", match["hashes"])),
            tuple((match["layers"] or "").split()),
        )
        for match in _PACKAGE.finditer(text)
    ]


def render_lock(packages: Iterable[LockedPackage]) -> str:
    """Returns the text of a lock."""
    blocks = [f"# {' '.join(package.layers)}\n{package.requirement}\n" for package in packages]
    return HEADER + "\n" + "".join(blocks)


def select_layers(packages: Sequence[LockedPackage], layers: Iterable[str]) -> list[LockedPackage]:
    """Returns the packages that belong to at least one of the layers.

    Raises:
        LockError: no package belongs to one of the layers.
    """
    known_layers = {layer for package in packages for layer in package.layers}
    wanted_layers = set(layers)
    for layer in sorted(wanted_layers - known_layers):
        raise LockError(
            f"requirements.lock has no layer {layer!r}: {', '.join(sorted(known_layers))}."
        )
    return [package for package in packages if wanted_layers.intersection(package.layers)]


def without_torch_layer(
    packages: Iterable[LockedPackage], installed_versions: dict[str, str]
) -> list[LockedPackage]:
    """Removes the layer `torch` if a build of torch from another index is installed.

    The version of such a build has a local part, for example `2.14.1+cpu`. It replaces torch,
    torchvision and the libraries of CUDA.

    Args:
        packages: the selected packages.
        installed_versions: name -> version of torch and torchvision, as far as they are installed.

    Raises:
        LockError: torch or torchvision is not the locked version, or only one has a local part.
    """
    packages = list(packages)
    if "+" not in installed_versions.get("torch", ""):
        return packages
    build = installed_versions["torch"].partition("+")[2]
    pins = [package for package in packages if package.name in TORCH_PACKAGES]
    expected = {package.name: f"{package.version}+{build}" for package in pins}
    for name, version in expected.items():
        if installed_versions.get(name) != version:
            raise LockError(
                f"{sys.prefix} has a {build} build of torch with {name} "
                f"{installed_versions.get(name, '(missing)')}, but requirements.lock needs "
                f"{version}. Install {' '.join(package.pin for package in pins)} from the "
                f"index of the {build} build, or delete {sys.prefix}."
            )
    return [package for package in packages if package.layers != (TORCH,)]


def read_installed_versions() -> dict[str, str]:
    """Returns name -> version of torch and torchvision in this Python, if they are installed."""
    versions: dict[str, str] = {}
    for name in TORCH_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def renew(is_keeping: bool) -> list[LockedPackage]:
    """Resolves the ranges of `pyproject.toml` and returns the packages of a new lock.

    The newest releases are chosen that satisfy the ranges, and the constraint files that pip is
    configured with.

    Args:
        is_keeping: whether the locked versions are kept where they satisfy the ranges.

    Raises:
        LockError: uv is not installed, or the ranges cannot be satisfied.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _Resolver(Path(folder)).lock(LOCK.read_text() if is_keeping else "")


class _Resolver:
    """Resolves requirements with uv, for every platform and every supported Python."""

    def __init__(self, folder: Path) -> None:
        project = tomllib.loads(PROJECT_FILE.read_text())
        self.extras = sorted(project["project"]["optional-dependencies"])
        self.python = project["project"]["requires-python"].removeprefix(">=")
        self.folder = folder
        # The project itself is built and installed without an index.
        self.build_file = self._write("build.in", project["build-system"]["requires"])
        self.constraints = _pip_constraints()

    def lock(self, kept_lock: str) -> list[LockedPackage]:
        """Resolves all extras together, then finds the layers of each package."""
        packages = self._resolve("--all-extras", "--generate-hashes", kept_lock=kept_lock)
        self.constraints = [self._write("pins.txt", [package.pin for package in packages])]

        torch_names = self._torch_names()
        app_names = self._names() - torch_names
        layer_names = {TORCH: torch_names, APP: app_names}
        for extra in self.extras:
            layer_names[extra] = self._names("--extra", extra) - app_names - torch_names
        return [replace(package, layers=_layers_of(package, layer_names)) for package in packages]

    def _torch_names(self) -> set[str]:
        """Returns torch, torchvision, and what they need on Linux only: the libraries of CUDA."""
        source = self._write("torch.in", TORCH_PACKAGES)
        packages = self._resolve(sources=[source])
        only_linux = (
            package for package in packages if "sys_platform == 'linux'" in package.marker
        )
        return {*TORCH_PACKAGES, *(package.name for package in only_linux)}

    def _names(self, *options: str) -> set[str]:
        """Returns the packages that the project needs, on any platform."""
        return {package.name for package in self._resolve(*options)}

    def _resolve(
        self, *options: str, sources: Sequence[str] | None = None, kept_lock: str = ""
    ) -> list[LockedPackage]:
        """Runs uv on the project's files, or on other sources."""
        sources = [str(PROJECT_FILE), self.build_file] if sources is None else sources
        constraints = [part for path in self.constraints for part in ("--constraint", path)]
        # uv keeps the versions that it finds in its output file.
        output = self._write("output.txt", kept_lock.splitlines())
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", *sources, *options, *constraints),
            *("--universal", "--python-version", self.python, "--no-header", "--no-annotate"),
            *("--no-emit-package", "pip", "--quiet", "--output-file", output),
        ]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            raise LockError(f"The packages cannot be resolved:\n{process.stderr.strip()}")
        return parse_lock(Path(output).read_text())

    def _write(self, name: str, lines: Iterable[str]) -> str:
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)


def _layers_of(package: LockedPackage, layer_names: Mapping[str, Set[str]]) -> tuple[str, ...]:
    """Returns the layers whose packages include this one."""
    return tuple(layer for layer, names in layer_names.items() if package.name in names)


def _pip_constraints() -> list[str]:
    """Returns the constraint files of pip's configuration, which uv does not read."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    values = re.findall(r"^(?:global|install|:env:)\.constraint='(.*)'$", text, re.MULTILINE)
    return [path for value in values for path in value.split()]


def describe_changes(old: Iterable[LockedPackage], new: Iterable[LockedPackage]) -> list[str]:
    """Returns one line for each package that was added, removed or changed."""
    old_versions, new_versions = _versions(old), _versions(new)
    return [
        f"{name} {old_versions.get(name, '(new)')} -> {new_versions.get(name, '(removed)')}"
        for name in sorted(old_versions.keys() | new_versions.keys())
        if old_versions.get(name) != new_versions.get(name)
    ]


def _versions(packages: Iterable[LockedPackage]) -> dict[str, str]:
    versions: dict[str, list[str]] = {}
    for package in packages:
        versions.setdefault(package.name, []).append(package.version)
    return {name: ", ".join(values) for name, values in versions.items()}


def _run(args: argparse.Namespace) -> list[str]:
    """Executes a command and returns the lines to print."""
    packages = parse_lock(LOCK.read_text()) if LOCK.exists() else []
    if args.command == "select":
        selected = select_layers(packages, args.layers)
        selected = without_torch_layer(selected, read_installed_versions())
        return [package.requirement for package in selected]
    if args.command == "pins":
        return [package.pin for package in packages if package.name in args.names]
    renewed = renew(args.keep)
    LOCK.write_text(render_lock(renewed))
    changes = describe_changes(packages, renewed)
    return [*changes, f"requirements.lock: {len(renewed)} packages, {len(changes)} changed."]


def main() -> int:
    """Parses the command line and executes the command."""
    parser = argparse.ArgumentParser(prog="python -m scripts.lock", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    select = commands.add_parser("select", help="print the packages of layers, with hashes")
    select.add_argument("layers", nargs="+", metavar="LAYER")
    pins = commands.add_parser("pins", help="print the versions of packages, without hashes")
    pins.add_argument("names", nargs="+", metavar="NAME")
    renewal = commands.add_parser("renew", help="resolve pyproject.toml and write the lock")
    renewal.add_argument(
        "--keep", action="store_true", help="keep versions that satisfy the ranges"
    )
    try:
        sys.stdout.writelines(f"{line}\n" for line in _run(parser.parse_args()))
    except LockError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
