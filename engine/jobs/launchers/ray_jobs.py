"""Processes on the machines of a Ray cluster, as Ray jobs.

Every machine has our code and its Python at the same place, the artifacts folder, and reaches the
database. Ray is asked to start and stop; how a run went is read from the database.
"""

import math
import os
import shlex
import time
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray reads it while it is loaded

from ray.exceptions import RayError
from ray.job_submission import JobSubmissionClient

from engine.errors import EngineError
from engine.jobs import spawn
from engine.jobs.launchers.interface import NotNowError, Status
from engine.records.runs import Job
from engine.settings import Settings
from engine.system import child_environment
from engine.system.processes import ELSEWHERE, is_here, is_submitted, kill_tree

LOOK_EVERY_S = 1.0  # Ray is not asked about a job more often
GRACE_S = 60  # between being asked to leave and being killed
READY_EVERY_S = 5.0
HANDED_ON = (  # by name: Ray shows them to whoever may look at its jobs
    *("CHROMABENCH_DATABASE_URL", "CHROMABENCH_ARTIFACTS", "CHROMABENCH_RANKS"),
    *("CHROMABENCH_SLOTS", "GOMP_SPINCOUNT", "PYTHONPATH", "TORCH_HOME"),
)
FAULTS = (RuntimeError, OSError, RayError)
TIMEOUT_S = (3.0, 10.0)  # to connect, and to answer
LOST = -9  # its machine went, or the cluster began anew and knows nothing of it
SIGNALLED = 128  # a shell's exit status of a process that a signal ended, less the signal


class _Client(JobSubmissionClient):
    """Ray's, with an end to its patience."""

    def _do_request(self, *them: Any, **options: Any) -> Any:  # noqa: ANN401, as Ray has it
        return super()._do_request(*them, **{"timeout": TIMEOUT_S, **options})


class RayLauncher:
    """Submits Ray jobs; their names follow from the attempt, so any supervisor finds them again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._client: _Client | None = None
        self._seen: dict[str, tuple[float, Status]] = {}
        self._ready: tuple[float, bool] = (-math.inf, False)
        self._is_away = False

    def is_ready(self) -> bool:
        """Whether the cluster answers."""
        if time.monotonic() - self._ready[0] >= READY_EVERY_S:
            try:
                self._connected().get_version()
                self._back()
                self._ready = (time.monotonic(), True)
            except FAULTS as error:
                self._away(error)
        return self._ready[1]

    def _connected(self) -> _Client:
        if self._client is None:
            self._client = _Client(self.settings.ray_address)
        return self._client

    def submit(self, job: Job, gpu: str | None) -> str:
        """Submits it; Ray takes a name once."""
        name = _name(job)
        log = spawn.job_log(job, self.settings)
        command = shlex.join(spawn.worker_command(job, self.settings))
        folder, file = shlex.quote(str(log.parent)), shlex.quote(str(log))
        gpus = self.settings.ray_gpus
        try:
            self._connected().submit_job(
                # Without a shell between, signals and exit codes are the worker's own.
                entrypoint=f"mkdir -p {folder} && exec {command} >> {file} 2>&1",
                submission_id=name,
                runtime_env={"env_vars": self._environment()},
                entrypoint_num_gpus=gpus or None,
                entrypoint_num_cpus=None if gpus else 1,
                metadata={"chromabench_job": str(job.id), "chromabench_run": str(job.run_id)},
            )
        except FAULTS as error:
            if self._ask(name, None) == "unknown":
                reason = (str(error).strip().splitlines() or [repr(error)])[-1][:300]
                refusal = f"the Ray cluster did not take run {job.run_id} ({reason})"
                is_away = self._is_away or not isinstance(error, RuntimeError)
                raise (NotNowError if is_away else EngineError)(refusal) from error
        return f"{ELSEWHERE}/{name}"

    def poll(self, job: Job) -> Status:
        """As Ray has it; while the cluster does not answer, heartbeats must tell."""
        name = _name(job)
        asked_at, standing = self._seen.get(name, (0.0, "unknown"))
        if time.monotonic() - asked_at >= LOOK_EVERY_S:
            standing = self._ask(name, job.process)
            self._seen[name] = (time.monotonic(), standing)
        return standing

    def _ask(self, name: str, process: str | None) -> Status:
        try:
            info = self._connected().get_job_info(name)
        except RuntimeError as error:
            if "does not exist" in str(error):
                return "unknown" if process is None or not is_submitted(process) else LOST
            return self._away(error)
        except FAULTS as error:
            return self._away(error)
        self._back()
        status = str(info.status)
        if status == "SUCCEEDED":
            return 0
        if status == "STOPPED":
            return -15
        if status != "FAILED":
            return "alive"
        code = info.driver_exit_code
        if code is None:  # its machine went, and Ray with it
            return LOST
        return SIGNALLED - code if code > SIGNALLED else int(code)

    def _away(self, error: Exception) -> Status:
        if not self._is_away:
            where = self.settings.ray_address
            print(f"the Ray cluster at {where} does not answer: {error}", flush=True)
            self._is_away = True
        self._ready = (time.monotonic(), False)
        return "unknown"

    def _back(self) -> None:
        if self._is_away:
            print(f"the Ray cluster at {self.settings.ray_address} answers again", flush=True)
            self._is_away = False

    def stop(self, job: Job, by_force: bool) -> None:
        """Ray sends a signal, and ends it after a minute; by force at once where it is here."""
        if by_force and job.process is not None and is_here(job.process):
            kill_tree(job.process)
            return
        try:
            self._connected().stop_job(_name(job))
        except FAULTS as error:  # the worker finds the wish in the database, too
            if "does not exist" not in str(error):
                self._away(error)

    def logs(self, job: Job) -> str:
        """From its log, or what Ray has of it where it did not come so far."""
        said = spawn.log_tail(job, self.settings)
        if said:
            return said
        try:
            found: str = self._connected().get_job_logs(_name(job))
        except FAULTS as error:
            return f"The Ray cluster has no log of it ({error})."
        return found

    def tidy(self, at_work: set[str]) -> None:
        """What was seen of attempts that have ended."""
        names = {f"{_PREFIX}{token}" for token in at_work}
        self._seen = {name: it for name, it in self._seen.items() if name in names}

    def _environment(self) -> dict[str, str]:
        everything = child_environment.worker_environment(self.settings)
        handed_on: dict[str, Any] = {key: it for key, it in everything.items() if key in HANDED_ON}
        return {**handed_on, "RAY_JOB_STOP_WAIT_TIME_S": str(GRACE_S)}


_PREFIX = "chromabench-"


def _name(job: Job) -> str:
    """The Ray job of an attempt."""
    return f"{_PREFIX}{job.token}"
