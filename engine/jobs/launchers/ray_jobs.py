"""Runs jobs on the machines of a Ray cluster, as Ray jobs.

Every machine of the cluster needs this code, the Python environment and the artifacts folder at the
same paths, and a connection to the database. Ray only starts and stops processes. The database
holds the state of a job.
"""

import logging
import math
import os
import shlex
import time
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")  # must be set before Ray is imported

from ray.exceptions import RayError
from ray.job_submission import JobSubmissionClient

from engine.errors import EngineError
from engine.jobs import worker_command
from engine.jobs.launchers.interface import LauncherUnavailableError, Status
from engine.records.runs import Job
from engine.settings import Settings
from engine.system import child_environment, logs
from engine.system.processes import ProcessId

logger = logging.getLogger(__name__)
logs.adopt_loggers()  # the import of Ray has added a handler

POLL_EVERY_S = 1.0
READY_EVERY_S = 5.0
STOP_GRACE_S = 60
CONNECT_TIMEOUT_S, RESPONSE_TIMEOUT_S = 3.0, 10.0
# Ray shows the environment of a job to all users of the cluster. Only these variables are passed.
PASSED_VARIABLES = (
    *("CHROMABENCH_DATABASE_URL", "CHROMABENCH_ARTIFACTS", "CHROMABENCH_RANKS"),
    *("CHROMABENCH_SLOTS", "CHROMABENCH_FETCH", "CHROMABENCH_WEIGHTS_URL", "CHROMABENCH_ENV_FILE"),
    *("CHROMABENCH_LOG_LEVEL", "GOMP_SPINCOUNT", "PYTHONPATH", "TORCH_HOME"),
)
CLIENT_ERRORS = (RuntimeError, OSError, RayError)
# Status of a job whose machine was lost, or that is missing after a restart of the cluster.
LOST = -9
STOPPED = -15
# A shell exits with 128 + the number of the signal that ended its process.
SHELL_SIGNAL_OFFSET = 128
NAME_PREFIX = "chromabench-"


class _Client(JobSubmissionClient):
    """A Ray client with a request timeout."""

    def _do_request(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401, overrides Ray
        timeout = (CONNECT_TIMEOUT_S, RESPONSE_TIMEOUT_S)
        return super()._do_request(*args, **{"timeout": timeout, **options})


class RayLauncher:
    """Submits Ray jobs; the name of each contains the token, so any supervisor can poll it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._client: _Client | None = None
        self._statuses: dict[str, tuple[float, Status]] = {}  # job name -> (poll time, status)
        self._ready: tuple[float, bool] = (-math.inf, False)  # (check time, whether ready)
        self._is_unreachable = False

    def is_ready(self) -> bool:
        """Returns whether the cluster answers."""
        if time.monotonic() - self._ready[0] >= READY_EVERY_S:
            try:
                self._connected_client().get_version()
                self._mark_reachable()
                self._ready = (time.monotonic(), True)
            except CLIENT_ERRORS as error:
                self._mark_unreachable(error)
        return self._ready[1]

    def _connected_client(self) -> _Client:
        if self._client is None:
            self._client = _Client(self.settings.ray_address)
        return self._client

    def submit(self, job: Job, gpus: str | None) -> str:
        """Submits a Ray job; Ray refuses a second job with the same name."""
        name = _job_name(job)
        log = worker_command.job_log_path(job, self.settings)
        command = shlex.join(worker_command.build_command(job, self.settings))
        log_folder, log_file = shlex.quote(str(log.parent)), shlex.quote(str(log))
        n_gpus = self.settings.ray_gpus
        try:
            self._connected_client().submit_job(
                # `exec` replaces the shell: Ray signals the worker and receives its exit code.
                entrypoint=f"mkdir -p {log_folder} && exec {command} >> {log_file} 2>&1",
                submission_id=name,
                runtime_env={"env_vars": self._environment()},
                entrypoint_num_gpus=n_gpus or None,
                entrypoint_num_cpus=None if n_gpus else 1,
                metadata={"chromabench_job": str(job.id), "chromabench_run": str(job.run_id)},
            )
        except CLIENT_ERRORS as error:
            if self._request_status(name, None) == "unknown":
                reason = (str(error).strip().splitlines() or [repr(error)])[-1][:300]
                message = f"the Ray cluster did not take run {job.run_id} ({reason})"
                is_unavailable = self._is_unreachable or not isinstance(error, RuntimeError)
                raise (LauncherUnavailableError if is_unavailable else EngineError)(
                    message
                ) from error
        return str(ProcessId.submitted(name))

    def poll(self, job: Job) -> Status:
        """Returns Ray's status of a job; "unknown" while the cluster does not answer."""
        name = _job_name(job)
        polled_at, status = self._statuses.get(name, (0.0, "unknown"))
        if time.monotonic() - polled_at >= POLL_EVERY_S:
            status = self._request_status(name, job.process)
            self._statuses[name] = (time.monotonic(), status)
        return status

    def _request_status(self, name: str, process: str | None) -> Status:
        try:
            info = self._connected_client().get_job_info(name)
        except RuntimeError as error:
            if "does not exist" not in str(error):
                return self._mark_unreachable(error)
            is_submitted = process is not None and ProcessId.parse(process).is_submitted
            return LOST if is_submitted else "unknown"
        except CLIENT_ERRORS as error:
            return self._mark_unreachable(error)
        self._mark_reachable()
        status = str(info.status)
        if status == "SUCCEEDED":
            return 0
        if status == "STOPPED":
            return STOPPED
        if status != "FAILED":
            return "alive"
        code = info.driver_exit_code
        if code is None:  # the machine was lost, and Ray's agent with it
            return LOST
        return SHELL_SIGNAL_OFFSET - code if code > SHELL_SIGNAL_OFFSET else int(code)

    def _mark_unreachable(self, error: Exception) -> Status:
        if not self._is_unreachable:
            address = self.settings.ray_address
            logger.warning("the Ray cluster at %s does not answer: %s", address, error)
            self._is_unreachable = True
        self._ready = (time.monotonic(), False)
        return "unknown"

    def _mark_reachable(self) -> None:
        if self._is_unreachable:
            logger.info("the Ray cluster at %s answers again", self.settings.ray_address)
            self._is_unreachable = False

    def stop(self, job: Job, by_force: bool) -> None:
        """Lets Ray send SIGTERM, and SIGKILL after a grace period.

        If `by_force` is set, a process of this host is killed at once. Ray cannot kill a process of
        another machine at once.
        """
        process = None if job.process is None else ProcessId.parse(job.process)
        if by_force and process is not None and process.is_local:
            process.kill_tree()
            return
        try:
            self._connected_client().stop_job(_job_name(job))
        except CLIENT_ERRORS as error:  # the worker also polls the stop request in the database
            if "does not exist" not in str(error):
                self._mark_unreachable(error)

    def forget_ended(self, active_tokens: set[str]) -> None:
        """Deletes the statuses of attempts that are not active any more."""
        names = {f"{NAME_PREFIX}{token}" for token in active_tokens}
        self._statuses = {name: entry for name, entry in self._statuses.items() if name in names}

    def _environment(self) -> dict[str, str]:
        environment = child_environment.build_child_environment(self.settings)
        passed: dict[str, Any] = {
            name: value for name, value in environment.items() if name in PASSED_VARIABLES
        }
        return {**passed, "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_GRACE_S)}


def _job_name(job: Job) -> str:
    """Returns the name of the Ray job of an attempt."""
    return f"{NAME_PREFIX}{job.token}"
