"""The wheel, built from the source distribution, works in an environment without the checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from engine.settings import PROJECT_ROOT, Settings
from tests.dashboard.browser.driver import CHROMIUM, FLAGS, TIMEOUT_MS, end, free_port, open_tab
from tests.support.runs import kill_processes_of, share_prepared_data, wait_for
from tests.test_distribution import tracked_files

pytestmark = pytest.mark.slow

BUILD_SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
SHOW_IMPORTS = "import sys, engine, dashboard; print(*map(str, sys.path), sep='\\n'); " + (
    "print(engine.__file__, dashboard.__file__, sep='\\n')"
)


@dataclass(frozen=True)
class Distribution:
    """Both files of the distribution."""

    sdist: Path
    wheel: Path


@dataclass(frozen=True)
class Installation:
    """An environment with the wheel; its user has an empty home and works in an empty folder."""

    bin: Path
    site_packages: Path
    workdir: Path
    environment: dict[str, str]
    settings: Settings

    def run(self, program, *arguments):
        """Runs a program of the environment and returns its output."""
        completed = subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.workdir,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
        return completed.stdout


@pytest.fixture(scope="module")
def distribution(tmp_path_factory):
    """The files, built as `python -m build` does: the wheel from the unpacked sdist."""
    folder = tmp_path_factory.mktemp("distribution")
    for path in tracked_files():
        (folder / "checkout" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_ROOT / path, folder / "checkout" / path)
    run_quietly([sys.executable, "-c", BUILD_SDIST, folder], cwd=folder / "checkout")
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    unpacked = folder / sdist.name.removesuffix(".tar.gz")
    pip_wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    run_quietly([*pip_wheel, "--no-index", "--wheel-dir", folder, unpacked])
    (wheel,) = folder.glob("*.whl")
    return Distribution(sdist, wheel)


@pytest.fixture(scope="module")
def installation(distribution, tmp_path_factory, packed_settings):
    """The wheel in an environment that sees the packages of this one, but not the checkout.

    Python adds the folder that a `.pth` file names, but does not read the `.pth` files in that
    folder, one of which adds the checkout.
    """
    folder = tmp_path_factory.mktemp("installation")
    venv.create(folder / "env", symlinks=True)
    paths = sysconfig.get_paths("venv", {"base": str(folder / "env")})
    site_packages = Path(paths["purelib"])
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", folder / "env" / "bin" / "python"]
    options = ["--no-deps", "--no-index", "--no-compile", distribution.wheel]
    run_quietly([*pip, "install", *options])
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CHROMABENCH_", "PYTHON", "MLFLOW_", "VIRTUAL_ENV", "XDG_"))
    }
    home = folder / "home"
    workdir = folder / "workdir"
    workdir.mkdir()
    data_folder = home / "share" / "chromabench"
    settings = Settings(f"sqlite:///{data_folder}/runs.db", data_folder / "artifacts")
    share_prepared_data(packed_settings, settings)
    environment = {**inherited, "HOME": str(home), "XDG_DATA_HOME": str(home / "share")}
    yield Installation(folder / "env" / "bin", site_packages, workdir, environment, settings)
    kill_processes_of(settings)


def run_quietly(command, cwd=None):
    """Runs a command; its output is shown only if the command fails."""
    completed = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr


@pytest.fixture(scope="module")
def table(installation):
    """The comparison table of a smoke study that the installed command has trained."""
    options = ["--budget", "smoke", "--configurations", "gan", "--set", "evaluations=1", "--wait"]
    return installation.run("chromabench", "study", "--data", "openmoji", *options)


@pytest.fixture(scope="module")
def address(installation, table):
    """The address of `chromabench app`, which shows the study."""
    port = str(free_port())
    log = installation.workdir.parent / "app.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [installation.bin / "chromabench", "app", "--headless", "--port", port],
            cwd=installation.workdir,
            env=installation.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    wait_for(lambda: is_healthy(address) or server.poll() is not None)
    yield address
    end(server)
    assert "Traceback" not in log.read_text()


def is_healthy(address):
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as response:
            return response.read() == b"ok"
    except OSError:
        return False


def test_the_source_distribution_has_every_file_of_the_repository(distribution):
    with tarfile.open(distribution.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {str(path) for path in tracked_files()} <= names
    assert not [name for name in names if re.search(r"\.venv|artifacts/|runs\.db|\.py[co]$", name)]


def test_the_wheel_has_the_files_of_both_packages_and_the_licences_and_nothing_else(distribution):
    with zipfile.ZipFile(distribution.wheel) as archive:
        names = set(archive.namelist())
        (metadata_file,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(metadata_file).decode()
    information = metadata_file.removesuffix("METADATA")

    modules = {str(path) for path in tracked_files("engine", "dashboard")}
    assert {name for name in names if not name.startswith(information)} == modules
    assert {f"{information}licenses/LICENSE", f"{information}licenses/NOTICE"} <= names
    assert "\nLicense-Expression: Apache-2.0\n" in metadata


def test_the_environment_imports_the_wheel_and_does_not_see_the_checkout(installation):
    *paths, engine_file, dashboard_file = installation.run(
        "python", "-c", SHOW_IMPORTS
    ).splitlines()

    assert engine_file == str(installation.site_packages / "engine" / "__init__.py")
    assert dashboard_file == str(installation.site_packages / "dashboard" / "__init__.py")
    assert str(PROJECT_ROOT) not in paths


def test_doctor_shows_the_installed_code_and_the_users_data_folder(installation):
    output = installation.run("chromabench", "doctor", "--json")

    assert f"in {installation.site_packages}" in output
    assert str(installation.settings.artifacts) in output
    assert f"{installation.settings.artifacts.parent}/runs.db" in output


def test_a_study_is_trained_to_its_table_and_only_the_users_data_folder_is_written(
    installation, table
):
    assert re.search(r"^gan .*±", table, re.MULTILINE)
    assert (installation.settings.artifacts / "runs" / "000001").is_dir()
    assert list(installation.workdir.iterdir()) == []
    assert not (installation.site_packages / "artifacts").exists()


def test_the_dashboard_is_healthy(address):
    assert is_healthy(address)


@pytest.mark.browser
@pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CHROMABENCH_REQUIRE_BROWSER"),
    reason="Chromium is not installed",
)
def test_the_compare_page_shows_the_table_and_the_gallery_its_pictures(address):
    # Other tests may hold a session of Playwright, which allows one per thread.
    with ThreadPoolExecutor() as executor:
        executor.submit(check_pages, address).result()


def check_pages(address):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        page = open_tab(browser)
        expect.set_options(timeout=TIMEOUT_MS)

        page.goto(f"{address}/compare?study=1")
        expect(page.get_by_role("rowheader", name="gan").first).to_be_visible()
        page.goto(f"{address}/gallery?study=1")
        expect(page.get_by_role("button", name=re.compile("^gan of picture 1"))).to_be_visible()

        browser.close()
