"""What this machine has, what it lacks, and how to mend it. Torch-free but for its version."""

import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

import psutil

from engine import weights
from engine.errors import EngineError
from engine.jobs import spawn
from engine.jobs.launchers import select
from engine.settings import Settings
from engine.store import Store, is_absent
from engine.tracking import export_requests

DISK_GB = 5


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `missing` only limits, `broken` stops the work."""

    about: str
    state: Literal["good", "missing", "broken"]
    found: str
    way_out: str | None = None


def examine(settings: Settings) -> list[Finding]:
    """Looks at everything a study needs."""
    return [
        _python(),
        _torch(),
        _gpu(),
        _compiler(),
        _memory(),
        _artifacts(settings),
        _database(settings),
        _supervisor(settings),
        _launcher(settings),
        _mlflow(settings),
        *(_weights(name, settings) for name in weights.CATALOG),
    ]


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("Python", "good", version)


def _torch() -> Finding:
    return Finding(
        "torch",
        "good",
        f"{metadata.version('torch')}, torchvision {metadata.version('torchvision')}",
    )


def _gpu() -> Finding:
    if shutil.which("nvidia-smi") is None:
        return Finding("GPU", "missing", "none was found; training uses the CPU")
    return Finding("GPU", "good", "NVIDIA driver is here")


def _compiler() -> Finding:
    found = shutil.which("cc") or shutil.which("gcc")
    if found is None:
        way_out = "Only `--set compile=on` needs one: `apt-get install gcc`."
        return Finding("C compiler", "missing", "none", way_out)
    return Finding("C compiler", "good", found)


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count()
    return Finding("Machine", "good", f"{cores} cores, {memory.total / 2**30:.0f} GB of memory")


def _artifacts(settings: Settings) -> Finding:
    try:
        settings.check_artifacts()
    except EngineError as error:
        return Finding("Artifacts", "broken", str(error))
    place = next(it for it in (settings.artifacts, *settings.artifacts.parents) if it.exists())
    free = shutil.disk_usage(place).free / 2**30
    if free < DISK_GB:
        way_out = f"Free some space or set CHROMABENCH_ARTIFACTS to a disk with over {DISK_GB} GB."
        return Finding("Artifacts", "missing", f"only {free:.1f} GB free", way_out)
    return Finding("Artifacts", "good", f"{settings.artifacts} ({free:.0f} GB free)")


def _database(settings: Settings) -> Finding:
    try:
        if is_absent(settings.database_url):
            return Finding("Database", "good", "made with the first study")
        store = Store(settings.database_url)
        runs = len(store.read_runs())
    except EngineError as error:
        return Finding("Database", "broken", str(error))
    store.close()
    return Finding("Database", "good", f"{runs} runs")


def _supervisor(settings: Settings) -> Finding:
    try:
        lives = spawn.supervisor_lives(settings)
    except EngineError as error:
        return Finding("Supervisor", "broken", str(error))
    return Finding("Supervisor", "good", "at work" if lives else "starts when there is work")


def _launcher(settings: Settings) -> Finding:
    if settings.launcher == "local":
        return Finding("Launcher", "good", "runs are started on this machine")
    try:
        is_ready = select.choose(settings)["train"].is_ready()
    except EngineError as error:
        return Finding("Launcher", "broken", str(error))
    where = f"the Ray cluster at {settings.ray_address}"
    if not is_ready:
        return Finding("Launcher", "broken", f"{where} does not answer; runs wait")
    return Finding("Launcher", "good", where)


def _mlflow(settings: Settings) -> Finding:
    if not export_requests.is_installed():
        if settings.mlflow is None:
            return Finding("MLflow", "missing", "its client is not here", export_requests.INSTALL)
        found = f"{export_requests.VARIABLE} is set, its client is not here"
        return Finding("MLflow", "missing", found, export_requests.INSTALL)
    trouble = next((it for it in export_requests.read_all(settings) if it.trouble), None)
    if trouble is not None:
        return Finding("MLflow", "missing", f"{trouble.uri} does not answer: {trouble.trouble}")
    return Finding("MLflow", "good", settings.mlflow or "not asked for")


def _weights(name: str, settings: Settings) -> Finding:
    about = f"Weights {name}"
    purpose = weights.CATALOG[name].purpose
    if weights.find(name, settings) is None:
        return Finding(about, "missing", f"not here; for {purpose}", weights.describe_way(name))
    try:
        path, digest = weights.require(name, settings)
    except EngineError as error:
        return Finding(about, "broken", str(error))
    return Finding(about, "good", f"{path.name} (sha256 {digest[:8]}), for {purpose}")
