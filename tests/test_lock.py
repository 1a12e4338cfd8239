"""`requirements.lock` agrees with the ranges of `pyproject.toml`; its tools select and audit."""

import json
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engine.settings import DISTRIBUTION, PROJECT_ROOT
from scripts import audit, lock
from scripts.lock import APP, TORCH, LockedPackage, LockError

TEXT = lock.LOCK.read_text()
PACKAGES = lock.parse_lock(TEXT)
FILE = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())
EXTRAS = FILE["project"]["optional-dependencies"]
PYTHONS = ("3.11.0", "3.12.0", "3.13.0", "3.14.0")
PLATFORMS = ("linux", "darwin")
# Nothing of these belongs into the app: tools for tests, clusters, tracking servers, browsers.
NOT_OF_THE_APP = (
    "hypothesis",
    "import-linter",
    "kagglehub",
    "mkdocs",
    "mlflow",
    "mlflow-skinny",
    "mypy",
    "onnx",
    "onnxruntime",
    "playwright",
    "psycopg",
    "pytest",
    "ray",
    "ruff",
    "scikit-learn",
    "selenium",
    "torchmetrics",
    "uv",
)
DIGEST = "0" * 64


def requirements_of(layer):
    """Returns the requirements of a layer; the extras that it includes are layers of their own."""
    lines = EXTRAS.get(layer)
    if lines is None:
        lines = [*FILE["project"]["dependencies"], *FILE["build-system"]["requires"]]
    requirements = [Requirement(line) for line in lines]
    return [requirement for requirement in requirements if requirement.name != DISTRIBUTION]


def environments():
    for python in PYTHONS:
        for platform in PLATFORMS:
            yield {
                **{"python_full_version": python, "python_version": python.rpartition(".")[0]},
                **{"sys_platform": platform, "platform_machine": "x86_64", "extra": ""},
            }


def fits(package, environment):
    return not package.marker or Marker(package.marker).evaluate(environment)


@pytest.mark.parametrize("layer", [APP, *EXTRAS])
def test_every_requirement_is_locked_within_its_range_and_in_its_layer(layer):
    layers = {APP, TORCH} if layer == APP else {layer, APP, TORCH}

    for requirement in requirements_of(layer):
        locked = [each for each in PACKAGES if each.name == canonicalize_name(requirement.name)]
        assert locked, f"{requirement.name} is not in requirements.lock: make lock"
        for package in locked:
            assert requirement.specifier.contains(package.version), f"{requirement}: make lock"
            assert layers.intersection(package.layers), (
                f"{package.pin} is not in {layer}: make lock"
            )


def test_every_extra_is_a_layer_and_every_layer_an_extra():
    layers = {layer for package in PACKAGES for layer in package.layers}

    assert layers == {TORCH, APP, *EXTRAS}


def test_each_python_and_platform_gets_one_version_of_a_package():
    names = {package.name for package in PACKAGES}

    for environment in environments():
        fitting = [package.name for package in PACKAGES if fits(package, environment)]
        assert len(fitting) == len(set(fitting)), environment
        assert {"torch", "numpy", "streamlit", "pytest"} <= set(fitting) <= names


def test_every_package_has_hashes_and_the_lock_names_no_address():
    assert all(package.hashes for package in PACKAGES)
    assert all(package.layers for package in PACKAGES)
    assert "://" not in TEXT


def test_the_app_needs_no_test_tools_clusters_trackers_or_browsers():
    app = {package.name for package in lock.select_layers(PACKAGES, [TORCH, APP])}

    assert {"torch", "streamlit", "setuptools"} <= app
    assert not app.intersection(NOT_OF_THE_APP)


def test_the_libraries_of_cuda_are_in_the_layer_of_torch():
    torch = {package.name for package in lock.select_layers(PACKAGES, [TORCH])}

    cuda = {each.name for each in PACKAGES if each.name.startswith(("nvidia-", "cuda-", "triton"))}
    assert torch == {"torch", "torchvision"} | cuda


def test_a_lock_that_was_written_is_read_back():
    assert lock.render_lock(PACKAGES) == TEXT


def test_select_runs_without_any_installed_package():
    command = [sys.executable, "-I", "-S", str(PROJECT_ROOT / "scripts" / "lock.py")]

    process = subprocess.run(
        [*command, "select", "onnx"], capture_output=True, text=True, check=True
    )

    selected = lock.parse_lock(process.stdout)
    assert {"onnx", "onnxruntime", "onnxscript"} <= {package.name for package in selected}
    assert all(package.hashes for package in selected)
    assert "numpy" not in {package.name for package in selected}  # part of the app


def test_an_unknown_layer_is_refused_with_those_that_exist():
    with pytest.raises(LockError, match=r"no layer 'onxx': app, .*onnx"):
        lock.select_layers(PACKAGES, ["onxx"])


SELECTED = [
    LockedPackage("nvidia-cublas", "13.1", layers=(TORCH,), hashes=(DIGEST,)),
    LockedPackage("streamlit", "1.67.0", layers=(APP,), hashes=(DIGEST,)),
    LockedPackage("torch", "2.14.1", layers=(TORCH,), hashes=(DIGEST,)),
    LockedPackage("torchvision", "0.29.1", layers=(TORCH,), hashes=(DIGEST,)),
]


@pytest.mark.parametrize(
    "installed", [{}, {"torch": "2.9.0"}, {"torch": "2.14.1", "torchvision": "0.29.1"}]
)
def test_torch_of_the_default_index_is_selected_with_its_libraries(installed):
    assert lock.without_torch_layer(SELECTED, installed) == SELECTED


def test_a_cpu_build_of_torch_stays_and_needs_no_libraries_of_cuda():
    installed = {"torch": "2.14.1+cpu", "torchvision": "0.29.1+cpu"}

    selected = lock.without_torch_layer(SELECTED, installed)

    assert [package.name for package in selected] == ["streamlit"]


@pytest.mark.parametrize(
    "installed",
    [
        {"torch": "2.15.0+cpu", "torchvision": "0.30.0+cpu"},
        {"torch": "2.14.1+cpu", "torchvision": "0.29.1"},
        {"torch": "2.14.1+cpu"},
    ],
)
def test_another_version_of_a_cpu_build_is_refused_with_what_to_install(installed):
    with pytest.raises(LockError, match=r"Install torch==2.14.1 torchvision==0.29.1 from the"):
        lock.without_torch_layer(SELECTED, installed)


def test_a_change_of_the_lock_is_described_by_package():
    new = [*SELECTED[1:3], LockedPackage("torchvision", "0.30.0"), LockedPackage("zipp", "4.1.2")]

    assert lock.describe_changes(SELECTED, new) == [
        "nvidia-cublas 13.1 -> (removed)",
        "torchvision 0.29.1 -> 0.30.0",
        "zipp (new) -> 4.1.2",
    ]


class _VulnerabilityServer(BaseHTTPRequestHandler):
    """A stand-in for the OSV service, which knows one vulnerability of requests."""

    def do_POST(self):
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        events = [{"introduced": "0"}, {"fixed": "99.0"}]
        affected = {
            "package": {"name": "requests", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
        }
        finding = {"id": "PYSEC-1", "summary": "Sends secrets.", "affected": [affected]}
        answer = {"vulns": [finding]} if query["package"]["name"] == "requests" else {}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def small_lock(tmp_path, monkeypatch):
    """A lock of two packages."""
    names = ("requests", "six")
    path = tmp_path / "requirements.lock"
    path.write_text(lock.render_lock(package for package in PACKAGES if package.name in names))
    monkeypatch.setattr(lock, "LOCK", path)


@pytest.fixture
def vulnerability_server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _VulnerabilityServer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_a_known_vulnerability_is_printed_and_changes_the_exit_code(
    small_lock, vulnerability_server, capsys
):
    address = f"http://127.0.0.1:{vulnerability_server.server_port}"

    exit_code = audit.main(["-s", "osv", "--osv-url", address])

    finding, summary = capsys.readouterr().out.splitlines()
    assert exit_code == 1
    assert finding.startswith("requests 2.")
    assert finding.endswith(": PYSEC-1, fixed in 99.0. Sends secrets.")
    assert summary == "Known vulnerabilities: 1, in 2 packages that were looked up."


@pytest.mark.slow
def test_the_audit_is_skipped_with_a_word_if_its_data_cannot_be_reached(small_lock, capsys):
    exit_code = audit.main(["-s", "osv", "--osv-url", "http://127.0.0.1:1"])

    assert exit_code == 0
    assert capsys.readouterr().out == "Skipped: the data of pip-audit cannot be reached.\n"
