"""Builds the commands of worker processes, starts the processes and names their logs."""

import subprocess
import sys
from pathlib import Path

from engine.records.runs import Job, JobKind
from engine.settings import Settings
from engine.store import run_files
from engine.system import child_environment, processes

WORKER_MODULES: dict[JobKind, str] = {
    "train": "engine.workers.train",
    "check": "engine.workers.survey",
    "probe": "engine.workers.speed_probe",
    "evaluate": "engine.workers.missing_metrics",
    "export": "engine.workers.export",
}


def start_worker(job: Job, settings: Settings, gpus: str | None) -> subprocess.Popen[bytes]:
    """Starts the detached process of one attempt; its output is appended to the job's log.

    Args:
        job: a claimed job.
        settings: the settings that the process inherits.
        gpus: the GPUs that the process may use, in the format of CUDA_VISIBLE_DEVICES; None: the
            GPUs of the caller.

    Raises:
        OSError: the process could not be started.
    """
    environment = child_environment.build_child_environment(settings) | (
        {"CUDA_VISIBLE_DEVICES": gpus} if gpus else {}
    )
    return processes.start_detached(
        build_command(job, settings), job_log_path(job, settings), environment
    )


def build_command(job: Job, settings: Settings) -> list[str]:
    """Builds the command of the process that works on a claimed job."""
    worker = ["engine.workers", log_subject(job)]
    torchrun: list[str] = []
    if job.kind == "train" and settings.ranks > 1:
        torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={settings.ranks}"]
        torchrun = [*worker, *torchrun, "-m"]
    module = WORKER_MODULES[job.kind]
    return [sys.executable, "-m", *torchrun, *worker, module, str(job.id), str(job.token)]


def log_subject(job: Job) -> str:
    """Returns the subject of a job in each line of its log."""
    return f"job {job.id}" if job.run_id is None else f"run {job.run_id}, job {job.id}"


def job_log_path(job: Job, settings: Settings) -> Path:
    """Returns the path of the log that the processes of a job append to."""
    if job.run_id is not None:
        return run_files.log_path(job.run_id, settings)
    return settings.artifacts / "jobs" / f"{job.id:06d}.log"
