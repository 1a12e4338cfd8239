"""Runs jobs on this machine, as detached children of the supervisor."""

import subprocess

import psutil

from engine.errors import EngineError
from engine.jobs import worker_command
from engine.jobs.launchers.interface import Status
from engine.records.runs import Job
from engine.settings import Settings
from engine.system.processes import ProcessId


class LocalLauncher:
    """Starts each worker in its own session, and polls the return codes of these workers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._children: dict[str, subprocess.Popen[bytes]] = {}  # token -> child

    def is_ready(self) -> bool:
        """Returns True: this machine always takes jobs."""
        return True

    def submit(self, job: Job, gpus: str | None) -> str:
        """Starts the process of an attempt, unless it was started before."""
        child = self._children.get(str(job.token))
        if child is None:
            try:
                child = worker_command.start_worker(job, self.settings, gpus)
            except OSError as error:
                reason = f"its process could not be started ({error.strerror})"
                raise EngineError(reason) from error
        try:
            process = ProcessId.of(child.pid)
        except (psutil.Error, OSError) as error:
            # A process without an identity cannot be managed. Usually it has ended already.
            child.kill()
            raise EngineError(f"its process ended at once (exit status {child.wait()})") from error
        self._children[str(job.token)] = child
        return str(process)

    def poll(self, job: Job) -> Status:
        """Returns the status of a child; "unknown" for a child of another supervisor."""
        child = self._children.get(str(job.token))
        if child is None:
            return "unknown"
        returncode = child.poll()
        return "alive" if returncode is None else returncode

    def stop(self, job: Job, by_force: bool) -> None:
        """Sends SIGTERM to a process of this host; if `by_force`, kills it and its descendants."""
        process = None if job.process is None else ProcessId.parse(job.process)
        if process is None or not process.is_local:
            return
        if by_force:
            process.kill_tree()
        else:
            process.terminate()

    def forget_ended(self, active_tokens: set[str]) -> None:
        """Deletes the children that have ended and whose attempts are not active any more."""
        for token, child in list(self._children.items()):
            if token not in active_tokens and child.poll() is not None:
                del self._children[token]
