"""Starting processes: the one supervisor of a host, and the workers it starts. Torch-free."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from engine.errors import BadInputError, EngineError
from engine.records.runs import Job, JobKind
from engine.settings import Settings
from engine.store import Store, has_password, is_on_this_machine
from engine.system import child_environment, processes
from engine.system.files import is_locked, read_tail, replacing

# Which process does which kind of job.
MODULES: dict[JobKind, str] = {
    "train": "engine.workers.train",
    "check": "engine.workers.survey",
    "probe": "engine.workers.speed_probe",
}
TAIL = 4000  # characters of a log
MARKER = "installation"  # the file that says whose the artifacts are


def claim_artifacts(store: Store, settings: Settings) -> None:
    """Makes sure that the artifacts folder holds the files of this database and of no other.

    Both name their runs by numbers: two databases in one folder would take each other's files.

    Raises:
        EngineError: it belongs to another one.
    """
    settings.require_writable_artifacts()
    marker = settings.artifacts / MARKER
    mine = store.read_installation()
    if not marker.exists():
        with replacing(marker) as file:
            file.write(mine.encode())
    theirs = marker.read_text(encoding="utf-8").strip()
    if theirs != mine:
        raise EngineError(
            f"The artifacts folder {settings.artifacts} belongs to another database ({theirs}, not "
            f"{mine}). Set CHROMABENCH_ARTIFACTS to a folder of its own; if that database is lost, "
            f"remove {marker}."
        )


def supervisor_lock(settings: Settings) -> FileLock:
    """The lock that the one supervisor of this host and database holds."""
    about = f"{processes.host()} {settings.database_url}"
    digest = hashlib.sha256(about.encode()).hexdigest()[:12]
    return FileLock(settings.artifacts / f"supervisor-{digest}.lock")


def supervisor_lives(settings: Settings) -> bool:
    """Whether somebody holds the supervisor's lock."""
    return is_locked(supervisor_lock(settings))


def find_gpus() -> list[str]:
    """The GPUs that may be used: those that the environment names, else all there are."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu for gpu in named.split(",") if gpu]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return [str(index) for index in range(count)]


def check_ranks(settings: Settings, gpus: Sequence[str]) -> None:
    """Raises `EngineError` where more processes are to train together than there are GPUs."""
    if gpus and settings.ranks > len(gpus):
        raise EngineError(
            f"CHROMABENCH_RANKS must be at most {len(gpus)}, the number of GPUs, not "
            f"{settings.ranks}; runs wait."
        )


def check_cluster(settings: Settings) -> None:
    """Raises `BadInputError` where a Ray cluster could not be used as it should be."""
    if find_spec("ray") is None:
        raise BadInputError(
            "CHROMABENCH_LAUNCHER is ray, but Ray's client is not installed: "
            "`pip install 'chromabench[cluster]'`."
        )
    if has_password(settings.database_url):
        raise BadInputError(
            "Ray shows the environment of its jobs: take the password out of "
            "CHROMABENCH_DATABASE_URL and give it to each machine as PGPASSWORD or ~/.pgpass."
        )
    if urlsplit(settings.ray_address).hostname in ("127.0.0.1", "localhost", "::1"):
        return
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        raise BadInputError(
            f"The Ray cluster at {settings.ray_address} is used with its token only: whoever "
            "reaches it can run anything there. Unset RAY_AUTH_MODE."
        )
    if is_on_this_machine(settings.database_url):
        raise BadInputError(
            "The machines of a Ray cluster need a database that all of them reach: set "
            "CHROMABENCH_DATABASE_URL to a PostgreSQL server."
        )


def ensure_supervisor(settings: Settings) -> None:
    """Starts a detached supervisor; it leaves at once when another holds the lock.

    Where supervisors are started by other means than ours, nothing happens.
    """
    if settings.is_supervised_elsewhere or supervisor_lives(settings):
        return
    if settings.launcher == "ray":
        check_cluster(settings)
    elif settings.ranks > 1:
        check_ranks(settings, find_gpus())
    log = settings.artifacts / "supervisor.log"
    try:
        child = processes.start_detached(
            [sys.executable, "-m", "engine", "supervise"],
            log,
            child_environment.worker_environment(settings),
        )
    except OSError as error:
        raise EngineError(f"No supervisor could be started ({error}); runs wait.") from error
    # Whoever started it outlives it or not; if so, it must not leave a zombie.
    threading.Thread(target=child.wait, daemon=True).start()


def start_worker(job: Job, settings: Settings, gpu: str | None) -> subprocess.Popen[bytes]:
    """Starts the detached process of one attempt; its output goes to the job's log.

    Args:
        job: claimed.
        settings: the places it works in.
        gpu: those that it may see, by index or id, with commas; None: as its parent does.
    """
    environment = child_environment.worker_environment(settings) | (
        {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}
    )
    return processes.start_detached(
        worker_command(job, settings), job_log(job, settings), environment
    )


def worker_command(job: Job, settings: Settings) -> list[str]:
    """What does a claimed job."""
    together: list[str] = []
    if job.kind == "train" and settings.ranks > 1:
        together = ["torch.distributed.run", "--standalone", f"--nproc-per-node={settings.ranks}"]
        together += ["-m"]
    return [sys.executable, "-m", *together, MODULES[job.kind], str(job.id), str(job.token)]


def job_log(job: Job, settings: Settings) -> Path:
    """Where the output of a job's processes goes."""
    if job.run_id is not None:
        return log_path(job.run_id, settings)
    return settings.artifacts / "jobs" / f"{job.id:06d}.log"


def log_path(run_id: int, settings: Settings) -> Path:
    """The log of a run."""
    return settings.run_dir(run_id) / "run.log"


def log_tail(job: Job, settings: Settings) -> str:
    """The last of a job's log; empty where it has said nothing."""
    return read_tail(job_log(job, settings), TAIL)
