"""Checks the machine and the installation. Loads no torch: only its version is read."""

import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

import psutil

from engine import weights
from engine.cli.inputs import open_store
from engine.errors import EngineError
from engine.jobs import spawn
from engine.jobs.launchers import select
from engine.records.exports import Export
from engine.settings import PROJECT_ROOT, Settings, ignored_variables, read_version, used_env_file
from engine.store import check_address, database_path, is_absent
from engine.system import disk, extras
from engine.tracking import mlflow_client
from engine.weights import download_state

MIN_FREE_GB = 5


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        subject: what was checked.
        state: `good`; `missing` if something is absent or limited but training is possible;
            `broken` if something does not work.
        detail: the result in words.
        fix: what the user can do; None if nothing has to be done.
    """

    subject: str
    state: Literal["good", "missing", "broken"]
    detail: str
    fix: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """Returns the check in the format of `doctor --json`."""
        return {
            "about": self.subject,
            "state": self.state,
            "found": self.detail,
            "way_out": self.fix,
        }


def run_checks(settings: Settings) -> list[Check]:
    """Runs all checks."""
    return [
        _chromabench(),
        _python(),
        _torch(),
        _gpu(),
        _compiler(),
        _memory(),
        _settings(),
        _artifacts(settings),
        _database(settings),
        _supervisor(settings),
        _launcher(settings),
        _mlflow(settings),
        *(_weights(name, settings) for name in weights.CATALOG),
    ]


def _chromabench() -> Check:
    try:
        return Check("Chromabench", "good", f"{read_version()} in {PROJECT_ROOT}")
    except EngineError as error:
        return Check("Chromabench", "broken", str(error))


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Check("Python", "good", version)


def _torch() -> Check:
    return Check(
        "torch",
        "good",
        f"{metadata.version('torch')}, torchvision {metadata.version('torchvision')}",
    )


def _gpu() -> Check:
    if shutil.which("nvidia-smi") is None:
        return Check("GPU", "missing", "not found; training uses the CPU")
    return Check("GPU", "good", "NVIDIA driver found")


def _compiler() -> Check:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        fix = "Only `--set compile=on` needs one: `apt-get install gcc`."
        return Check("C compiler", "missing", "not found", fix)
    return Check("C compiler", "good", compiler)


def _memory() -> Check:
    memory = psutil.virtual_memory()
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count()
    return Check("Machine", "good", f"{cores} cores, {memory.total / 2**30:.0f} GB of memory")


def _settings() -> Check:
    ignored = ignored_variables()
    if ignored:
        return Check("Settings", "missing", " ".join(ignored), "Correct or remove the names.")
    file = used_env_file()
    return Check("Settings", "good", f"{file} and the environment" if file else "the environment")


def _artifacts(settings: Settings) -> Check:
    try:
        settings.check_artifacts()
    except EngineError as error:
        return Check("Artifacts", "broken", str(error))
    free_gb = disk.free_bytes(settings.artifacts) / 2**30
    if free_gb < MIN_FREE_GB:
        fix = f"Free some space or set CHROMABENCH_ARTIFACTS to a disk with over {MIN_FREE_GB} GB."
        return Check("Artifacts", "missing", f"only {free_gb:.1f} GB free", fix)
    return Check("Artifacts", "good", f"{settings.artifacts} ({free_gb:.0f} GB free)")


def _database(settings: Settings) -> Check:
    try:
        if is_absent(settings.database_url):
            path = database_path(settings.database_url)
            return Check("Database", "good", f"{path} (created with the first study)")
        with open_store(settings) as store:
            runs = len(store.runs.read_all())
    except EngineError as error:
        return Check("Database", "broken", str(error))
    is_file = check_address(settings.database_url) == "sqlite"
    location = database_path(settings.database_url) if is_file else "PostgreSQL"
    return Check("Database", "good", f"{location} ({runs} runs)")


def _supervisor(settings: Settings) -> Check:
    try:
        is_running = spawn.is_supervisor_running(settings)
    except EngineError as error:
        return Check("Supervisor", "broken", str(error))
    return Check("Supervisor", "good", "running" if is_running else "starts when a job is queued")


def _launcher(settings: Settings) -> Check:
    if settings.launcher == "local":
        return Check("Launcher", "good", "runs start on this machine")
    try:
        is_ready = select.select_launchers(settings)["train"].is_ready()
    except EngineError as error:
        return Check("Launcher", "broken", str(error))
    cluster = f"the Ray cluster at {settings.ray_address}"
    if not is_ready:
        return Check("Launcher", "broken", f"{cluster} does not answer; runs wait")
    return Check("Launcher", "good", cluster)


def _mlflow(settings: Settings) -> Check:
    if not mlflow_client.is_installed():
        detail = "the client is not installed"
        if settings.mlflow is not None:
            detail = f"{mlflow_client.URI_VARIABLE} is set, but {detail}"
        return Check("MLflow", "missing", detail, f"`{extras.install_command('mlflow')}`")
    for export in _read_exports(settings):
        if export.error is not None and not export.is_cancelled:
            detail = f"study {export.study_id} is not on {export.uri}: {export.error}"
            return Check("MLflow", "missing", detail)
    return Check("MLflow", "good", settings.mlflow or "not configured")


def _read_exports(settings: Settings) -> list[Export]:
    """Reads all exports; returns none if the database cannot be read (see `_database`)."""
    if is_absent(settings.database_url):
        return []
    try:
        with open_store(settings) as store:
            return store.exports.read_all()
    except EngineError:
        return []


def _weights(name: str, settings: Settings) -> Check:
    subject = f"Weights {name}"
    purpose = weights.CATALOG[name].purpose
    try:
        state = download_state.read_state(name, settings)
        if state.path is None:
            failure = f" ({state.error})" if state.error else ""
            detail = f"{state}; used for {purpose}{failure}"
            return Check(subject, "missing", detail, weights.install_command(name))
        path, digest = weights.require(name, settings)
    except EngineError as error:
        return Check(subject, "broken", str(error))
    return Check(subject, "good", f"{path.name} (sha256 {digest[:8]}), used for {purpose}")
