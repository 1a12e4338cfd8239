"""Defines the interface of a launcher."""

from typing import Literal, Protocol

from engine.errors import EngineError
from engine.records.runs import Job

# "alive": the process of a job is running or waits for a machine. "unknown": the launcher has no
# status, so the supervisor uses the heartbeats or the process id. A number: the return code, which
# is negative if a signal ended the process.
Status = Literal["alive", "unknown"] | int


class LauncherUnavailableError(EngineError):
    """A job cannot be started at the moment; the supervisor queues it again."""


class Launcher(Protocol):
    """Starts the processes of claimed jobs, and polls and stops them."""

    def is_ready(self) -> bool:
        """Returns whether the launcher takes jobs now; if not, jobs stay in the queue."""
        ...

    def submit(self, job: Job, gpus: str | None) -> str:
        """Starts the process of one attempt; a second call for the same attempt starts nothing.

        Args:
            job: a claimed job; its token identifies the attempt.
            gpus: the GPUs that the process may use, in the format of CUDA_VISIBLE_DEVICES; None:
                the launcher chooses them.

        Returns:
            The `ProcessId` of the process, as text.

        Raises:
            LauncherUnavailableError: the process cannot be started at the moment.
            EngineError: the process could not be started.
        """
        ...

    def poll(self, job: Job) -> Status:
        """Returns the status of an attempt's process."""
        ...

    def stop(self, job: Job, by_force: bool) -> None:
        """Requests that the process saves and exits; kills the process if `by_force` is set."""
        ...

    def forget_ended(self, active_tokens: set[str]) -> None:
        """Deletes the launcher's data about attempts that are not active any more."""
        ...
