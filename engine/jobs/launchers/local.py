"""Processes on this machine: detached children of the supervisor."""

import subprocess

from engine.errors import EngineError
from engine.jobs import spawn
from engine.jobs.launchers.interface import Status
from engine.records.runs import Job
from engine.settings import Settings
from engine.system import processes


class LocalLauncher:
    """Starts processes in sessions of their own; as their parent it knows how they ended."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._children: dict[str, subprocess.Popen[bytes]] = {}  # by the token of their attempt

    def is_ready(self) -> bool:
        """Always."""
        return True

    def submit(self, job: Job, gpu: str | None) -> str:
        """Starts it, unless it was."""
        child = self._children.get(str(job.token))
        if child is None:
            try:
                child = spawn.start_worker(job, self.settings, gpu)
            except OSError as error:
                reason = f"its process could not be started ({error.strerror})"
                raise EngineError(reason) from error
            self._children[str(job.token)] = child
        return processes.identify(child.pid)

    def poll(self, job: Job) -> Status:
        """A child's return code; others' children are looked up by who they are."""
        child = self._children.get(str(job.token))
        if child is None:
            return "unknown"
        returncode = child.poll()
        return "alive" if returncode is None else returncode

    def stop(self, job: Job, by_force: bool) -> None:
        """A signal, or the end of it and all its descendants."""
        process = job.process
        if process is None or not processes.is_here(process):
            return
        if by_force:
            processes.kill_tree(process)
        else:
            processes.terminate(process)

    def logs(self, job: Job) -> str:
        """From its log."""
        return spawn.log_tail(job, self.settings)

    def tidy(self, at_work: set[str]) -> None:
        """Children that have ended are reaped once nobody needs to know how."""
        for token, child in list(self._children.items()):
            if token not in at_work and child.poll() is not None:
                del self._children[token]
